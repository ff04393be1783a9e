using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>
/// An origin that an overlay remembers by its place relative to the overlay's own (the file with the superblock or note), so that a
/// directory with both can be moved: <c>relative:PATH</c>, or <c>relative:raw:PATH</c>. It is followed over no symbolic link: whoever moves
/// an overlay decides what lies beside it, and a link beside it could show any file to its user.
/// </summary>
internal static class RelativeOrigin
{
    private const string Prefix = "relative:";

    /// <summary>The relative path; null for an origin that is remembered by another name.</summary>
    public static string? PathIn(string recorded) => !recorded.StartsWith(Prefix, StringComparison.Ordinal) ? null
        : recorded[Prefix.Length..] is var rest && rest.StartsWith(RawScheme.Prefix, StringComparison.Ordinal)
            ? rest[RawScheme.Prefix.Length..] : rest;

    /// <summary>What an overlay remembers, as a reference that can be opened.</summary>
    /// <param name="recorded">What it remembers.</param>
    /// <param name="overlay">The file in which it does.</param>
    public static string Resolve(string recorded, LinuxFile overlay)
    {
        if (PathIn(recorded) is not { } relative)
            return recorded;
        var isRaw = recorded.Length > Prefix.Length + relative.Length;
        return (isRaw ? RawScheme.Prefix : "") + Path.GetFullPath(relative, DirectoryOf(overlay));
    }

    /// <summary>What an overlay is to remember: relative if what it remembered before is.</summary>
    public static string Keep(string recorded, string uri, LinuxFile overlay) => PathIn(recorded) is null ? uri
        : Resolve(recorded, overlay) == uri ? recorded : Of(OriginReference.Parse(uri), DirectoryOf(overlay));

    /// <summary>The reference relative to a directory; itself where it leads to no file.</summary>
    public static string Of(OriginReference origin, string directory) => origin.FilePath is not { Length: > 0 } path ? origin.Text
        : Prefix + (origin.IsRaw ? RawScheme.Prefix : "") + Path.GetRelativePath(directory, RealPath(path));

    /// <summary>The directory of a file that is to be made, without links.</summary>
    public static string DirectoryOf(string path) => RealPath(Path.GetDirectoryName(LinuxPath.Full(path))!);

    /// <summary>Throws <see cref="LincowException"/> when the way to what an overlay remembers leads over a symbolic link.</summary>
    public static void RequireWithoutLinks(string recorded, LinuxFile overlay)
    {
        if (PathIn(recorded) is not { } relative)
            return;
        var path = DirectoryOf(overlay);
        foreach (var part in relative.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            path = Path.GetFullPath(part, path);
            // mutation: relative-origin-over-a-link
            if (new FileInfo(path).LinkTarget is not null)
                throw new LincowException(OriginErrors.RelativeLink(overlay.Path, path));
        }
    }

    private static string DirectoryOf(LinuxFile overlay) =>
        Path.GetDirectoryName(new FileInfo(overlay.OwnPath).LinkTarget ?? overlay.Path)!;

    private static string RealPath(string path)
    {
        try
        {
            using var file = LinuxFile.Open(path, writable: false);
            return new FileInfo(file.OwnPath).LinkTarget ?? path;
        }
        catch (LinuxException)
        {
            // Whoever opens it next says why that can't be.
            return path;
        }
    }
}
