using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// A store of the kernel's being committed, from the end of its list to the start, as dm-snapshot-merge does it: the entries of a batch are
/// zeroed and the store synced.
/// </summary>
internal sealed class SnapshotMerge : ICommitSource
{
    private const int SectorBytes = 512;

    /// <summary>Bytes of chunks between two syncs, which may have to be copied again; one chunk at least.</summary>
    private const long BatchBytes = 64 << 20;

    /// <summary>Entries between two syncs: what is remembered of a batch is bounded, too.</summary>
    private const int BatchEntries = 1 << 16;

    private readonly SnapshotFile _store;
    private readonly string _originUri;
    private readonly OriginIdentity _origin;
    private readonly Geometry _geometry;
    private readonly long _entryCount;
    private readonly int _batchEntries;
    private readonly List<ExceptionEntry> _entries = [];
    private readonly byte[] _area;
    private long _left, _from;

    internal SnapshotMerge(SnapshotFile store, string originUri, OriginIdentity origin, long deviceBytes, int batchEntries = BatchEntries)
    {
        (_store, _originUri, _origin, _geometry) = (store, originUri, origin, new Geometry(deviceBytes, store.Header.ChunkShift));
        // mutation: store-commit-batch-without-end
        _batchEntries = (int)Math.Clamp(BatchBytes >> store.Header.ChunkShift, 1, batchEntries);
        _area = new byte[store.Layout.ChunkBytes];
        var scan = store.IsBlank ? new SnapshotScan()
            : SnapshotScan.Run(store.File, store.Layout, store.ReadSizeBytes(), _geometry.ChunkCount);
        if (scan.Findings is [var finding, ..])
            throw new LincowException(SnapshotErrors.ExceptionsDamagedAtCommit(store.File.Path, finding.StoreOffset, finding.Problem));
        if (store.IsBlank)
            SnapshotFile.Restart(store.File, store.Header);
        if (scan.HasLeftOver)
            store.ClearLeftOver(scan);
        _entryCount = _left = _from = scan.EntryCount;
    }

    public LinuxFile Data => _store.File;

    public long DeviceBytes => _geometry.DeviceBytes;

    public int ChunkBytes => (int)_geometry.ChunkBytes;

    public double Progress => 1 - (double)_left / _entryCount;

    public bool TryTake(List<CommitRun> runs)
    {
        runs.Clear();
        if (_left == 0)
            return false;
        _from = Math.Max(0, _left - _batchEntries);
        ReadEntries();
        // Runs that follow each other on both sides go at once.
        for (var i = 0; i < _entries.Count;)
        {
            var count = 1;
            while (i + count < _entries.Count && _entries[i + count].OldChunk == _entries[i].OldChunk + (ulong)count && _entries[i + count]
                .NewChunk == _entries[i].NewChunk + (ulong)count)
                count++;
            var start = _geometry.StartOf(new ChunkIndex((long)_entries[i].OldChunk));
            // The last chunk of the device may be short.
            runs.Add(new CommitRun(start, Math.Min(count * _geometry.ChunkBytes, DeviceBytes - start), (long)_entries[i]
                .NewChunk << _geometry.ChunkShift));
            i += count;
        }
        return true;
    }

    /// <summary>Zeroes the entries of a batch, the last ones of the list, area by area from the end.</summary>
    public void Forget(List<CommitRun> runs)
    {
        var layout = _store.Layout;
        for (var area = layout.AreaOf(_left - 1); area >= layout.AreaOf(_from); area--)
        {
            var (first, end) = (Math.Max(_from - area * layout.EntriesPerArea, 0),
                Math.Min(_left - area * layout.EntriesPerArea, layout.EntriesPerArea));
            // Whole sectors: what shares one with an entry that stays is written as it is.
            var (start, stop) = (first * ExceptionEntry.SizeBytes / SectorBytes * SectorBytes,
                (end * ExceptionEntry.SizeBytes + SectorBytes - 1) / SectorBytes * SectorBytes);
            var bytes = _area.AsSpan((int)start, (int)(stop - start));
            Data.Read(bytes, layout.AreaOffset(area) + start);
            // mutation: store-commit-forgets-a-whole-sector
            bytes[(int)(first * ExceptionEntry.SizeBytes - start)..].Clear();
            Data.Write(bytes, layout.AreaOffset(area) + start);
        }
        // mutation: commit-without-store-sync
        Data.Sync();
        _left = _from;
    }

    public void Begin()
    {
        Note(OriginIdentity.Unsettled(_origin, DeviceBytes));
        // mutation: store-commit-not-marked
        WriteHeader(_store.Header with { IsCommitUnfinished = true });
    }

    public void Withdraw()
    {
        if (_store.Note is { } note)
            // mutation: refused-commit-vouches-for-the-note
            note.Restore(Data);
        else
            Data.RemoveAttribute(OriginNote.Attribute);
        WriteHeader(_store.Header);
    }

    public void Complete(OriginIdentity origin)
    {
        Note(origin);
        WriteHeader(_store.Header with { IsCommitUnfinished = false });
    }

    public void Dispose() => _store.Dispose();

    // The sync is for the note as well.
    private void WriteHeader(SnapshotHeader header)
    {
        var sector = new byte[SnapshotHeader.SizeBytes];
        (header with { IsValid = true }).Encode(sector);
        Data.Write(sector, 0);
        Data.Sync();
    }

    private void Note(OriginIdentity origin) =>
        OriginNote.Write(Data, OriginNote.Read(Data)?.Uuid ?? Guid.NewGuid(), DeviceBytes, origin, _originUri);

    private void ReadEntries()
    {
        var layout = _store.Layout;
        _entries.Clear();
        for (var number = _from; number < _left; number++)
        {
            if (number == _from || layout.IndexInArea(number) == 0)
                Data.Read(_area, layout.AreaOffset(layout.AreaOf(number)));
            _entries.Add(ExceptionEntry.Read(_area, layout.IndexInArea(number)));
        }
        // The origin is written in order; within a batch any order is as good.
        _entries.Sort((left, right) => left.OldChunk.CompareTo(right.OldChunk));
    }
}
