using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores;

/// <summary>
/// Keeps what overlays still hold whose commit was cut off (<see cref="LincowErrorCode.CommitUnfinished"/>): it is not thrown away, nor
/// carried to where nobody knows of it.
/// </summary>
internal static class CutCommit
{
    /// <summary>
    /// Throws <see cref="LincowException"/> when an origin isn't at the place that the overlay remembers. What it is like is not known
    /// while its commit is unfinished, so any other of its kind and size, a backup for example, would be recognised by that.
    /// </summary>
    /// <param name="overlay">The overlay, for the message.</param>
    /// <param name="origin">The origin that was named.</param>
    /// <param name="recorded">The one that the overlay remembers.</param>
    public static void RequireSamePlace(string overlay, OriginFile origin, string recorded)
    {
        // mutation: cut-commit-goes-on-elsewhere
        if (origin.Reference.Place != OriginReference.Parse(recorded).Place)
        {
            throw new LincowException(StoreErrors.OriginElsewhere(origin.Uri, overlay, recorded));
        }
    }

    /// <summary>
    /// Throws <see cref="LincowException"/> when a file, which is to be overwritten, holds such an overlay or a half of one.
    /// </summary>
    public static void RefuseToReplace(LinuxFile file)
    {
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice) || (!IsBegunIn(file) && !IsBegunInMetadataOf(file)))
            return;
        // mutation: cut-commit-is-a-dead-end (3 lines)
        if (WhyShut(file.Path) is { } reason)
            throw new LincowException(StoreErrors.CommitUnfinishedShut(file.Path, reason,
                file.Facts.Kind == FileKind.Regular ? 0 : StoreFormats.HeadBytes), reason);
        throw new LincowException(StoreErrors.CommitUnfinished(file.Path));
    }

    // Then a reset doesn't open it either, nor does a commit.
    private static Exception? WhyShut(string path)
    {
        try
        {
            StoreFormats.Of(path, null).Open(new OverlayOptions { Overlay = path, AcceptMap = true, Rescue = true }, OverlayAccess.Peek)
                .Dispose();
            return null;
        }
        catch (Exception e) when (e is LincowException or LinuxException)
        {
            return e;
        }
    }

    // What a file begins as decides: the rest of a head may be the guest's.
    private static bool IsBegunIn(LinuxFile file)
    {
        using var head = new AlignedBytes(StoreFormats.HeadBytes);
        file.Read(head.Span, 0);
        try
        {
            return StoreFormats.WithMagic(head.Span) is { } store ? store.ReadHead(head.Span, file.Path).IsCommitUnfinished
                : StoreFormats.Any(head.Span, file.Path, said => said.IsCommitUnfinished);
        }
        catch (LincowException)
        {
            // Of a version to come.
            return false;
        }
    }

    // The data of an overlay whose metadata lies apart: that has the record.
    private static bool IsBegunInMetadataOf(LinuxFile data)
    {
        foreach (var format in StoreFormats.All)
        {
            if (format.MetadataOf(data) is not { } path || !File.Exists(path))
                continue;
            using var metadata = StorePath.Open(path);
            if (metadata.Facts.Kind is FileKind.Regular or FileKind.BlockDevice && IsBegunIn(metadata))
                return true;
        }
        return false;
    }
}
