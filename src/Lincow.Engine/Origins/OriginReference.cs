namespace Lincow.Origins;

/// <summary>What kind of thing an origin's name means.</summary>
internal enum OriginReferenceKind
{
    /// <summary>A regular file or a block device, by its path.</summary>
    File,

    /// <summary>Nothing, of a given size: every byte reads as zero.</summary>
    Nothing,

    /// <summary>What a program of the library's user decides on; no name leads there.</summary>
    Program,

    /// <summary>Something that is reached through a URI; there is no such origin yet.</summary>
    Remote,
}

/// <summary>
/// An origin as a user names it and as overlays remember it. The only place that knows how kinds are told apart by their text.
/// </summary>
/// <param name="Kind">What it means.</param>
/// <param name="Text">zero:SIZE as it was written; an absolute path, in which links are kept; user:NAME; a URI.</param>
internal readonly record struct OriginReference(OriginReferenceKind Kind, string Text)
{
    private const string ZeroPrefix = "zero:", ProgramPrefix = "user:", SchemeEnd = "://";

    public bool IsNothing => Kind == OriginReferenceKind.Nothing;

    /// <summary>For <see cref="OriginReferenceKind.Remote"/>: the scheme of its URI.</summary>
    public string Scheme => Text[..Text.IndexOf(SchemeEnd, StringComparison.Ordinal)];

    /// <summary>
    /// What a text means. A relative path is one from the current directory. The empty text is the empty path, which nothing can be opened
    /// by.
    /// </summary>
    public static OriginReference Parse(string text) =>
        text.StartsWith(ZeroPrefix, StringComparison.Ordinal) ? new OriginReference(OriginReferenceKind.Nothing, text)
        : text.IndexOf(SchemeEnd, StringComparison.Ordinal) > 0 ? new OriginReference(OriginReferenceKind.Remote, text)
        : new OriginReference(OriginReferenceKind.File, text.Length == 0 ? text : Path.GetFullPath(text));

    /// <summary>Nothing, of so many bytes.</summary>
    public static OriginReference Nothing(long sizeBytes) =>
        new(OriginReferenceKind.Nothing, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{ZeroPrefix}{sizeBytes}"));

    /// <summary>What a program decides on, under the name that the program gives it.</summary>
    public static OriginReference Program(string name) => new(OriginReferenceKind.Program, ProgramPrefix + name);

    /// <summary>
    /// For <see cref="OriginReferenceKind.Nothing"/>: its size in bytes. Throws <see cref="LincowException"/> when the text has none.
    /// </summary>
    public long ParseSizeBytes() => SizeText.Parse(Text[ZeroPrefix.Length..], "origin");

    public override string ToString() => Text;
}
