using Lincow.Blobs;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>
/// An origin that is itself served for writing, with snapshots of it (dm's snapshot-origin). Claimed first, then the snapshots' sessions
/// are opened with <see cref="OverlayOptions.OriginIsLive"/>, all on one loop, then the device is made.
/// </summary>
internal sealed class LiveOrigin : IDisposable
{
    private readonly OriginClaim _claim;
    private FileBlob? _blob;

    private LiveOrigin(OriginClaim claim) => _claim = claim;

    private LinuxFile Origin => _claim.File;

    public OriginDevice? Device { get; private set; }

    /// <summary>
    /// Opens the origin for writing while nobody else uses it, a block device or a loop device over it claimed. Throws
    /// <see cref="LincowException"/>.
    /// </summary>
    public static LiveOrigin Claim(string origin)
    {
        var claim = OriginClaim.Take(StoreOrigin.Open(origin), "It would change under that");
        var file = claim.File;
        var path = file.Path;
        try
        {
            // Shared from here on, with its own snapshots; those of others see the other byte.
            var control = new FileControl(file);
            if ((control.LockAsync(BlobLock.Live, exclusive: true).Now() ?? control.LockAsync(BlobLock.Content, exclusive: false).Now())
                is { } holder)
                throw new LincowException(OperationErrors.FileInUse(path, holder));
            if (file.Facts.SizeBytes == 0 || file.Facts.SizeBytes % 512 != 0)
                throw new LincowException(OperationErrors.LiveOriginNotSectors(path, file.Facts.SizeBytes));
            return new LiveOrigin(claim);
        }
        catch
        {
            claim.Dispose();
            throw;
        }
    }

    /// <summary>Makes the device, on the loop of the sessions.</summary>
    public OriginDevice Begin(IReadOnlyList<OverlaySession> snapshots, IoLoop loop)
    {
        _blob = new FileBlob(Origin, loop);
        var chunkShift = snapshots.Max(snapshot => snapshot.Device.Geometry.ChunkShift);
        return Device = new OriginDevice(new Geometry(Origin.Facts.SizeBytes, chunkShift), _blob,
            [.. snapshots.Select(snapshot => snapshot.Device)])
        {
            SectorBytes = snapshots[0].Device.SectorBytes,
        };
    }

    /// <summary>
    /// Ends it, on its loop, before the snapshots: waits for what is in flight, syncs, and has the snapshots remember what the origin is
    /// like from now on, which they didn't know while it was written to. Calls back on the loop's thread with null, or what went wrong.
    /// </summary>
    public void Close(IReadOnlyList<OverlaySession> snapshots, IoLoop loop, Action<LincowException?> closed)
    {
        while (Device is { IsIdle: false })
            loop.RunOnce();
        _ = SettleAsync(snapshots, loop, closed);
    }

    public void Dispose()
    {
        _blob?.Dispose();
        _claim.Dispose();
    }

    // To sync and to read samples is to wait for the disk, so neither is done on the loop, on which others may be served.
    private async Task SettleAsync(IReadOnlyList<OverlaySession> snapshots, IoLoop loop, Action<LincowException?> closed)
    {
        LincowException? failure = null;
        OriginIdentity identity = default;
        try
        {
            var control = new FileControl(Origin);
            await control.SyncAsync().ConfigureAwait(false);
            identity = await OriginIdentity.OfAsync(control).ConfigureAwait(false);
        }
        catch (LinuxException e)
        {
            failure = Lost(e);
        }
        loop.Post(() =>
        {
            failure ??= Note(identity, snapshots);
            Dispose();
            closed(failure);
        });
    }

    private static LincowException? Note(OriginIdentity identity, IReadOnlyList<OverlaySession> snapshots)
    {
        try
        {
            foreach (var snapshot in snapshots)
                // mutation: live-origin-stays-unsettled
                snapshot.NoteOrigin(identity);
            return null;
        }
        catch (LinuxException e)
        {
            return Lost(e);
        }
        catch (LincowException e)
        {
            return e;
        }
    }

    private static LincowException Lost(LinuxException e) => new(OperationErrors.LiveOriginUnflushed(e), e);
}
