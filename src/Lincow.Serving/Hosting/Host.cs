using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Attach;
using Lincow.Serving.Control;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Serving.Hosting;

/// <summary>
/// Serves overlays over NBD and vhost-user. Exports come and go while others are served; every operation may be called from any thread.
/// <code>
/// await using var host = new Host(new HostOptions { Log = Console.Error.WriteLine });
/// var export = await host.AddAsync(new ExportOptions { Overlay = new OverlayOptions { Overlay = "work.cow" } });
/// var listener = host.Listen(ListenAddress.AtPath("/run/work.sock"));
/// Console.WriteLine(listener.UriOf(export));
/// </code>
/// The order of things. Coming: files are opened on the caller's thread, the device begins on the loop that <see cref="LoopPool"/> picks,
/// then clients find it. Going: clients find it no more, what is in flight is answered, its clients' connections end, it is flushed and
/// closed, and its loop ends if nothing else is on it (<see cref="HostEnd"/>).
///
/// An exception on a loop is an error of lincow itself: <see cref="LoopFaultPolicy"/>.
/// </summary>
public sealed partial class Host : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly Lock _recordGate = new();
    private readonly ExportTable _table = new();
    private readonly LoopPool _pool;
    private readonly List<ExportGroup> _groups = [];
    private readonly List<Listener> _listeners = [];
    private readonly List<TlsSettings> _tls = [];
    private readonly Dictionary<Export, ExportRecord> _records = [];
    private volatile Export[] _served = [];
    private Registration? _registration;
    private LincowError? _unregistered;
    private NbdServer? _nbd;
    private int _nextId;
    private bool _isRegistering;
    private Task? _stopped;

    /// <summary>A host that serves nothing yet. It starts no thread before there is something to do.</summary>
    public Host(HostOptions? options = null)
    {
        Options = options ?? new HostOptions();
        _pool = new LoopPool(Options.LoopFaults == LoopFaultPolicy.OthersGoOn ? LoopFaulted : null, Options.Log);
    }

    /// <summary>How it serves.</summary>
    public HostOptions Options { get; }

    /// <summary>The exports that clients find, in the order in which they were added. The list that is returned doesn't change.</summary>
    public IReadOnlyList<Export> Exports => _table.All;

    /// <summary>Where clients connect, in the order in which that began. The list that is returned doesn't change.</summary>
    public IReadOnlyList<Listener> Listeners
    {
        get
        {
            lock (_gate)
                return [.. _listeners];
        }
    }

    /// <summary>The exports that are there, those on their way out included.</summary>
    internal IReadOnlyList<Export> Served => _served;

    /// <summary>The loop in front.</summary>
    internal IoLoop Front => _pool.Front.Loop;

    /// <summary>
    /// Asked over the control socket to detach, with what holders of the device may take, in seconds; null where nothing is attached. It
    /// replies once.
    /// </summary>
    internal Action<double, Action<LincowError?>>? OnDetach { get; set; }

    /// <summary>
    /// Opens an overlay and serves it from here on. Throws <see cref="LincowException"/> when it can't be opened or its name is taken;
    /// nothing is left behind then.
    /// </summary>
    /// <param name="export">What is to be served.</param>
    /// <param name="cancellation">Not to begin, or not to wait any longer for a program's origin. Files that are being opened are
    /// opened.</param>
    public Task<Export> AddAsync(ExportOptions export, CancellationToken cancellation = default) =>
        Task.Run(async () => (await OpenAsync([export], null, cancellation))[0], cancellation);

    /// <summary>
    /// Opens overlays, all or none, and serves them from here on. Waits for files and so for disks; otherwise as <see cref="AddAsync"/>.
    /// </summary>
    public IReadOnlyList<Export> AddRange(IReadOnlyList<ExportOptions> exports) =>
        OpenAsync(exports, null, CancellationToken.None).GetAwaiter().GetResult();

    /// <summary>
    /// Serves an origin for writing and its snapshots: all on one loop, as one device. The origin's export is the last of those returned;
    /// its snapshots go when it is removed. Throws <see cref="LincowException"/>; nothing is left behind then.
    /// </summary>
    /// <param name="origin">The origin and its snapshots.</param>
    /// <param name="cancellation">Not to begin.</param>
    public Task<IReadOnlyList<Export>> AddLiveOriginAsync(LiveOriginOptions origin, CancellationToken cancellation = default) =>
        Task.Run<IReadOnlyList<Export>>(async () => await OpenAsync(origin.Snapshots, origin, cancellation), cancellation);

    /// <summary>As <see cref="AddLiveOriginAsync"/>; waits for files and so for disks.</summary>
    public IReadOnlyList<Export> AddLiveOrigin(LiveOriginOptions origin) =>
        OpenAsync(origin.Snapshots, origin, CancellationToken.None).GetAwaiter().GetResult();

    /// <summary>
    /// Serves an export no more: what is in flight is answered, its clients' connections end, and it is flushed and closed. Clients of
    /// others notice nothing. Throws <see cref="LincowException"/> when it isn't served here, is attached to this machine or is a live
    /// origin's snapshot; or when it could not be flushed within <see cref="HostOptions.StopTimeout"/>: it may be removed once more then.
    /// </summary>
    public async Task RemoveAsync(Export export)
    {
        ExportGroup group;
        lock (_gate)
        {
            group = _groups.Find(each => each.Exports.Contains(export)) ?? throw new LincowException(HostErrors.NotServed(export.Name));
            if (group.Origin is { } origin && origin != export)
                throw new LincowException(HostErrors.LiveOriginsSnapshot(export.Name, origin.Name));
            if (group.Exports.Any(each => each.OpenCount is not null))
                throw new LincowException(HostErrors.ExportAttached(export.Name));
            // Under the gate: what is asked of it from here on is refused, not posted to a loop that ends.
            foreach (var each in group.Exports)
                each.IsEnding = true;
        }
        var end = new HostEnd(Options.StopTimeout);
        // mutation: removed-export-is-still-found
        _table.Remove(group.Exports);
        var failures = await end.RunAsync([(group, EndIntakeAsync(group))]);
        if (group.IsClosed)
            Forget(group, end);
        if (failures.Count > 0)
            throw new LincowException(LincowError.Join(failures));
    }

    /// <summary>
    /// Has NBD clients connect at an address: they find all exports there, by name. Throws <see cref="LincowException"/> when that is
    /// impossible.
    /// </summary>
    /// <param name="address">The address. A host's name is looked up, which may take time.</param>
    /// <param name="tls">TLS, if it is offered there.</param>
    public Listener Listen(ListenAddress address, TlsSettings? tls = null)
    {
        NbdServer nbd;
        lock (_gate)
        {
            ThrowIfStopped();
            nbd = _nbd ??= new NbdServer(Front, _table, Options.Log);
            if (tls is not null && !_tls.Contains(tls))
                _tls.Add(tls);
        }
        return Start(Listener.ForNbd(this, address, tls is not null, socket => nbd.Take(socket, tls)));
    }

    /// <summary>
    /// Has virtual machines use an export as their disk (vhost-user-blk), one at a time. Throws <see cref="LincowException"/> when nothing
    /// can listen there.
    /// </summary>
    public Listener ListenVhostUser(ListenAddress.Unix address, Export export) => Start(Listener.ForVhostUser(this, address, export));

    /// <summary>NBD clients of an export that are connected now.</summary>
    public int ClientsOf(Export export) => _nbd?.ClientsOf(export) ?? 0;

    /// <summary>
    /// Takes an overlay back to its origin while it is served: requests that come meanwhile wait. Throws <see cref="LincowException"/> when
    /// that is refused, as for a dm-snapshot store, or when somebody uses it in a way that would not notice.
    /// </summary>
    /// <param name="export">The overlay's export.</param>
    /// <param name="force">Also after a commit that was cut off, and although a virtual machine or a mounted file uses it.</param>
    /// <returns>NBD clients that are connected, and may remember what was before.</returns>
    public async Task<int> ResetAsync(Export export, bool force = false)
    {
        var outcome = new TaskCompletionSource<ResetOutcome>(TaskCreationOptions.RunContinuationsAsynchronously);
        Reset(export, force, outcome.SetResult);
        var (error, holder, clients) = await outcome.Task;
        return error is null ? clients : throw new LincowException(holder is null ? error : HostErrors.HeldAtReset(export.Name, holder));
    }

    /// <summary>
    /// Has others find the host, if <see cref="HostOptions.IsRegistered"/>, though nothing listens. Where there is no directory for
    /// records, nothing happens.
    /// </summary>
    public void Register()
    {
        lock (_gate)
            _isRegistering = Options.IsRegistered;
        Publish();
    }

    /// <summary>
    /// Stops serving, within <see cref="HostOptions.StopTimeout"/>: nobody is accepted any more, what is in flight is answered, overlays
    /// are flushed and closed, threads end. Throws <see cref="LincowException"/> when an overlay could not be flushed; everything else has
    /// ended all the same. Asked again, it is the same stop.
    /// </summary>
    public Task StopAsync() => Stop(null);

    /// <summary>As <see cref="StopAsync"/>, if that has not been called.</summary>
    public async ValueTask DisposeAsync()
    {
        Task? stopped;
        lock (_gate)
            stopped = _stopped;
        // Who has stopped it has heard how that went.
        if (stopped is null)
            await Stop(null);
    }
}
