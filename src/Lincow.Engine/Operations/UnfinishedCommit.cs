using Lincow.Linux;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Operations;

/// <summary>
/// Overlays whose commit was begun and isn't complete. Their origin holds a part of what they held, and nothing but both together is the device; so what
/// they still hold is not thrown away, nor carried to where nobody knows of it. They are served as ever, and the commit is run again.
/// </summary>
public static class UnfinishedCommit
{
    private const string Unfinished = "its commit was cut off, so the origin is half old, half new, and whole only together with what the overlay still holds";

    /// <summary>What is the matter, and what to do about it. Goes behind the overlay's path.</summary>
    public const string Sentence = Unfinished + ". Run 'lincow commit' again to complete it";

    /// <summary>As <see cref="Sentence"/>, for who wants to do without what the overlay holds.</summary>
    internal const string RefusalSentence = Sentence + "; 'lincow reset --force' throws the rest away and leaves the origin as it is";

    internal static LincowException Refusal(string overlay) => new($"{overlay}: {RefusalSentence}");

    /// <summary>
    /// Throws <see cref="LincowException"/> when an origin isn't at the place that the overlay remembers. What it is like is not known while its commit is
    /// unfinished, so any other of its kind and size, a backup for example, would be recognised by that.
    /// </summary>
    /// <param name="overlay">The overlay, for the message.</param>
    /// <param name="origin">The origin that was named.</param>
    /// <param name="recorded">The one that the overlay remembers.</param>
    internal static void RequireSamePlace(string overlay, OriginFile origin, string recorded)
    {
        // mutation: cut-commit-goes-on-elsewhere
        if (origin.Uri != recorded)
        {
            throw new LincowException($"{origin.Uri}: the commit of {overlay} to {recorded} was cut off, and what it had written is nowhere but in there. Name that one; "
                + "or if it was moved here, add --accept-origin");
        }
    }

    /// <summary>Throws <see cref="LincowException"/> when a file, which is to be overwritten, holds such an overlay or a half of one.</summary>
    internal static void RefuseToReplace(LinuxFile file)
    {
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice) || (!IsBegunIn(file) && !IsBegunInMapOf(file)))
            return;
        // mutation: cut-commit-is-a-dead-end (2 lines)
        if (WhyShut(file.Path) is { } reason)
            throw new LincowException($"{file.Path}: {Unfinished}, but the overlay can't be opened ({reason}). If that can't be mended, {Removal(file)}");
        throw Refusal(file.Path);
    }

    private static string Removal(LinuxFile file) => file.Facts.Kind == FileKind.Regular
        ? "remove this file and try again"
        : $"clear the first {2 * Superblock.SizeBytes} bytes of this device and try again";

    // Then a reset doesn't open it either, nor does a commit.
    private static string? WhyShut(string path)
    {
        try
        {
            if (!SnapshotFile.Is(path, null))
                OverlayFiles.Open(path, null, OverlayAccess.Peek, acceptMap: true).Dispose();
            return null;
        }
        catch (Exception e) when (e is LincowException or LinuxException)
        {
            return e.Message;
        }
    }

    private static bool IsBegunIn(LinuxFile file)
    {
        using var head = new AlignedBytes(2 * Superblock.SizeBytes);
        var bytes = file.Read(head.Span, 0);
        if (bytes >= SnapshotHeader.SizeBytes && SnapshotHeader.HasMagic(head.Span))
            return SnapshotHeader.Decode(head.Span[..SnapshotHeader.SizeBytes], out _) is { IsCommitUnfinished: true };
        try
        {
            return SuperblockFile.Decode(head.Span, file.Path).Current is { IsCommitUnfinished: true };
        }
        catch (LincowException)
        {
            // Of a version to come.
            return false;
        }
    }

    // The data of an overlay whose map lies apart: the map has the record.
    private static bool IsBegunInMapOf(LinuxFile data)
    {
        if (OverlayFiles.FindMapOf(data) is not { } path || !File.Exists(path))
            return false;
        using var map = OverlayFiles.OpenPath(path, writable: false, direct: false, exclusive: false);
        return map.Facts.Kind is FileKind.Regular or FileKind.BlockDevice && IsBegunIn(map);
    }
}
