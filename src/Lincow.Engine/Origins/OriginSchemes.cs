using Lincow.Blobs;

namespace Lincow.Origins;

/// <summary>A kind of origin: how its names are told from others, and how what they name is opened.</summary>
internal interface IOriginScheme
{
    /// <summary>A name in the form in which overlays remember it; null for a text that means something else.</summary>
    string? TryParse(string text);

    /// <summary>
    /// Opens what a name means, for reading. Throws <see cref="LincowException"/> with a sentence for everything that can't be an origin.
    /// </summary>
    ValueTask<IBlobControl> OpenAsync(string name, CancellationToken stop);

    /// <summary>The path that a name leads to; null where it leads to none.</summary>
    string? PathOf(string name) => null;
}

/// <summary>The kinds of origins. To add one is a class and a line here.</summary>
internal static class OriginSchemes
{
    /// <summary>The first that knows a text has it; every text is a path to the last.</summary>
    public static readonly IOriginScheme[] All =
        [NothingScheme.Instance, RawScheme.Instance, ProgramScheme.Instance, UnknownScheme.Instance, FileScheme.Instance];
}

/// <summary>zero:SIZE, nothing of a size.</summary>
internal sealed class NothingScheme : IOriginScheme
{
    public const string Prefix = "zero:";

    public static readonly NothingScheme Instance = new();

    public string? TryParse(string text) => text.StartsWith(Prefix, StringComparison.Ordinal) ? text : null;

    public ValueTask<IBlobControl> OpenAsync(string name, CancellationToken stop) =>
        new(new NothingControl(name, SizeText.Parse(name[Prefix.Length..], "origin")));
}

/// <summary>raw:PATH, a file's or block device's bytes as they are, whatever they look like.</summary>
internal sealed class RawScheme : IOriginScheme
{
    public const string Prefix = "raw:";

    public static readonly RawScheme Instance = new();

    public string? TryParse(string text) => text.StartsWith(Prefix, StringComparison.Ordinal)
        ? Prefix + FileScheme.Instance.TryParse(text[Prefix.Length..]) : null;

    public ValueTask<IBlobControl> OpenAsync(string name, CancellationToken stop) =>
        FileScheme.Instance.OpenAsync(name[Prefix.Length..], stop);

    public string? PathOf(string name) => name[Prefix.Length..];
}

/// <summary>user:NAME, what a program of the library's user decides on. Overlays remember the name; it doesn't lead there.</summary>
internal sealed class ProgramScheme : IOriginScheme
{
    public const string Prefix = "user:";

    public static readonly ProgramScheme Instance = new();

    public string? TryParse(string text) => text.StartsWith(Prefix, StringComparison.Ordinal) ? text : null;

    public ValueTask<IBlobControl> OpenAsync(string name, CancellationToken stop) =>
        throw new LincowException(OriginErrors.ProgramOnly(name));
}

/// <summary>A URI of a kind that isn't known. What lies at a path is one, whatever it looks like.</summary>
internal sealed class UnknownScheme : IOriginScheme
{
    private const string SchemeEnd = "://";

    public static readonly UnknownScheme Instance = new();

    // mutation: path-with-a-scheme-refused
    public string? TryParse(string text) => SchemeOf(text).Length > 0 && !Path.Exists(text) ? text : null;

    public ValueTask<IBlobControl> OpenAsync(string name, CancellationToken stop) =>
        throw new LincowException(OriginErrors.KindUnsupported(name, SchemeOf(name).ToString()));

    // RFC 3986: a letter, then letters, digits, '+', '-' and '.'.
    private static ReadOnlySpan<char> SchemeOf(string text)
    {
        var scheme = text.AsSpan(0, Math.Max(0, text.IndexOf(SchemeEnd, StringComparison.Ordinal)));
        foreach (var letter in scheme)
        {
            if (!char.IsAsciiLetterOrDigit(letter) && letter is not ('+' or '-' or '.'))
                return default;
        }
        return scheme.Length > 0 && char.IsAsciiLetter(scheme[0]) ? scheme : default;
    }
}
