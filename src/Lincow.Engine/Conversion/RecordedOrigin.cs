using Lincow.Linux;

namespace Lincow.Conversion;

/// <summary>
/// The origin that a file of another format names. Nothing in such a file says who wrote the name, and whoever wrote it may have wanted to
/// see another file's content, so it is followed no further than the file's own directory (SECURITY.md).
/// </summary>
internal static class RecordedOrigin
{
    /// <summary>
    /// The origin to use: the user's word, else the recorded name if it is a file beside the source. Throws <see cref="LincowException"/>.
    /// </summary>
    /// <param name="source">The file that names it.</param>
    /// <param name="recorded">The name, relative to the source's directory.</param>
    /// <param name="chosen">What the user gave with --origin.</param>
    public static string Resolve(string source, string recorded, string? chosen)
    {
        if (chosen is not null)
            return chosen;
        if (recorded.Length == 0)
            throw new LincowException(ConversionErrors.OriginUnnamed(source));
        // What was read as another name would lead to another file.
        // mutation: recorded-name-of-another-file
        if (NamesOfBytes.MayBeWrong(recorded))
            throw new LincowException(ConversionErrors.OriginNameNotUtf8(source, recorded));
        var directory = Path.GetDirectoryName(LinuxPath.Full(source))!;
        var named = Path.GetFullPath(recorded, directory);
        var beside = Path.Combine(directory, Path.GetFileName(recorded));
        // Files that were moved together find each other.
        if ((named == beside || !File.Exists(named)) && IsPlainFile(beside))
            return beside;
        throw new LincowException(File.Exists(named) ? ConversionErrors.OriginNotBeside(source, named)
            : ConversionErrors.OriginNamedMissing(source, named));
    }

    private static bool IsPlainFile(string path) => new FileInfo(path) is { Exists: true, LinkTarget: null };
}
