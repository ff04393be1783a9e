namespace Lincow.Serving.Control;

/// <summary>An error as JSON: <c>{"code":"DeviceHeld","file":null,"message":"...","facts":[{"name":"holder","text":"..."}]}</c>.</summary>
/// <param name="Code">The name of the <see cref="LincowErrorCode"/>.</param>
/// <param name="File">What it is about.</param>
/// <param name="Message">The neutral sentence.</param>
/// <param name="Facts">What it says further.</param>
public sealed record ErrorDocument(string Code, string? File, string Message, IReadOnlyList<FactDocument> Facts)
{
    /// <summary>An error as a document.</summary>
    public static ErrorDocument Of(LincowError error) => new(error.Code.ToString(), error.File, error.Message,
        [.. error.Facts.Select(fact => new FactDocument(fact.Name, fact.Text, fact.Number, fact.Error is { } cause ? Of(cause) : null))]);

    /// <summary>The error; null when this version knows no such code.</summary>
    public LincowError? ToError()
    {
        // An enum's number is taken as well, which no code is written as.
        if (!Enum.TryParse<LincowErrorCode>(Code, out var code) || !Enum.IsDefined(code) || Message is null)
            return null;
        var facts = new List<LincowFact>();
        foreach (var fact in Facts ?? [])
        {
            if (fact.Text is { } text)
                facts.Add(new LincowFact(fact.Name, text));
            else if (fact.Number is { } number)
                facts.Add(new LincowFact(fact.Name, number));
            else if (fact.Error?.ToError() is { } cause)
                facts.Add(new LincowFact(fact.Name, cause));
        }
        return new LincowError(code, File, Message, [.. facts]);
    }
}

/// <summary>One fact of an error: one of text, number and error.</summary>
/// <param name="Name">What it is.</param>
/// <param name="Text">A text, or null.</param>
/// <param name="Number">A whole number, or null.</param>
/// <param name="Error">Another error, or null.</param>
public sealed record FactDocument(string Name, string? Text = null, long? Number = null, ErrorDocument? Error = null);
