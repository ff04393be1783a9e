using System.Text;

namespace Lincow.Serving.Attach;

/// <summary>
/// The name of an attached device's link or file: the export's, which may be any text, as far as it can be a file's name. Its path is
/// printed, alone on a line.
/// </summary>
internal static class AttachName
{
    /// <summary>A file's name has at most 255 bytes; "-10000.img" may follow.</summary>
    public const int MaxBytes = 245;

    private const string Nameless = "overlay";

    public static string Of(string name)
    {
        var text = new StringBuilder();
        var bytes = 0;
        foreach (var rune in name.EnumerateRunes())
        {
            bytes += rune.Utf8SequenceLength;
            // mutation: attached-by-a-name-too-long
            if (bytes > MaxBytes)
                break;
            text.Append(Rune.IsControl(rune) || rune.Value == '/' ? new Rune('_') : rune);
        }
        return text.ToString() is not ("" or "." or "..") and var result ? result : Nameless;
    }
}
