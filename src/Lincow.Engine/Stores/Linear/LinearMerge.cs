using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Requests;

namespace Lincow.Stores.Linear;

/// <summary>
/// A linear overlay being committed. Chunks are forgotten by an ordinary flush round of an open session, so a cut leaves the map with or
/// without a batch; at the end one update of the superblock empties the overlay and names the origin as it is now.
/// </summary>
internal sealed class LinearMerge : ICommitSource
{
    /// <summary>
    /// Bytes of the device between two syncs, which may have to be copied again, and take space in both places meanwhile. The largest chunk
    /// fits.
    /// </summary>
    private const long BatchBytes = 64 << 20;

    private const int BatchRuns = 1 << 16;

    /// <summary>
    /// Zeroes that become a hole of the origin cost no more than their states in the map, so this many bytes of them count as one.
    /// </summary>
    private const int HoleBytesAsOne = 1024;

    private readonly IStoreDevice _device;
    private readonly IEnumerator<PlacedExtent> _extents;
    private readonly long _batchBytes;
    private readonly Superblock _before;
    private readonly int _zeroBytesAsOne;
    private long _position;
    private PlacedExtent _rest;

    private LinearMerge(IStoreDevice device, Superblock before, LinuxFile data, bool zeroesAreHoles, long batchBytes)
    {
        (_device, _before, Data, _batchBytes, _zeroBytesAsOne) = (device, before, data, batchBytes, zeroesAreHoles ? HoleBytesAsOne : 1);
        _extents = device.Extents().GetEnumerator();
    }

    public LinuxFile Data { get; }

    public long DeviceBytes => _device.Geometry.DeviceBytes;

    public int ChunkBytes => (int)_device.Geometry.ChunkBytes;

    public double Progress => (double)_position / DeviceBytes;

    private LinearStore Store => (LinearStore)_device.Store;

    /// <summary>Marks the overlay as in use.</summary>
    public static LinearMerge Open(LinearFiles files, CommitTarget target, Func<OriginFile, IStoreDevice> open,
        long batchBytes = BatchBytes)
    {
        // No origin that could be read: what it would show is changing.
        var device = open(new OriginFile(target.Uri, target.Identity, null));
        return new LinearMerge(device, files.Superblock, files.DataFile, target.ZeroesAreHoles, batchBytes);
    }

    public bool TryTake(List<CommitRun> runs)
    {
        runs.Clear();
        var left = _batchBytes;
        while (left > 0 && runs.Count < BatchRuns && TryTakeExtent(left, out var extent))
        {
            _position = extent.End;
            // mutation: commit-without-zeroes
            if (extent.Source is not (RunSource.Data or RunSource.Zero))
                continue;
            var place = extent.Source == RunSource.Data ? Store.LocateNow(extent.Start, extent.End).DataOffset : -1;
            runs.Add(new CommitRun(extent.Start, extent.ByteLength, place));
            left -= (extent.ByteLength + BytesAsOne(extent) - 1) / BytesAsOne(extent);
        }
        return runs.Count > 0;
    }

    /// <summary>The next extent, or as much of it as there is room for, in whole chunks.</summary>
    private bool TryTakeExtent(long room, out PlacedExtent extent)
    {
        extent = _rest;
        _rest = default;
        if (extent.ByteLength == 0 && !_extents.MoveNext())
            return false;
        if (extent.ByteLength == 0)
            extent = _extents.Current;
        var bytes = Math.Max(room * BytesAsOne(extent) / ChunkBytes, 1) * ChunkBytes;
        // mutation: commit-run-never-cut
        if (bytes < extent.ByteLength && extent.Source is RunSource.Data or RunSource.Zero)
        {
            _rest = new PlacedExtent(extent.Start + bytes, extent.ByteLength - bytes, extent.Source);
            extent = extent with { ByteLength = bytes };
        }
        return true;
    }

    private int BytesAsOne(PlacedExtent extent) => extent.Source == RunSource.Zero ? _zeroBytesAsOne : 1;

    public void Forget(List<CommitRun> runs)
    {
        var geometry = _device.Geometry;
        foreach (var run in runs)
        {
            var first = geometry.ChunkAt(run.ByteOffset);
            var end = geometry.ChunkFrom(run.ByteOffset + run.ByteLength);
            if (!Store.Map.TryPrepare(first, end, (first, end), ChunkState.Origin))
                throw new LinuxException("malloc", "the states of chunks", Errno.NoMemory);
            Store.Map.Set(first, end - first, ChunkState.Origin);
        }
        // mutation: commit-gives-space-back-before-flush
        _device.Flush();
        if (Data.Facts.Kind != FileKind.Regular)
            return;
        foreach (var run in runs)
        {
            if (run.SourceOffset >= 0 && !Data.TryPunchHole(run.SourceOffset, run.ByteLength))
                return;
        }
    }

    public void Begin()
    {
        var superblock = Store.Superblock;
        Store.Rewrite(superblock with
        {
            CommitGeneration = superblock.Generation,
            Origin = OriginIdentity.Unsettled(superblock.Origin, superblock.DeviceBytes)
        });
    }

    public void Withdraw() => Store.Rewrite(Store.Superblock with
    {
        CommitGeneration = _before.CommitGeneration,
        Origin = _before.Origin,
        // mutation: refused-commit-remembers-the-origin (3 lines)
        OriginUri = _before.OriginUri,
        DataPath = _before.DataPath,
        Mark = _before.Mark,
    });

    public void Complete(OriginIdentity origin)
    {
        // mutation: commit-leaves-the-old-identity
        Store.Superblock = Store.Superblock with { Origin = origin, CommitGeneration = 0 };
        Store.Restart();
    }

    public void Dispose()
    {
        _extents.Dispose();
        _device.Dispose();
    }
}
