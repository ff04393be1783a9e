using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>
/// Whether somebody changes an origin at this moment. What is mounted for writing changes for certain, so it is no origin unless a person
/// says so; whoever has it open for writing may do nothing, and is named. It is looked at once, when the origin is opened: what comes later
/// is seen by <see cref="OriginLayer.FindChangeAsync"/>.
/// </summary>
internal static class OriginUse
{
    /// <summary>Throws <see cref="LincowException"/> when it is in use in a way that must be wrong.</summary>
    /// <param name="origin">The origin.</param>
    /// <param name="accept">A person says that it is right.</param>
    /// <param name="warn">Told of those who may be changing it.</param>
    public static void Require(OriginFile origin, bool accept, Action<LincowError>? warn)
    {
        if (origin.File is not { } file)
            return;
        var writers = FileWriters.Of(file);
        var mounts = Join(writers.Mounts);
        // mutation: mounted-origin-taken
        if (mounts.Length > 0 && !accept)
            throw new LincowException(OriginErrors.Mounted(file.Path, mounts));
        var others = Join(writers.Processes.Concat(writers.Loops));
        if (mounts.Length + others.Length > 0)
            warn?.Invoke(mounts.Length > 0 ? OriginErrors.Mounted(file.Path, mounts) : OriginErrors.OpenForWriting(file.Path, others));
    }

    /// <summary>Throws <see cref="LincowException"/> when an overlay would lie on the file system in its own origin.</summary>
    public static void RequireElsewhere(OriginFile origin, FileFacts overlay, string path)
    {
        // mutation: overlay-within-its-origin
        if (overlay.Kind == FileKind.Regular && origin.File is { } file && FileWriters.Of(file).IsUnder(overlay.Device))
            throw new LincowException(OriginErrors.Contains(file.Path, path));
    }

    private static string Join(IEnumerable<string> names)
    {
        var sorted = names.ToArray();
        Array.Sort(sorted, string.CompareOrdinal);
        return string.Join(", ", sorted);
    }
}
