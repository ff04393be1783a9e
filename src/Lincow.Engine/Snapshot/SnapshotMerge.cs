using Lincow.Linux;
using Lincow.Overlays;

namespace Lincow.Snapshot;

/// <summary>What a commit did.</summary>
/// <param name="Overlay">The store.</param>
/// <param name="Origin">What was written to.</param>
/// <param name="Chunks">Chunks that were written back.</param>
/// <param name="Bytes">Bytes that were written back.</param>
public sealed record CommitReport(string Overlay, string Origin, long Chunks, long Bytes);

/// <summary>
/// Writes a store's chunks back into its origin, from the end of the list to its start, as dm-snapshot-merge does: a batch of chunks is copied,
/// the origin synced, then the batch's entries are zeroed and the store synced. So at any moment the device reads the same: what is still listed
/// comes from the store, what isn't is in the origin. A commit that was cut off is simply begun again.
/// </summary>
public static class SnapshotMerge
{
    /// <summary>Areas between two syncs: 64 MiB of chunks where both are 4 KiB.</summary>
    private const int AreasAtOnce = 64;

    private const int CopyBytes = 4 << 20;

    /// <summary>Commits a store that nobody serves. Throws <see cref="LincowException"/>.</summary>
    /// <param name="overlay">The store.</param>
    /// <param name="origin">Its origin, if lincow has no note of it or it was moved.</param>
    /// <param name="acceptOrigin">Go on with an origin that isn't as it was noted.</param>
    /// <param name="progress">Told of the fraction done, from 0 to 1.</param>
    public static CommitReport Run(string overlay, string? origin, bool acceptOrigin, Action<double>? progress = null)
    {
        if (!SnapshotFile.Is(overlay, null))
            throw new LincowException($"{overlay}: is not a dm-snapshot store, and the commit of linear overlays is not there yet. 'lincow convert {overlay} FILE --to snapshot' makes a store of it");
        try
        {
            using var store = SnapshotFile.Open(overlay, OverlayAccess.Write);
            // Looked at and recognised as any origin; then opened for writing, alone.
            string path;
            long deviceBytes;
            using (var look = SnapshotSession.OpenOrigin(store, new SessionOptions { Origin = origin, AcceptOrigin = acceptOrigin }))
            {
                if (look.Facts is null)
                    throw new LincowException($"{look.Uri}: is an origin of nothing, so there is nothing to commit to");
                (path, deviceBytes) = (look.Uri, store.Note?.DeviceBytes ?? look.Identity.SizeBytes);
                OriginNote.Write(store.File, store.Note?.Uuid ?? Guid.NewGuid(), deviceBytes, OriginNote.Unsettled(look.Identity), path);
            }
            using var target = OpenTarget(path);
            var report = Run(store, target, deviceBytes, progress);
            OriginNote.Write(store.File, OriginNote.Read(store.File)?.Uuid ?? Guid.NewGuid(), deviceBytes, Origins.OriginIdentity.Of(target), path);
            return report;
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{e.Message}. What was committed is in the origin, the rest is in the store; run the commit again", e);
        }
    }

