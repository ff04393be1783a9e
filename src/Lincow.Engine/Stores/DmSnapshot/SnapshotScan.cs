using Lincow.Linux;

namespace Lincow.Stores.DmSnapshot;

/// <summary>Something wrong in a store's list of exceptions.</summary>
/// <param name="Problem">A sentence.</param>
/// <param name="StoreOffset">The byte of the store at which it stands.</param>
/// <param name="OldChunk">The chunk of the device that it concerns; null when it concerns all chunks that the list doesn't name.</param>
internal sealed record SnapshotFinding(string Problem, long StoreOffset, ulong? OldChunk);

/// <summary>
/// Reads a store's whole list of exceptions, area by area up to the first that isn't full, and judges every entry: a chunk beyond the
/// device, a place beyond the store or on top of its metadata, one chunk twice, one place twice. What is read is a stranger's: numbers are
/// checked before use.
/// </summary>
internal sealed class SnapshotScan
{
    /// <summary>Findings that are kept; more of them would say nothing new.</summary>
    private const int MaxFindings = 1000;

    /// <summary>Areas that the kernel is asked for ahead of time.</summary>
    private const int Prefetch = 64;

    /// <summary>Entries of the list, sound or not.</summary>
    public long EntryCount { get; private set; }

    /// <summary>Behind the highest data chunk in use.</summary>
    public long NextNumber { get; private set; }

    /// <summary>Areas that were read.</summary>
    public long AreaCount { get; private set; }

    /// <summary>
    /// The area that ends the list holds something behind the end: left by a cut, and to be cleared before the list grows.
    /// </summary>
    public bool HasLeftOver { get; private set; }

    /// <summary>
    /// Which chunks are excepted isn't known: the list doesn't end, a part of it can't be read, or an entry's chunk is wrong, so that
    /// another is missing.
    /// </summary>
    public bool IsIncomplete { get; private set; }

    public List<SnapshotFinding> Findings { get; } = [];

    /// <summary>Chunks of the device whose content is in doubt.</summary>
    public HashSet<ulong> Damaged { get; } = [];

    /// <summary>Reads a store.</summary>
    /// <param name="file">The store.</param>
    /// <param name="layout">Where things are in it.</param>
    /// <param name="storeBytes">Its size.</param>
    /// <param name="deviceChunks">Chunks of the device; null when it isn't known.</param>
    /// <param name="visit">Called with each entry's number and content, in order; false for the ones that are plainly wrong.</param>
    /// <param name="progress">Told of the fraction of the store's areas that have been read, from 0 to 1.</param>
    public static SnapshotScan Run(LinuxFile file, SnapshotLayout layout, long storeBytes, long? deviceChunks, Action<long, ExceptionEntry,
        bool>? visit = null, Action<double>? progress = null)
    {
        var scan = new SnapshotScan();
        using var places = new ChunkTable();
        using var chunks = new ChunkTable();
        // Aligned, for direct I/O.
        using var area = new AlignedBytes(layout.ChunkBytes);
        var storeChunks = storeBytes >> layout.ChunkShift;
        var areasAtMost = Math.Max(1, (storeChunks + layout.EntriesPerArea) / (layout.EntriesPerArea + 1L));
        while (scan.TryReadArea(file, layout, storeChunks, area))
        {
            for (var index = 0; index < layout.EntriesPerArea; index++)
            {
                var entry = ExceptionEntry.Read(area.Span, index);
                if (entry.NewChunk == 0)
                {
                    scan.HasLeftOver = area.Span[(index * ExceptionEntry.SizeBytes)..].IndexOfAnyExcept((byte)0) >= 0;
                    return scan;
                }
                var number = scan.EntryCount++;
                var offset = layout.AreaOffset(scan.AreaCount - 1) + index * ExceptionEntry.SizeBytes;
                var isSound = scan.Judge(file, layout, entry, number, offset, storeChunks, deviceChunks, chunks, places);
                visit?.Invoke(number, entry, isSound);
                if (number == uint.MaxValue - 1)
                {
                    scan.Add(new SnapshotFinding("the list has more than 2^32 - 2 entries, more than lincow can keep", offset, null));
                    scan.IsIncomplete = true;
                    return scan;
                }
            }
            progress?.Invoke((double)scan.AreaCount / areasAtMost);
        }
        scan.IsIncomplete = true;
        return scan;
    }

