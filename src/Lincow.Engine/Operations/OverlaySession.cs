using Lincow.Blobs;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>
/// An open overlay with its device, on one loop. Everything here runs on the loop's thread: <see cref="Open(OverlayOptions, IoLoop)"/>,
/// <see cref="Close"/>.
/// </summary>
internal sealed class OverlaySession
{
    private readonly IoLoop _loop;
    private readonly OpenStore _store;
    private readonly OriginLayer _origin;
    private readonly SessionReset _reset;
    private readonly bool _isOriginLive;
    private Reclaimer? _reclaimer;

    internal OverlaySession(IoLoop loop, OpenStore store, OriginLayer origin, bool isReadOnly, string name, bool isOriginLive = false)
    {
        (_loop, _store, _origin, Name, _isOriginLive) = (loop, store, origin, name, isOriginLive);
        Device = new CowDevice(new LayerStack(store.Exceptions, store.Data, origin), loop.Buffers, isReadOnly);
        if (!isReadOnly && store.IsReclaimPending)
            _reclaimer = new Reclaimer(Device, store.Data, store.ReclaimShift);
        _reset = new SessionReset(loop, Device, store);
    }

    public CowDevice Device { get; }

    /// <summary>What lies at the bottom.</summary>
    internal OriginLayer Origin => _origin;

    /// <summary>
    /// A commit was cut off before. The device reads right, but the origin alone isn't whole until the commit has been run again.
    /// </summary>
    public bool IsCommitUnfinished => _store.IsCommitUnfinished;

    /// <summary>A name for exports and messages: the overlay's file name without its ending, or the origin's for a transient one.</summary>
    public string Name { get; }

    /// <summary>Told of damage and failures, a sentence each.</summary>
    public Action<LincowError>? Report
    {
        get => _store.Exceptions.Report;
        set => _store.Exceptions.Report = _origin.Report = value;
    }

    /// <summary>Why the device answers everything with EIO; null while it is well.</summary>
    public string? FailedBecause => _store.Exceptions.FailedBecause;

    /// <summary>For a dm-snapshot store: what dmsetup status shows after the target's name. Null for a linear one.</summary>
    public string? DmStatus => _store.DmStatus;

    /// <summary>
    /// For a persistent dm-snapshot store: how many areas its cache holds at most, and how often it had what was asked for.
    /// </summary>
    public (int Areas, long Hits, long Misses)? AreaCache => _store.AreaCache;

    /// <summary>For a snapshot of a live origin: remembers what the origin is like, now that nobody writes to it.</summary>
    internal void NoteOrigin(OriginIdentity identity) => _store.NoteOrigin(identity);

    /// <summary>Opens an overlay, or makes a transient one, on the loop's thread. Throws <see cref="LincowException"/>.</summary>
    public static OverlaySession Open(OverlayOptions options, IoLoop loop) => Prepare(options).Begin(loop);

    /// <summary>
    /// The part of <see cref="Open(OverlayOptions, IoLoop)"/> that needs no loop: finds, opens, locks and checks the files. Throws
    /// <see cref="LincowException"/>.
    /// </summary>
    public static OverlayOpening Prepare(OverlayOptions options) => PrepareHereAsync(options).Now();

    /// <inheritdoc cref="Prepare"/>
    /// <param name="options">What is opened, and how.</param>
    /// <param name="stop">Has it not begin, or not wait for a program's origin any longer.</param>
    public static async Task<OverlayOpening> PrepareAsync(OverlayOptions options, CancellationToken stop = default) =>
        await (await Operation.Start(() => PrepareHereAsync(options, stop).AsTask(), stop).ConfigureAwait(false)).ConfigureAwait(false);

    /// <summary>
    /// As <see cref="PrepareAsync"/>, with the files being opened on the caller's thread, which may wait. What a program's origin takes its
    /// time for is waited for without a thread.
    /// </summary>
    public static async ValueTask<OverlayOpening> PrepareHereAsync(OverlayOptions options, CancellationToken stop = default)
    {
        try
        {
            return options.Overlay is { } overlay ? await PreparePersistentAsync(options, overlay, stop).ConfigureAwait(false)
                : await PrepareTransientAsync(options, stop).ConfigureAwait(false);
        }
        catch (LinuxException e)
        {
            throw new LincowException(LincowError.Of(e), e);
        }
    }

    /// <summary>Starts giving back space that a reset left behind, while requests are served. Call once the device serves.</summary>
    public void StartReclaiming() => _reclaimer?.Start();

    /// <summary>What is said of one that is served with <see cref="IsCommitUnfinished"/>.</summary>
    /// <param name="overlay">The overlay's path.</param>
    public static LincowError UnfinishedCommit(string overlay) => StoreErrors.CommitUnfinishedServed(overlay);

    /// <summary>Whether a reset is under way; the session must not be closed meanwhile.</summary>
    public bool IsResetting => _reset.IsRunning;

