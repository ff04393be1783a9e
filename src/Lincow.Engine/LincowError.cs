using System.Diagnostics;
using Lincow.Linux;

namespace Lincow;

/// <summary>
/// What went wrong, as data: a code, the file, the facts. A program decides by <see cref="Code"/> or <see cref="Kind"/>; a front end makes
/// a
/// sentence of its own of code and facts, with advice in its own terms (the command line's are in Lincow.Cli/Output/ErrorText.cs).
///
/// To add an error: a member of <see cref="LincowErrorCode"/> in its group, a factory method in the room's class of errors (StoreErrors,
/// OriginErrors, ...), and the command line's wording. A test holds that each code has both, and that no wording asks for a fact that the
/// factory doesn't state.
/// </summary>
public sealed class LincowError
{
    private readonly LincowFact[] _facts;

    /// <summary>An error. Within lincow the rooms' factory methods call this, so that no fact is forgotten.</summary>
    /// <param name="code">What went wrong.</param>
    /// <param name="file">The file, device or address that it is about; null where there is none.</param>
    /// <param name="message">An English sentence that names no option and no command; without a full stop at its end.</param>
    /// <param name="facts">The rest of what is known.</param>
    public LincowError(LincowErrorCode code, string? file, string message, params ReadOnlySpan<LincowFact> facts)
    {
        (Code, File, Message) = (code, file, message);
        _facts = facts.ToArray();
        Debug.Assert(_facts.DistinctBy(fact => fact.Name).Count() == _facts.Length, "a fact is stated once");
    }

    /// <summary>What went wrong.</summary>
    public LincowErrorCode Code { get; }

    /// <summary>What a program would do about it.</summary>
    public LincowErrorKind Kind => (LincowErrorKind)((int)Code / 100);

    /// <summary>The file, device or address that it is about; null where there is none.</summary>
    public string? File { get; }

    /// <summary>A sentence for people, without advice on how to use any program.</summary>
    public string Message { get; }

    /// <summary>What else is known: sizes, offsets, names, the system's errno.</summary>
    public IReadOnlyList<LincowFact> Facts => _facts;

    /// <summary>The fact of that name; null where the error doesn't state it.</summary>
    public LincowFact? this[string name]
    {
        get
        {
            foreach (var fact in _facts)
            {
                if (fact.Name == name)
                    return fact;
            }
            return null;
        }
    }

    /// <summary>The sentence.</summary>
    public override string ToString() => Message;

    /// <summary>The system refused something, and its sentence says it all.</summary>
    public static LincowError Of(Exception exception) => exception switch
    {
        LincowException lincow => lincow.Error,
        LinuxException linux => new(LincowErrorCode.SystemRefused, linux.Subject, linux.Message, LincowFact.Errno(linux)),
        _ => new(LincowErrorCode.SystemRefused, null, SystemReason.WithPath(exception)),
    };

    /// <summary>Several errors as one; that error itself, if it is one only.</summary>
    public static LincowError Join(IReadOnlyList<LincowError> errors) => errors is [var only] ? only
        : new(LincowErrorCode.Several, null, string.Join("; ", errors.Select(error => error.Message)),
            [.. errors.Select((error, index) => new LincowFact($"error{index}", error))]);
}

/// <summary>A named value of an error: a text, a whole number, or an error that was its cause.</summary>
public readonly record struct LincowFact
{
    /// <summary>A text: a path, a name, a reason.</summary>
    public LincowFact(string name, string? text) => (Name, Text) = (name, text ?? "");

    /// <summary>A number. The name says what of: <c>...Bytes</c> and <c>...Offset</c> are in bytes, <c>errno</c> is the system's,
    /// positive.</summary>
    public LincowFact(string name, long number) => (Name, Number) = (name, number);

    /// <summary>An error that was the cause.</summary>
    public LincowFact(string name, LincowError error) => (Name, Error) = (name, error);

    /// <summary>What the value is, in camel case.</summary>
    public string Name { get; }

    /// <summary>The value, if it is a text.</summary>
    public string? Text { get; }

    /// <summary>The value, if it is a number.</summary>
    public long? Number { get; }

    /// <summary>The value, if it is an error.</summary>
    public LincowError? Error { get; }

    /// <summary>The value as a text; of an error its sentence.</summary>
    public override string ToString() =>
        Error?.Message ?? Text ?? Number?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "";

    /// <summary>The system's error number.</summary>
    internal static LincowFact Errno(LinuxException exception) => new("errno", exception.Errno);

    /// <summary>Why: the error that an exception is, or its sentence.</summary>
    internal static LincowFact Reason(Exception exception) => exception is LincowException lincow ? new("reason", lincow.Error)
        : new("reason", SystemReason.WithPath(exception));
}
