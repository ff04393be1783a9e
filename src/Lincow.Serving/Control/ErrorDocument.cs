using System.Text.Json;

namespace Lincow.Serving.Control;

/// <summary>An error as JSON: <c>{"code":"DeviceHeld","file":null,"message":"...","facts":{"holder":"...","sizeBytes":4096}}</c>.</summary>
/// <param name="Code">The name of the <see cref="LincowErrorCode"/>.</param>
/// <param name="File">What it is about.</param>
/// <param name="Message">The neutral sentence.</param>
/// <param name="Facts">Texts, whole numbers, and errors as such documents, by name.</param>
public sealed record ErrorDocument(string Code, string? File, string Message, IReadOnlyDictionary<string, JsonElement> Facts)
{
    /// <summary>An error as a document.</summary>
    public static ErrorDocument Of(LincowError error) => new(error.Code.ToString(), error.File, error.Message,
        error.Facts.ToDictionary(fact => fact.Name, fact =>
            fact.Error is { } cause ? JsonSerializer.SerializeToElement(Of(cause), ControlJson.Default.ErrorDocument)
            : fact.Number is { } number ? JsonSerializer.SerializeToElement(number, ControlJson.Default.Int64)
            : JsonSerializer.SerializeToElement(fact.Text!, ControlJson.Default.String)));

    /// <summary>The error; null when this version knows no such code.</summary>
    public LincowError? ToError()
    {
        // An enum's number is taken as well, which no code is written as.
        if (!Enum.TryParse<LincowErrorCode>(Code, out var code) || !Enum.IsDefined(code) || Message is null)
            return null;
        var facts = new List<LincowFact>();
        foreach (var (name, value) in Facts ?? new Dictionary<string, JsonElement>())
        {
            if (value.ValueKind == JsonValueKind.String)
                facts.Add(new LincowFact(name, value.GetString()));
            else if (value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number))
                facts.Add(new LincowFact(name, number));
            else if (value.ValueKind == JsonValueKind.Object
                && value.Deserialize(ControlJson.Default.ErrorDocument)?.ToError() is { } cause)
                facts.Add(new LincowFact(name, cause));
        }
        return new LincowError(code, File, Message, [.. facts]);
    }
}
