using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>
/// Writes what an overlay holds back into its origin. A batch of chunks is copied, the origin synced, then the overlay forgets the batch.
/// So at any moment the device reads the same: what the overlay still holds comes from there, what it doesn't is in the origin. A commit
/// that was cut off is begun again, and goes on where it was.
///
/// The order of things: overlay and origin are opened and recognised; the origin is claimed (<see cref="OriginClaim"/>); it is large
/// enough, or can grow; only then the overlay records that a commit is under way (<see cref="CutCommit"/>) over an origin whose
/// content isn't known meanwhile (<see cref="OriginIdentity.Unsettled"/>), before the first byte of the origin changes. What is refused has
/// changed nothing.
/// </summary>
internal static class OverlayCommit
{
    private const int CopyBytes = 4 << 20;

    /// <summary>Commits an overlay that nobody serves, to an origin that nobody uses. Throws <see cref="LincowException"/>.</summary>
    /// <param name="options">The overlay, its map and its origin, as for a session.</param>
    /// <param name="progress">Told how far it is.</param>
    /// <param name="stop">Ends it between two batches; the commit can be run again.</param>
    public static CommitReport Run(OverlayOptions options, IProgress<OperationProgress>? progress = null, CancellationToken stop = default)
    {
        try
        {
            using var source = Open(options, stop, out var claim);
            using (claim)
                return Run(source, claim.File, progress, stop);
        }
        catch (LinuxException e)
        {
            throw new LincowException(OperationErrors.CommitFailed(e), e);
        }
        catch (OperationCanceledException e)
        {
            throw new LincowException(OperationErrors.CommitInterrupted(options.Overlay), e);
        }
    }

    /// <inheritdoc cref="Run(OverlayOptions, IProgress{OperationProgress}?, CancellationToken)"/>
    public static Task<CommitReport> RunAsync(OverlayOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken stop = default) =>
        Operation.Start(() => Run(options, progress, stop), CancellationToken.None);

    /// <summary>
    /// The overlay and its origin, looked at and recognised as by any reader; then the origin is opened for writing, alone, and the overlay
    /// marked as in use.
    /// </summary>
    private static ICommitSource Open(OverlayOptions options, CancellationToken stop, out OriginClaim claim)
    {
        var format = StoreFormats.Of(options.Overlay!, options.Map);
        if (format.ShowsDamageWhenRead)
        {
            using var look = new OverlayReader(options);
            foreach (var _ in look.Extents())
                RequireWanted(options.Overlay!, stop);
        }
        var writing = new OverlayOptions { Overlay = options.Overlay, Map = options.Map, AcceptMap = options.AcceptMap };
        var files = format.Open(writing, OverlayAccess.Write);
        OriginClaim? origin = null;
        try
        {
            var seen = StoreOrigin.Open(files, options with { IsLook = true });
            claim = origin = Claim(seen);
            var target = new CommitTarget(seen.Uri, seen.Identity, origin.File.Facts.Kind == FileKind.Regular,
                files.DeviceBytesOver(seen, options.SizeBytes));
            // mutation: commit-recorded-before-the-checks (2 lines)
            // mutation: store-commit-not-refused-in-time
            RequireReady(files.Path, origin.File, target.DeviceBytes, stop);
            return files.BeginCommit(target, unread => OverlayReader.Over(files, unread));
        }
        catch
        {
            origin?.Dispose();
            files.Dispose();
            throw;
        }
    }

    internal static CommitReport Run(ICommitSource source, LinuxFile origin, IProgress<OperationProgress>? progress = null,
        CancellationToken stop = default)
    {
        var runs = new List<CommitRun>();
        var buffer = new byte[CopyBytes];
        var (chunks, bytes) = (0L, 0L);
        var any = source.TryTake(runs);
        // mutation: commit-begun-not-recorded
        source.Begin();
        Grow(source, origin);
        for (; any; any = source.TryTake(runs))
        {
            stop.ThrowIfCancellationRequested();
            foreach (var run in runs)
            {
                Copy(source.Data, origin, run, buffer);
                bytes += run.ByteLength;
                chunks += (run.ByteLength + source.ChunkBytes - 1) / source.ChunkBytes;
            }
            // mutation: commit-forgets-before-origin-sync (2 lines)
            // mutation: commit-without-origin-sync
            origin.Sync();
            source.Forget(runs);
            progress?.Report(new OperationProgress("chunks", source.Progress));
        }
        source.Complete(OriginIdentity.Of(origin));
        return new CommitReport(source.Data.Path, origin.Path, chunks, bytes);
    }

    /// <summary>Claims the origin. Throws <see cref="LincowException"/> when it is an origin of nothing, or in use.</summary>
    private static OriginClaim Claim(OriginFile seen)
    {
        if (!seen.IsFile)
            throw new LincowException(OperationErrors.OriginIsNothing(seen.Uri));
        return OriginClaim.Take(seen, "A commit writes to the origin, so nobody may use it meanwhile");
    }

    /// <summary>
    /// What may still refuse a commit, before the overlay is written to in any way: opened for writing it remembers the origin that was
    /// named.
    /// </summary>
    private static void RequireReady(string overlay, LinuxFile origin, long deviceBytes, CancellationToken stop)
    {
        if (origin.ReadFacts().SizeBytes is var size && size < deviceBytes && origin.Facts.Kind != FileKind.Regular)
            throw new LincowException(OperationErrors.OriginTooSmall(origin.Path, size, deviceBytes));
        RequireWanted(overlay, stop);
    }

    /// <summary>Throws <see cref="LincowException"/> when a commit that has written nothing yet was ended.</summary>
    private static void RequireWanted(string overlay, CancellationToken stop)
    {
        if (stop.IsCancellationRequested)
            throw new LincowException(OperationErrors.CommitNotBegun(overlay));
    }

    private static void Grow(ICommitSource source, LinuxFile origin)
    {
        var size = origin.ReadFacts().SizeBytes;
        if (size >= source.DeviceBytes)
            return;
        try
        {
            // mutation: commit-without-growing-the-origin
            origin.SetLength(source.DeviceBytes);
        }
        catch (LinuxException e) when (origin.ReadFacts().SizeBytes == size)
        {
            // mutation: refused-growth-stays-recorded
            source.Withdraw();
            throw new LincowException(OperationErrors.OriginNotGrown(e), e);
        }
        // mutation: commit-growth-not-synced (2 lines)
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
                throw new LincowException(OperationErrors.DataEnds(data.Path, run.ByteOffset + done));
            origin.Write(piece, run.ByteOffset + done);
            done += piece.Length;
        }
    }
}