    /// <summary>
    /// Takes the overlay back to its origin while it is served: new requests wait until those in flight have ended and the reset is on
    /// stable storage. Calls back with null, or what went wrong. Space is given back in the background.
    /// </summary>
    /// <param name="done">Told on the loop's thread.</param>
    /// <param name="force">Also where a commit was cut off (<see cref="IsCommitUnfinished"/>).</param>
    public void Reset(Action<LincowException?> done, bool force = false)
    {
        var why = _store.WhyNoReset is { } whyNot ? whyNot
            : Device.IsReadOnly ? "is served read-only, so it can't be reset"
            : IsResetting ? "is being reset already"
            : null;
        var refusal = why is not null ? OperationErrors.ResetRefused(_store.Data.Name, why)
            : IsCommitUnfinished && !force ? StoreErrors.CommitUnfinished(_store.Data.Name)
            : FailedBecause is { } failure ? OperationErrors.ResetRefused(_store.Data.Name,
                $"is failed, so it can't be reset while it is served: {failure}")
            : null;
        if (refusal is not null)
        {
            done(new LincowException(refusal));
            return;
        }
        _reclaimer?.Stop();
        _reset.Start(error =>
        {
            if (error is null)
            {
                _reclaimer ??= new Reclaimer(Device, _store.Data, _store.ReclaimShift);
                _reclaimer.Start();
            }
            done(error);
        });
    }

    /// <summary>
    /// As <see cref="Reset"/>, from any thread but the loop's. Throws <see cref="LincowException"/> when it can't be, or hasn't been, done.
    /// </summary>
    /// <param name="force">Also where a commit was cut off (<see cref="IsCommitUnfinished"/>).</param>
    public Task ResetAsync(bool force = false) => OnLoop(done => Reset(done, force));

    /// <summary>
    /// As <see cref="CloseWhenPossible"/>, from any thread but the loop's. Throws <see cref="LincowException"/>; the files are closed all
    /// the same.
    /// </summary>
    public Task CloseAsync() => OnLoop(CloseWhenPossible);

    /// <summary>
    /// Nobody waits any longer for what is being read from an origin that may take its time (<see cref="UserOrigin"/>): such reads are
    /// cancelled, and in about a second at the latest they have ended, with EIO; nor for room in a full file system: what waits for it ends
    /// with ENOSPC. For whoever is about to close, and waits for requests to end.
    /// </summary>
    public void CancelWaits()
    {
        _origin.CancelReads();
        // mutation: room-waited-for-at-the-end
        Device.WaitsForRoom = false;
    }

    /// <summary>
    /// Ends the session when the front ends have let go of the device: flushes, makes the overlay clean and closes the files. Throws
    /// <see cref="LincowException"/> when that fails; the files are closed all the same.
    /// </summary>
    public void Close()
    {
        try
        {
            CloseStore();
        }
        finally
        {
            _origin.Dispose();
        }
    }

    private void CloseStore()
    {
        try
        {
            _reclaimer?.Stop();
            CancelWaits();
            while (!Device.IsIdle || _reclaimer is { IsIdle: false })
                _loop.RunOnce();
            // A store that was given up has said so, and owes nothing.
            if (!Device.IsReadOnly && !_store.IsGivenUp)
            {
                Flush();
                while (!Device.IsIdle)
                    _loop.RunOnce();
                _store.Exceptions.CloseCleanly(_reclaimer?.IsDone ?? false);
            }
        }
        catch (LinuxException e)
        {
            throw new LincowException(OperationErrors.CloseFailed(e), e);
        }
        finally
        {
            _store.Dispose();
        }
    }

    /// <summary>
    /// As <see cref="Close"/>, after a reset that may be under way, and looks whether somebody has changed the origin meanwhile. Calls back
    /// with null, or with what went wrong.
    /// </summary>
    public void CloseWhenPossible(Action<LincowException?> closed)
    {
        // A reset may be further down on this very stack, waiting for its disk: it can't be waited for here.
        if (IsResetting)
        {
            _loop.Delay(1, new LaterClose(this, closed));
            return;
        }
        LincowException? failure = null;
        try
        {
            CloseStore();
        }
        catch (LincowException e)
        {
            failure = e;
        }
        _ = CloseOriginAsync(failure, closed);
    }

    // The overlay is safe by now. The origin may stand still, and is looked at on no loop's thread.
    private async Task CloseOriginAsync(LincowException? failure, Action<LincowException?> closed)
    {
        // mutation: changed-origin-unnoticed
        var change = _isOriginLive ? null : await _origin.FindChangeAsync().ConfigureAwait(false);
        if (change is not null)
            failure ??= new LincowException(OriginErrors.ChangedMeanwhile(OriginReference.Parse(_origin.Uri).Place, change));
        if (!LoopThread.IsCurrent)
        {
            _loop.Post(() => End(failure, closed));
            return;
        }
        End(failure, closed);
    }