    private bool TryReadArea(LinuxFile file, SnapshotLayout layout, long storeChunks, AlignedBytes area)
    {
        var offset = layout.AreaOffset(AreaCount);
        if (layout.AreaChunk(AreaCount) >= storeChunks)
        {
            Add(new SnapshotFinding($"the list of exceptions is cut off: area {AreaCount} would begin at byte {offset}, beyond the "
                + "store's end", offset, null));
            return false;
        }
        if (AreaCount % Prefetch == 0)
        {
            for (var ahead = AreaCount; ahead < AreaCount + Prefetch && layout.AreaChunk(ahead) < storeChunks; ahead++)
                file.WillNeed(layout.AreaOffset(ahead), layout.ChunkBytes);
        }
        try
        {
            if (file.Read(area.Span, offset) == layout.ChunkBytes)
            {
                AreaCount++;
                return true;
            }
            Add(new SnapshotFinding($"area {AreaCount} is cut off by the end of the file", offset, null));
        }
        catch (LinuxException e)
        {
            Add(new SnapshotFinding($"area {AreaCount} can't be read: {e.Reason}", offset, null));
        }
        return false;
    }

    private bool Judge(LinuxFile file, SnapshotLayout layout, ExceptionEntry entry, long number, long offset, long storeChunks,
        long? deviceChunks, ChunkTable chunks, ChunkTable places)
    {
        if (entry.OldChunk >= (ulong)(deviceChunks ?? long.MaxValue >> layout.ChunkShift))
        {
            IsIncomplete = true;
            Add(new SnapshotFinding($"entry {number} is for chunk {entry.OldChunk}, beyond the device's end (is this the right origin?)",
                offset, entry.OldChunk));
            return false;
        }
        // mutation: place-beyond-the-store-accepted
        if (entry.NewChunk >= (ulong)storeChunks)
            return Doubt($"entry {number} puts chunk {entry.OldChunk} at chunk {entry.NewChunk} of the store, beyond its end");
        // mutation: unsound-entry-accepted
        if (layout.IsMetadata(entry.NewChunk))
            return Doubt($"entry {number} puts chunk {entry.OldChunk} at chunk {entry.NewChunk} of the store, where an area of the "
                + "list lies");
        NextNumber = Math.Max(NextNumber, layout.DataNumberFrom((long)entry.NewChunk) + 1);
        // mutation: second-entry-accepted
        if (!chunks.TryAdd(entry.OldChunk, (uint)number))
        {
            IsIncomplete = true;
            return Doubt($"entry {number} is a second one for chunk {entry.OldChunk}");
        }
        // mutation: shared-place-accepted
        if (places.TryAdd(entry.NewChunk, (uint)number))
            return true;
        places.TryGet(entry.NewChunk, out var first);
        using var other = new AlignedBytes(layout.ChunkBytes);
        file.Read(other.Span, layout.AreaOffset(layout.AreaOf(first)));
        var rival = ExceptionEntry.Read(other.Span, layout.IndexInArea(first)).OldChunk;
        Damaged.Add(rival);
        return Doubt($"entry {number} puts chunk {entry.OldChunk} at chunk {entry.NewChunk} of the store, where chunk {rival} is");

        bool Doubt(string problem)
        {
            Damaged.Add(entry.OldChunk);
            Add(new SnapshotFinding(problem, offset, entry.OldChunk));
            return false;
        }
    }

    private void Add(SnapshotFinding finding)
    {
        if (Findings.Count < MaxFindings)
            Findings.Add(finding);
    }
}
