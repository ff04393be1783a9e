using Lincow.Device;
using Lincow.Linear;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Overlays;

/// <summary>
/// A linear overlay being committed. Chunks are forgotten by an ordinary flush round of an open session, so a cut leaves the map with or without a
/// batch; at the end one update of the superblock empties the overlay and names the origin as it is now.
/// </summary>
internal sealed class LinearMerge : ICommitSource
{
    /// <summary>Bytes of the device between two syncs.</summary>
    private const long BatchBytes = 64 << 20;

    private const int BatchRuns = 1 << 16;

    private readonly OverlayReader _reader;
    private readonly IEnumerator<PlacedExtent> _extents;
    private readonly long _batchBytes;
    private long _position;

    private LinearMerge(OverlayReader reader, LinuxFile data, long batchBytes)
    {
        (_reader, Data, _batchBytes) = (reader, data, batchBytes);
        _extents = reader.Extents().GetEnumerator();
    }

    public LinuxFile Data { get; }

    public long DeviceBytes => _reader.Device.SizeBytes;

    public int ChunkBytes => (int)_reader.Device.Geometry.ChunkBytes;

    public double Progress => (double)_position / DeviceBytes;

    private LinearStore Store => (LinearStore)_reader.Device.Stack.Overlay;

    /// <summary>Looks at the overlay and its origin first, as any reader does, so that what is damaged or isn't the origin is refused before anything is written.</summary>
    public static LinearMerge Open(SessionOptions options, Func<OriginFile, LinuxFile> openTarget, out LinuxFile target)
    {
        using (var look = new OverlayReader(options))
        {
            foreach (var _ in look.Extents())
            {
            }
        }
        var files = OverlayFiles.Open(options.Overlay!, options.Map, OverlayAccess.Write, acceptMap: options.AcceptMap);
        LinuxFile? origin = null;
        try
        {
            var seen = OverlaySession.OpenOrigin(files, options);
            origin = openTarget(seen);
            target = origin;
            return Open(files, seen.Uri, OriginIdentity.Unsettled(seen.Identity, files.Superblock.DeviceBytes), new PosixLoop());
        }
        catch
        {
            origin?.Dispose();
            files.Dispose();
            throw;
        }
    }

    /// <summary>Marks the overlay as in use, over an origin that is being written to.</summary>
    internal static LinearMerge Open(OverlayFiles files, string originUri, OriginIdentity unsettled, IoLoop loop, long batchBytes = BatchBytes)
    {
        // No origin that could be read: what it would show is changing.
        var session = OverlaySession.Open(files, new OriginFile(originUri, unsettled, null), readOnly: false, "commit", loop);
        return new LinearMerge(new OverlayReader(session, loop), files.DataFile, batchBytes);
    }

    public bool TryTake(List<CommitRun> runs)
    {
        runs.Clear();
        long bytes = 0;
        while (bytes < _batchBytes && runs.Count < BatchRuns && _extents.MoveNext())
        {
            var extent = _extents.Current;
            _position = extent.End;
            if (extent.Source is not (RunSource.Data or RunSource.Zero))
                continue;
            var place = extent.Source == RunSource.Data ? Store.LocateNow(extent.Start, extent.End).DataOffset : -1;
            runs.Add(new CommitRun(extent.Start, extent.ByteLength, place));
            bytes += extent.ByteLength;
        }
        return runs.Count > 0;
    }

    public void Forget(List<CommitRun> runs)
    {
        var geometry = _reader.Device.Geometry;
        foreach (var run in runs)
        {
            var first = geometry.ChunkAt(run.ByteOffset);
            var end = geometry.ChunkFrom(run.ByteOffset + run.ByteLength);
            if (!Store.Map.TryPrepare(first, end, (first, end), ChunkState.Origin))
                throw new LinuxException("malloc", "the states of chunks", Errno.NoMemory);
            Store.Map.Set(first, end - first, ChunkState.Origin);
        }
        _reader.Session.Flush();
        if (Data.Facts.Kind != FileKind.Regular)
            return;
        foreach (var run in runs)
        {
            if (run.SourceOffset >= 0 && !Data.TryPunchHole(run.SourceOffset, run.ByteLength))
                return;
        }
    }

    public void Complete(OriginIdentity origin)
    {
        Store.Superblock = Store.Superblock with { Origin = origin };
        Store.Restart();
    }

    public void Dispose()
    {
        _extents.Dispose();
        _reader.Dispose();
    }
}