    private void End(LincowException? failure, Action<LincowException?> closed)
    {
        _origin.Dispose();
        closed(failure);
    }

    /// <summary>Waits for a flush. Throws <see cref="LincowException"/> when it fails.</summary>
    internal void Flush()
    {
        // mutation: close-without-flush
        var result = new FlushWaiter().Await(Device, _loop);
        if (result < 0)
            throw new LincowException(OperationErrors.LastFlushFailed(_store.Data.Name, -result));
    }

    private async Task OnLoop(Action<Action<LincowException?>> start)
    {
        if (await _loop.StartUntilEnded(start).ConfigureAwait(false) is { } failure)
            throw failure;
    }

    private static async ValueTask<OverlayOpening> PreparePersistentAsync(OverlayOptions options, string overlay, CancellationToken stop)
    {
        var format = StoreFormats.Of(overlay, options.Map);
        format.RequireUsable(options);
        var files = format.Open(options, options.Peek ? OverlayAccess.Peek : options.ReadOnly ? OverlayAccess.Read : OverlayAccess.Write);
        try
        {
            var origin = await StoreOrigin.OpenAsync(files, options, stop).ConfigureAwait(false);
            SectorSize.Of(options.SectorBytes, null, origin, files.DeviceBytesOver(origin, options.SizeBytes));
            return new OverlayOpening(loop => Open(files, origin, options, loop), origin, files, files.Facts);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>Builds the stack on files that are open.</summary>
    internal static OverlaySession Open(StoreFiles files, OriginFile origin, OverlayOptions options, IoLoop loop)
    {
        StoreOrigin.RequireAlignment(new Geometry(files.DeviceBytesOver(origin, options.SizeBytes), files.ChunkShift), files.DataFile,
            origin);
        var sectorBytes = SectorSize.Of(options.SectorBytes, files.SectorBytes, origin, files.DeviceBytesOver(origin, options.SizeBytes));
        return Over(files.Begin(origin, options, loop), origin, options, Path.GetFileNameWithoutExtension(files.Path), sectorBytes, loop);
    }

    private static async ValueTask<OverlayOpening> PrepareTransientAsync(OverlayOptions options, CancellationToken stop)
    {
        var format = StoreFormats.Named(options.Store);
        var origin = await StoreOrigin.OpenTransientAsync(options, stop).ConfigureAwait(false);
        LinuxFile? opened = null;
        try
        {
            var size = options.SizeBytes ?? origin.Identity.SizeBytes;
            DeviceSize.Require(size, options.SizeBytes is null ? origin.Uri : null);
            if (origin.Identity.SizeBytes > size)
                throw new LincowException(OperationErrors.OriginLargerThanTransient(origin.Uri, origin.Identity.SizeBytes, size));
            var geometry = new Geometry(size, DeviceSize.ChunkShift(options.ChunkBytes));
            var file = opened = format.OpenTransient(options.TransientData, geometry, options.Direct);
            StoreOrigin.RequireAlignment(geometry, file, origin);
            var sectorBytes = SectorSize.Of(options.SectorBytes, null, origin, size);
            return new OverlayOpening(loop => Over(format.BeginTransient(file, geometry, origin, options, loop), origin, options,
                TransientName(origin), sectorBytes, loop), origin, file, [file.Facts]);
        }
        catch
        {
            opened?.Dispose();
            origin.Dispose();
            throw;
        }
    }

    private static OverlaySession Over(OpenStore store, OriginFile origin, OverlayOptions options, string name, int sectorBytes,
        IoLoop loop)
    {
        try
        {
            var session = new OverlaySession(loop, store, origin.OnLoop(loop, options.IgnoreHoles), options.ReadOnly, name,
                options.OriginIsLive);
            session.Device.WaitsForRoom = options.WaitForRoom;
            session.Device.OutlivesServer = options.OutliveServer;
            session.Device.SectorBytes = sectorBytes;
            return session;
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    private static string TransientName(OriginFile origin) => origin.Reference.IsNothing ? "zero"
        : Path.GetFileNameWithoutExtension(origin.Reference.Place);

    private sealed class LaterClose(OverlaySession session, Action<LincowException?> closed) : IoCompletion
    {
        // Posted: closing waits with turns of the loop, and those may not be nested in a completion.
        public override void Complete(int result) => session._loop.Post(() => session.CloseWhenPossible(closed));
    }

    /// <summary>A flush that the control plane waits for.</summary>
    private sealed class FlushWaiter : BlockRequest
    {
        private int? _result;

        public int Await(CowDevice device, IoLoop loop)
        {
            Operation = BlockOperation.Flush;
            device.Submit(this);
            while (_result is null)
                loop.RunOnce();
            return _result.Value;
        }

        protected internal override void OnCompleted(int result) => _result = result;
    }
}
