using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Stores.Linear;

/// <summary>
/// Takes a linear overlay back to its origin: the generation goes up by one in the superblock, and every map page that exists becomes one
/// of an older generation, which reads as empty. One small write is the moment; before it everything is as it was, after it nothing is
/// there.
/// </summary>
internal static class LinearReset
{
    /// <summary>How long giving back space may take here; what is left over is done in the background of the next serve.</summary>
    private const int ReclaimMilliseconds = 200;

    /// <summary>Bytes of the data file punched between looks at the clock.</summary>
    private const long PunchBytes = 1L << 30;

    /// <summary>Resets an overlay that nobody serves. Returns whether all space has been given back already.</summary>
    public static bool Run(LinearFiles files, IoLoop loop)
    {
        using var blob = new FileBlob(files.MapFile, loop);
        if (files.Reading.NeedsRepair)
            SuperblockFile.Repair(blob, files.Reading, loop.Buffers);
        // mutation: reset-punches-first
        var superblock = files.Superblock;
        var wasInUse = superblock.Flags & SuperblockFlags.InUse;
        superblock = SuperblockFile.Update(blob, superblock.WithoutCommit() with
        {
            // mutation: reset-keeps-generation
            Generation = superblock.Generation + 1,
            Flags = superblock.Flags | SuperblockFlags.InUse | SuperblockFlags.ReclaimPending,
        }, loop.Buffers);
        // Without old pages there are no torn ones either, so the overlay is clean whatever it was before.
        var mapIsBlank = files.MapFile.TryPunchHole(LinearStore.PageOffset(0, 0), superblock.MapBytes);
        var isReclaimed = Reclaim(files.DataFile, superblock, loop);
        // Both must be on disk before the marks that ask for them go.
        files.MapFile.Sync();
        files.DataFile.Sync();
        // mutation: reset-of-a-crash-is-clean
        var flags = mapIsBlank ? SuperblockFlags.None : wasInUse;
        if (!isReclaimed)
            flags |= SuperblockFlags.ReclaimPending;
        SuperblockFile.Update(blob, superblock with { Flags = flags }, loop.Buffers);
        return isReclaimed;
    }

    private static bool Reclaim(LinuxFile data, Superblock superblock, IoLoop loop)
    {
        if (data.Facts.Kind == FileKind.BlockDevice)
        {
            // A device's space is a matter of its own; a thin one gets a discard, and any other has nothing to give back.
            data.TryDiscardDevice(superblock.DataOffset, superblock.DeviceBytes);
            return true;
        }
        var deadline = loop.Timestamp + ReclaimMilliseconds * Stopwatch.Frequency / 1000;
        var end = superblock.DataFileBytes;
        var cursor = superblock.DataOffset;
        while (data.TryFindData(cursor, end, out var start, out var dataEnd))
        {
            var length = Math.Min(dataEnd - start, PunchBytes);
            if (loop.Timestamp > deadline || !data.TryPunchHole(start, length))
                return false;
            cursor = start + length;
        }
        return true;
    }
}
