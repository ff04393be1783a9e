using System.Text;

namespace Lincow.Stores;

/// <summary>
/// The words of a device-mapper table: blanks part them, and a backslash takes its meaning from whatever follows it (dm_split_args in
/// drivers/md/dm-table.c).
/// </summary>
internal static class DmWords
{
    public static List<string> Split(string line)
    {
        var words = new List<string>();
        StringBuilder? word = null;
        for (var i = 0; i < line.Length; i++)
        {
            if (IsBlank(line[i]))
            {
                if (word is not null)
                    words.Add(word.ToString());
                word = null;
                continue;
            }
            // mutation: table-without-escapes
            if (line[i] == '\\' && i + 1 < line.Length)
                i++;
            (word ??= new StringBuilder()).Append(line[i]);
        }
        if (word is not null)
            words.Add(word.ToString());
        return words;
    }

    public static string Escape(string word)
    {
        var text = new StringBuilder(word.Length);
        foreach (var letter in word)
        {
            if (IsBlank(letter) || letter == '\\')
                text.Append('\\');
            text.Append(letter);
        }
        return text.ToString();
    }

    // isspace, in the C locale.
    private static bool IsBlank(char letter) => letter is ' ' or (>= '\t' and <= '\r');
}
