using Lincow.Linux;
using Lincow.Origins;
using Lincow.Snapshot;

namespace Lincow.Overlays;

/// <summary>What a commit did.</summary>
/// <param name="Overlay">The overlay.</param>
/// <param name="Origin">What was written to.</param>
/// <param name="Chunks">Chunks that were written back.</param>
/// <param name="Bytes">Bytes that were written back, zeroes among them.</param>
public sealed record CommitReport(string Overlay, string Origin, long Chunks, long Bytes);

/// <summary>A run of the device that the overlay holds.</summary>
/// <param name="ByteOffset">Where it lies in the device, and in the origin.</param>
/// <param name="ByteLength">Its length.</param>
/// <param name="SourceOffset">Where it lies in the overlay's data; negative for zeroes.</param>
internal readonly record struct CommitRun(long ByteOffset, long ByteLength, long SourceOffset);

/// <summary>An overlay, as a commit sees it.</summary>
internal interface ICommitSource : IDisposable
{
    /// <summary>Where runs are read.</summary>
    LinuxFile Data { get; }

    long DeviceBytes { get; }

    int ChunkBytes { get; }

    /// <summary>From 0 to 1, after each <see cref="Forget"/>.</summary>
    double Progress { get; }

    /// <summary>The next runs, in order; false when nothing is left. Throws before the first of them if the overlay is damaged.</summary>
    bool TryTake(List<CommitRun> runs);

    /// <summary>The runs are on the origin's stable storage. On return the overlay doesn't hold them any more, on its own stable storage.</summary>
    void Forget(List<CommitRun> runs);

    /// <summary>All is done: this is what the origin is like from now on.</summary>
    void Complete(OriginIdentity origin);
}

/// <summary>
/// Writes what an overlay holds back into its origin. A batch of chunks is copied, the origin synced, then the overlay forgets the batch. So at any
/// moment the device reads the same: what the overlay still holds comes from there, what it doesn't is in the origin. A commit that was cut off
/// is begun again, and goes on where it was. What the origin is like is not known meanwhile, and the overlay says so
/// (<see cref="OriginIdentity.Unsettled"/>).
/// </summary>
public static class OverlayCommit
{
    private const int CopyBytes = 4 << 20;

    /// <summary>Commits an overlay that nobody serves, to an origin that nobody uses. Throws <see cref="LincowException"/>.</summary>
    /// <param name="options">The overlay, its map and its origin, as for a session.</param>
    /// <param name="progress">Told of the fraction done, from 0 to 1.</param>
    public static CommitReport Run(SessionOptions options, Action<double>? progress = null)
    {
        try
        {
            using ICommitSource source = SnapshotFile.Is(options.Overlay!, options.Map) ? SnapshotMerge.Open(options, OpenTarget, out var target) : LinearMerge.Open(options, OpenTarget, out target);
            using (target)
                return Run(source, target, progress);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{e.Message}. What was committed is in the origin, the rest is in the overlay; run the commit again", e);
        }
    }

    internal static CommitReport Run(ICommitSource source, LinuxFile origin, Action<double>? progress = null)
    {
        var runs = new List<CommitRun>();
        var buffer = new byte[CopyBytes];
        var (chunks, bytes) = (0L, 0L);
        var any = source.TryTake(runs);
        Grow(origin, source.DeviceBytes);
        for (; any; any = source.TryTake(runs))
        {
            foreach (var run in runs)
            {
                Copy(source.Data, origin, run, buffer);
                bytes += run.ByteLength;
                chunks += (run.ByteLength + source.ChunkBytes - 1) / source.ChunkBytes;
            }
            origin.Sync();
            source.Forget(runs);
            progress?.Invoke(source.Progress);
        }
        source.Complete(OriginIdentity.Of(origin));
        return new CommitReport(source.Data.Path, origin.Path, chunks, bytes);
    }

    /// <summary>Opens an origin for writing, alone.</summary>
    private static LinuxFile OpenTarget(OriginFile seen)
    {
        if (seen.Facts is not { } facts)
            throw new LincowException($"{seen.Uri}: is an origin of nothing, so there is nothing to commit to");
        var path = seen.Uri;
        seen.Dispose();
        LinuxFile file;
        try
        {
            // A block device that is mounted, or belongs to another one, must not change below them.
            file = OverlayFiles.OpenPath(path, writable: true, direct: false, exclusive: facts.Kind == FileKind.BlockDevice);
        }
        catch (LincowException e) when (e.InnerException is LinuxException { Errno: Errno.Busy })
        {
            throw new LincowException($"{path}: the block device is in use (mounted, claimed, or served by another process). A commit writes to the origin, so nobody may use it meanwhile; stop its user first", e);
        }
        if (file.TryLock(OriginFile.LockByte, exclusive: true))
            return file;
        var holder = LockHolder.Find(file.Facts) ?? "another process";
        file.Dispose();
        throw new LincowException($"{path}: is in use by {holder}. A commit writes to the origin, so nobody may use it meanwhile; stop that process first");
    }

    private static void Grow(LinuxFile origin, long deviceBytes)
    {
        var size = origin.ReadFacts().SizeBytes;
        if (size >= deviceBytes)
            return;
        if (origin.Facts.Kind != FileKind.Regular)
            throw new LincowException($"{origin.Path}: has {size} bytes and the device {deviceBytes}; a block device can't grow. Nothing was committed");
        origin.SetLength(deviceBytes);
        // Also when there is nothing to copy.
        origin.Sync();
    }

    private static void Copy(LinuxFile data, LinuxFile origin, CommitRun run, byte[] buffer)
    {
        if (run.SourceOffset < 0 && origin.Facts.Kind == FileKind.Regular && origin.TryPunchHole(run.ByteOffset, run.ByteLength))
            return;
        for (long done = 0; done < run.ByteLength;)
        {
            var piece = buffer.AsSpan(0, (int)Math.Min(buffer.Length, run.ByteLength - done));
            if (run.SourceOffset < 0)
                piece.Clear();
            else if (data.Read(piece, run.SourceOffset + done) < piece.Length)
                throw new LincowException($"{data.Path}: ends within what it holds of device byte {run.ByteOffset + done}; run 'lincow check'") { IsDamage = true };
            origin.Write(piece, run.ByteOffset + done);
            done += piece.Length;
        }
    }
}