    internal static CommitReport Run(SnapshotFile store, LinuxFile origin, long deviceBytes, Action<double>? progress = null)
    {
        var (file, layout) = (store.File, store.Layout);
        if (store.IsBlank)
            SnapshotFile.Restart(file, store.Header);
        var geometry = new Geometry(deviceBytes, store.Header.ChunkShift);
        var scan = store.IsBlank ? new SnapshotScan() : SnapshotScan.Run(file, layout, store.ReadSizeBytes(), geometry.ChunkCount);
        if (scan.Findings is [var finding, ..])
            throw new LincowException($"{file.Path}: the list of exceptions is damaged at byte {finding.StoreOffset}: {finding.Problem}. Nothing was committed. 'lincow check' lists all") { IsDamage = true };
        if (scan.HasLeftOver)
            store.ClearLeftOver(scan);
        if (origin.Facts.Kind == FileKind.Regular && origin.ReadFacts().SizeBytes < deviceBytes)
            origin.SetLength(deviceBytes);
        else if (origin.Facts.Kind != FileKind.Regular && origin.Facts.SizeBytes < deviceBytes)
            throw new LincowException($"{origin.Path}: has {origin.Facts.SizeBytes} bytes and the device {deviceBytes}; a block device can't grow. Nothing was committed");
        long bytes = 0;
        var buffer = new byte[Math.Max(CopyBytes, layout.ChunkBytes)];
        var entries = new List<ExceptionEntry>();
        for (var left = scan.EntryCount; left > 0;)
        {
            var firstArea = Math.Max(0, layout.AreaOf(left - 1) - AreasAtOnce + 1);
            var from = firstArea * layout.EntriesPerArea;
            ReadEntries(file, layout, from, left, entries);
            bytes += Copy(file, origin, geometry, entries, buffer);
            origin.Sync();
            ZeroAreas(file, layout, firstArea, layout.AreaOf(left - 1));
            file.Sync();
            left = from;
            progress?.Invoke(1 - (double)left / scan.EntryCount);
        }
        return new CommitReport(file.Path, origin.Path, scan.EntryCount, bytes);
    }

    private static LinuxFile OpenTarget(string path)
    {
        var file = OverlayFiles.OpenPath(path, writable: true, direct: false, exclusive: false);
        if (file.TryLock(OriginFile.LockByte, exclusive: true))
            return file;
        var holder = LockHolder.Find(file.Facts) ?? "another process";
        file.Dispose();
        throw new LincowException($"{path}: is in use by {holder}. A commit writes to the origin, so nobody may use it meanwhile; stop that process first");
    }

    private static void ReadEntries(LinuxFile file, SnapshotLayout layout, long from, long to, List<ExceptionEntry> entries)
    {
        entries.Clear();
        var area = new byte[layout.ChunkBytes];
        for (var number = from; number < to; number++)
        {
            if (layout.IndexInArea(number) == 0)
                file.Read(area, layout.AreaOffset(layout.AreaOf(number)));
            entries.Add(ExceptionEntry.Read(area, layout.IndexInArea(number)));
        }
        // The origin is written in order; within a batch any order is as good.
        entries.Sort((left, right) => left.OldChunk.CompareTo(right.OldChunk));
    }

    // Runs that follow each other on both sides go at once.
    private static long Copy(LinuxFile file, LinuxFile origin, Geometry geometry, List<ExceptionEntry> entries, byte[] buffer)
    {
        var chunkBytes = (int)geometry.ChunkBytes;
        long total = 0;
        for (var i = 0; i < entries.Count;)
        {
            var count = 1;
            while (i + count < entries.Count && (count + 1) * (long)chunkBytes <= buffer.Length
                && entries[i + count].OldChunk == entries[i].OldChunk + (ulong)count && entries[i + count].NewChunk == entries[i].NewChunk + (ulong)count)
                count++;
            var start = geometry.StartOf(new ChunkIndex((long)entries[i].OldChunk));
            var piece = buffer.AsSpan(0, count * chunkBytes);
            if (file.Read(piece, (long)entries[i].NewChunk << geometry.ChunkShift) < piece.Length)
                throw new LincowException($"{file.Path}: ends within chunk {entries[i].NewChunk}; run 'lincow check'");
            // The last chunk of the device may be short.
            piece = piece[..(int)Math.Min(piece.Length, geometry.DeviceBytes - start)];
            origin.Write(piece, start);
            total += piece.Length;
            i += count;
        }
        return total;
    }

    private static void ZeroAreas(LinuxFile file, SnapshotLayout layout, long first, long last)
    {
        var zeroes = new byte[layout.ChunkBytes];
        for (var area = last; area >= first; area--)
            file.Write(zeroes, layout.AreaOffset(area));
    }
}
