using System.Globalization;
using System.Text;

namespace Lincow.Cli;

/// <summary>
/// Text from files and their names, for people: one line, and no byte that a terminal would obey. Whoever made an overlay chose the path in
/// it. JSON needs none of this, it escapes by itself.
/// </summary>
internal static class Printable
{
    /// <summary>A line for people on standard output.</summary>
    public static void Line(string text) => Console.Out.WriteLine(Text(text));

    /// <summary>The text with control, format and line-separating characters as \xNN or \uNNNN.</summary>
    public static string Text(string text)
    {
        if (!text.AsSpan().ContainsAnyExceptInRange(' ', '~'))
            return text;
        var result = new StringBuilder(text.Length);
        foreach (var character in text)
        {
            var isHarmless = char.GetUnicodeCategory(character) is not (UnicodeCategory.Control or UnicodeCategory.Format
                or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
            _ = isHarmless ? result.Append(character)
                : character < 256 ? result.Append(CultureInfo.InvariantCulture, $"\\x{(int)character:x2}")
                : result.Append(CultureInfo.InvariantCulture, $"\\u{(int)character:x4}");
        }
        return result.ToString();
    }
}
