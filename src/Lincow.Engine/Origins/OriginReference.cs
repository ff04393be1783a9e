using System.Globalization;

namespace Lincow.Origins;

/// <summary>
/// An origin as a user names it and as overlays remember it. How kinds of origins are told apart by their names is said by
/// <see cref="OriginSchemes"/> alone.
/// </summary>
internal readonly record struct OriginReference
{
    private OriginReference(IOriginScheme scheme, string text) => (Scheme, Text) = (scheme, text);

    /// <summary>
    /// zero:SIZE as it was written; an absolute path, in which links are kept, or raw: and such a path; user:NAME; a URI.
    /// </summary>
    public string Text { get; }

    /// <summary>Whether it names an origin of nothing, whose every byte reads as zero.</summary>
    public bool IsNothing => Scheme is NothingScheme;

    /// <summary>Whether its bytes are meant as they are, whatever they look like.</summary>
    public bool IsRaw => Scheme is RawScheme;

    /// <summary>The path that it leads to; null where it leads to none.</summary>
    public string? FilePath => Scheme.PathOf(Text);

    /// <summary>The path that it leads to, or else its text.</summary>
    public string Place => FilePath ?? Text;

    /// <summary>Whether it leads to something that is there.</summary>
    public bool IsPresent => IsNothing || (FilePath is { Length: > 0 } path && File.Exists(path));

    /// <summary>What kind it is.</summary>
    internal IOriginScheme Scheme { get; }

    /// <summary>
    /// What a text means. A relative path is one from the current directory. The empty text is the empty path, which nothing can be opened
    /// by.
    /// </summary>
    public static OriginReference Parse(string text)
    {
        foreach (var scheme in OriginSchemes.All)
        {
            if (scheme.TryParse(text) is { } name)
                return new OriginReference(scheme, name);
        }
        throw new InvalidOperationException("every text is a path");
    }

    /// <summary>Nothing, of so many bytes.</summary>
    public static OriginReference Nothing(long sizeBytes) =>
        new(NothingScheme.Instance, string.Create(CultureInfo.InvariantCulture, $"{NothingScheme.Prefix}{sizeBytes}"));

    /// <summary>What a program decides on, under the name that the program gives it.</summary>
    public static OriginReference Program(string name) => new(ProgramScheme.Instance, ProgramScheme.Prefix + name);

    /// <summary>Its text.</summary>
    public override string ToString() => Text;
}
