using Lincow.Linux;
using Lincow.Origins;
using Lincow.Overlays;

namespace Lincow.Snapshot;

/// <summary>
/// A store of the kernel's being committed, from the end of its list to the start, as dm-snapshot-merge does it: the entries of a batch are zeroed
/// and the store synced.
/// </summary>
internal sealed class SnapshotMerge : ICommitSource
{
    /// <summary>Areas between two syncs: 64 MiB of chunks where both are 4 KiB.</summary>
    private const int AreasAtOnce = 64;

    private readonly SnapshotFile _store;
    private readonly string _originUri;
    private readonly Geometry _geometry;
    private readonly long _entryCount;
    private readonly List<ExceptionEntry> _entries = [];
    private long _left, _from;

    internal SnapshotMerge(SnapshotFile store, string originUri, long deviceBytes)
    {
        (_store, _originUri, _geometry) = (store, originUri, new Geometry(deviceBytes, store.Header.ChunkShift));
        if (store.IsBlank)
            SnapshotFile.Restart(store.File, store.Header);
        var scan = store.IsBlank ? new SnapshotScan() : SnapshotScan.Run(store.File, store.Layout, store.ReadSizeBytes(), _geometry.ChunkCount);
        if (scan.Findings is [var finding, ..])
            throw new LincowException($"{store.File.Path}: the list of exceptions is damaged at byte {finding.StoreOffset}: {finding.Problem}. Nothing was committed. 'lincow check' lists all") { IsDamage = true };
        if (scan.HasLeftOver)
            store.ClearLeftOver(scan);
        _entryCount = _left = _from = scan.EntryCount;
    }

    public LinuxFile Data => _store.File;

    public long DeviceBytes => _geometry.DeviceBytes;

    public int ChunkBytes => (int)_geometry.ChunkBytes;

    public double Progress => 1 - (double)_left / _entryCount;

    public static SnapshotMerge Open(SessionOptions options, Func<OriginFile, LinuxFile> openTarget, out LinuxFile target)
    {
        var store = SnapshotFile.Open(options.Overlay!, OverlayAccess.Write);
        LinuxFile? origin = null;
        try
        {
            // Looked at and recognised as any origin; then opened for writing, alone.
            var seen = SnapshotSession.OpenOrigin(store, options);
            origin = openTarget(seen);
            target = origin;
            var merge = new SnapshotMerge(store, seen.Uri, store.Note?.DeviceBytes ?? seen.Identity.SizeBytes);
            merge.Note(OriginIdentity.Unsettled(seen.Identity, merge.DeviceBytes));
            return merge;
        }
        catch
        {
            origin?.Dispose();
            store.Dispose();
            throw;
        }
    }

    public bool TryTake(List<CommitRun> runs)
    {
        runs.Clear();
        if (_left == 0)
            return false;
        _from = FirstArea * _store.Layout.EntriesPerArea;
        ReadEntries();
        // Runs that follow each other on both sides go at once.
        for (var i = 0; i < _entries.Count;)
        {
            var count = 1;
            while (i + count < _entries.Count && _entries[i + count].OldChunk == _entries[i].OldChunk + (ulong)count && _entries[i + count].NewChunk == _entries[i].NewChunk + (ulong)count)
                count++;
            var start = _geometry.StartOf(new ChunkIndex((long)_entries[i].OldChunk));
            // The last chunk of the device may be short.
            runs.Add(new CommitRun(start, Math.Min(count * _geometry.ChunkBytes, DeviceBytes - start), (long)_entries[i].NewChunk << _geometry.ChunkShift));
            i += count;
        }
        return true;
    }

    public void Forget(List<CommitRun> runs)
    {
        var zeroes = new byte[_store.Layout.ChunkBytes];
        for (var area = _store.Layout.AreaOf(_left - 1); area >= FirstArea; area--)
            Data.Write(zeroes, _store.Layout.AreaOffset(area));
        Data.Sync();
        _left = _from;
    }

    public void Complete(OriginIdentity origin) => Note(origin);

    public void Dispose() => _store.Dispose();

    private long FirstArea => Math.Max(0, _store.Layout.AreaOf(_left - 1) - AreasAtOnce + 1);

    private void Note(OriginIdentity origin) => OriginNote.Write(Data, OriginNote.Read(Data)?.Uuid ?? Guid.NewGuid(), DeviceBytes, origin, _originUri);

    private void ReadEntries()
    {
        var layout = _store.Layout;
        _entries.Clear();
        var area = new byte[layout.ChunkBytes];
        for (var number = _from; number < _left; number++)
        {
            if (layout.IndexInArea(number) == 0)
                Data.Read(area, layout.AreaOffset(layout.AreaOf(number)));
            _entries.Add(ExceptionEntry.Read(area, layout.IndexInArea(number)));
        }
        // The origin is written in order; within a batch any order is as good.
        _entries.Sort((left, right) => left.OldChunk.CompareTo(right.OldChunk));
    }
}
