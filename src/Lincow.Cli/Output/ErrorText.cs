using System.Text;

namespace Lincow.Cli.Output;

/// <summary>
/// Puts errors into the command line's words: the table of wordings, one a code, with advice that names options and commands. A wording is
/// text with facts in braces. <c>{message}</c> is the error's neutral sentence, for most errors the whole beginning or all of it;
/// <c>{file}</c> is the file, and any other name that fact. A fact that is an error is put into words as well.
/// </summary>
internal static partial class ErrorText
{
    /// <summary>The neutral sentence says it all.</summary>
    private const string AsItIs = "{message}";

    private static readonly Dictionary<LincowErrorCode, string> _wordings = Wordings();

    /// <summary>What is said of an overlay whose commit was cut off. Goes after its path.</summary>
    public const string CommitUnfinished =
        "its commit was cut off, so the origin is half old, half new, and whole only together with what the overlay still holds. "
        + "Run 'lincow commit' again to complete it";

    /// <summary>An exception's sentence, in the command line's words if it is an error of lincow's.</summary>
    public static string Of(Exception exception) => exception is LincowException lincow ? Of(lincow.Error) : exception.Message;

    /// <summary>An error's sentence in the command line's words; without a full stop at its end.</summary>
    public static string Of(LincowError error) => error.Code switch
    {
        LincowErrorCode.Several => string.Join("; ", error.Facts.Where(fact => fact.Error is not null).Select(fact => Of(fact.Error!))),
        // Where the size comes from is a file, or else an option.
        LincowErrorCode.DeviceEmpty or LincowErrorCode.DeviceNotSectors or LincowErrorCode.DeviceTooLarge when error.File is null =>
            "--" + Fill(Wording(error.Code), error),
        LincowErrorCode.OriginNotRaw => $"{error.Message}. {ImageWays.Of(error["format"]!.Value.ToString(), error.File!)}",
        _ => Fill(Wording(error.Code), error),
    };

    /// <summary>The wording of a code; null where it has none.</summary>
    internal static string? Find(LincowErrorCode code) => _wordings.GetValueOrDefault(code);

    private static string Wording(LincowErrorCode code) => Find(code) ?? AsItIs;

    private static string Fill(string wording, LincowError error)
    {
        var text = new StringBuilder();
        for (var at = 0; at < wording.Length;)
        {
            var open = wording.IndexOf('{', at);
            if (open < 0)
                return text.Append(wording, at, wording.Length - at).ToString();
            var close = wording.IndexOf('}', open);
            text.Append(wording, at, open - at).Append(Value(wording[(open + 1)..close], error));
            at = close + 1;
        }
        return text.ToString();
    }

    private static string Value(string name, LincowError error) => name switch
    {
        "message" => error.Message,
        "file" => error.File ?? "",
        _ => error[name] is not { } fact ? "" : fact.Error is { } cause ? Of(cause) : fact.ToString(),
    };
}
