using System.Net;
using System.Net.Sockets;
using Lincow.Frontends.Control;
using Lincow.Frontends.Nbd;
using Lincow.Frontends.VhostUser;
using Lincow.Linux;
using Lincow.Overlays;

namespace Lincow.Cli;

/// <summary>
/// Opens overlays, spreads them over loops (one a core), and serves them over NBD and vhost-user until stopped. The order of things: overlays
/// are open before anything listens; at the end nothing is accepted, what is in flight is answered, overlays are flushed and closed, loops end.
/// </summary>
/// <param name="command">What is served for: serve, run or attach. It goes into the record that others find.</param>
internal sealed class ServeHost(string command)
{
    private readonly List<LoopThread> _threads = [];
    private readonly List<ServedSession> _sessions = [];
    private readonly List<string> _socketPaths = [];
    private readonly List<(IoLoop Loop, VhostServer Server)> _vhostServers = [];
    private NbdServer? _server;
    private LiveOrigin? _liveOrigin;
    private TlsSettings? _tls;
    private Registration? _registration;

    public IReadOnlyList<ServedSession> Sessions => _sessions;

    /// <summary>Asked to detach, on a loop's thread; null where there is nothing that could be.</summary>
    public ControlHandler? OnDetach { get; set; }

    /// <summary>Where clients connect: one for each export and address.</summary>
    public List<string> Uris { get; } = [];

    /// <summary>Requests that all devices have had.</summary>
    public long RequestCount => _sessions.Sum(session => session.Session.Device.RequestCount);

    /// <param name="overlays">What to serve.</param>
    /// <param name="names">Names of the first exports.</param>
    /// <param name="addresses">Where to listen.</param>
    /// <param name="tls">TLS, if it is offered.</param>
    /// <param name="liveOrigin">The overlays' origin, if it is served for writing as well: as the last export.</param>
    /// <param name="vhostPaths">Sockets for vhost-user, in the exports' order; at most one for each.</param>
    public void Start(IReadOnlyList<SessionOptions> overlays, IReadOnlyList<string> names, IReadOnlyList<ListenAddress> addresses, TlsSettings? tls, string? liveOrigin = null,
        IReadOnlyList<string>? vhostPaths = null)
    {
        try
        {
            _liveOrigin = liveOrigin is null ? null : LiveOrigin.Claim(liveOrigin);
            var loops = liveOrigin is not null ? 1 : Math.Min(overlays.Count, Environment.ProcessorCount);
            for (var i = 0; i < loops; i++)
                _threads.Add(LoopThread.Start($"lincow-loop-{i}"));
            if (_threads[0].WhyNotUring is { } reason)
                CommandRunner.Warn(reason);
            var exports = new List<NbdExport>();
            for (var i = 0; i < overlays.Count; i++)
            {
                var thread = _threads[i % loops];
                var options = overlays[i];
                // Attach itself goes on with such a device.
                if (command != "attach" && !options.ReadOnly)
                    WaitingDevice.Refuse(options.Overlay);
                var session = thread.Loop.Invoke(() => OverlaySession.Open(options, thread.Loop));
                session.Report = CommandRunner.Warn;
                _sessions.Add(new ServedSession(thread, session, options));
                var name = i < names.Count ? names[i] : session.Name;
                if (exports.Any(export => export.Name == name))
                    throw new LincowException($"two exports would be called '{name}'. Give each a name with --name, in the order of the overlays");
                exports.Add(new NbdExport(name, session.Device, thread.Loop, options.Overlay ?? "transient over " + options.Origin));
            }
            if (_liveOrigin is not null)
                exports.Add(ExportOrigin(_liveOrigin, overlays.Count < names.Count ? names[^1] : Path.GetFileNameWithoutExtension(liveOrigin!)));
            var listeners = addresses.Select(address => Listen(address, exports, tls is not null)).ToList();
            vhostPaths ??= [];
            for (var i = 0; i < vhostPaths.Count; i++)
                StartVhost(exports[i], overlays.Any(overlay => overlay.Direct), vhostPaths[i]);
            _tls = tls;
            var server = _server = new NbdServer(_threads[0].Loop, new NbdExports(exports), tls, CommandRunner.Warn);
            _threads[0].Loop.Invoke(() => listeners.ForEach(server.Listen));
            foreach (var (loop, vhost) in _vhostServers)
                loop.Post(vhost.Listen);
            foreach (var (thread, session, _) in _sessions)
                thread.Loop.Post(session.StartReclaiming);
            _registration = Registration.TryBegin(command, _threads[0], ServedExports(exports.Count, vhostPaths), new ServeControl(this).Handle);
        }
        catch
        {
            Stop();
            throw;
        }
    }

    private NbdExport ExportOrigin(LiveOrigin origin, string name)
    {
        var thread = _threads[0];
        var device = thread.Loop.Invoke(() => origin.Begin([.. _sessions.Select(session => session.Session)], thread.Loop));
        device.Report = CommandRunner.Warn;
        return new NbdExport(name, device, thread.Loop, "live origin");
    }

    private void CloseOrigin(List<string> failures)
    {
        if (_liveOrigin is not { } origin)
            return;
        _liveOrigin = null;
        try
        {
            var loop = _threads[0].Loop;
            loop.Invoke(() => origin.Close(loop));
        }
        catch (LincowException e)
        {
            failures.Add(e.Message);
        }
    }

    /// <summary>Says of the one export how it is attached. Throws where that can't be written down, for nobody could clean up after a crash then.</summary>
    public void NoteAttachment(Func<ServedExport, ServedExport> change)
    {
        if (_registration is null)
            RunDirectory.Open();
        _registration?.Update(0, change);
    }

    /// <summary>Standard output and error go to a file next to the record from here on.</summary>
    public void RedirectToLog() => _registration?.RedirectToLog();

    /// <summary>
    /// Stops serving; throws <see cref="LincowException"/> when an overlay could not be flushed. <paramref name="report"/> is told so before, or
    /// null, while the control socket can still pass it on.
    /// </summary>
    public void Stop(Action<string?>? report = null)
    {
        if (_server is not null)
        {
            _threads[0].Loop.InvokeUntilEnded(_server.Stop);
            _tls?.WaitForPumps();
        }
        foreach (var (loop, vhost) in _vhostServers)
            loop.InvokeUntilEnded(vhost.Stop);
        _vhostServers.Clear();
        // Now: a successor may bind the same path as soon as nobody listens.
        _socketPaths.ForEach(File.Delete);
        var failures = new List<string>();
        CloseOrigin(failures);
        foreach (var (thread, session, _) in _sessions)
        {
            try
            {
                while (thread.Loop.Invoke(() => session.IsResetting))
                    Thread.Sleep(1);
                thread.Loop.Invoke(session.Close);
            }
            catch (LincowException e)
            {
                failures.Add(e.Message);
            }
        }
        report?.Invoke(failures.Count > 0 ? string.Join("; ", failures) : null);
        _registration?.End();
        _sessions.Clear();
        _threads.ForEach(thread => thread.Stop());
        if (failures.Count > 0)
            throw new LincowException(string.Join("; ", failures));
    }

    private List<ServedExport> ServedExports(int count, IReadOnlyList<string> vhostPaths) => [.. _sessions.Select((session, index) => new ServedExport
    {
        Name = session.Session.Name,
        Overlay = session.Options.Overlay is { } overlay ? Path.GetFullPath(overlay) : null,
        Origin = session.Options.Overlay is null ? session.Options.Origin : null,
        SizeBytes = session.Session.Device.SizeBytes,
        ReadOnly = session.Session.Device.IsReadOnly,
        // Of each address in turn there is one for each export, and behind them what is served over vhost-user.
        Uris = [.. Uris.SkipLast(vhostPaths.Count).Where((_, position) => position % count == index), .. vhostPaths.Skip(index).Take(1).Select(VhostUri)],
    })];

    private void StartVhost(NbdExport export, bool isDirect, string path)
    {
        // Whatever a disk's block is, a page is a multiple of it.
        var vhost = new VhostExport(export.Name, export.Device, export.Loop, isDirect ? 4096 : 1);
        _vhostServers.Add((export.Loop, new VhostServer(vhost, Listening("--vhost-user", () => ListenUnix(path)), CommandRunner.Warn)));
        Uris.Add(VhostUri(path));
    }

    private static string VhostUri(string path) => "vhost-user:" + path;

    private int ListenUnix(string path)
    {
        var descriptor = LinuxSocket.ListenUnix(path);
        _socketPaths.Add(path);
        return descriptor;
    }

    private int Listen(ListenAddress address, List<NbdExport> exports, bool tls) => Listening("--nbd", () =>
    {
        var scheme = tls ? "nbds" : "nbd";
        switch (address)
        {
            case ListenAddress.Unix(var path):
                var descriptor = ListenUnix(path);
                Uris.AddRange(exports.Select(export => $"{scheme}+unix:///{Uri.EscapeDataString(export.Name)}?socket={EscapePath(path)}"));
                return descriptor;
            case ListenAddress.Tcp(var host, var port):
                var resolved = IPAddress.TryParse(host, out var parsed) ? parsed : Dns.GetHostAddresses(host)[0];
                var (tcp, bound) = LinuxSocket.ListenTcp(resolved, port);
                var shown = resolved.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{host}]" : host;
                Uris.AddRange(exports.Select(export => $"{scheme}://{shown}:{bound}/{Uri.EscapeDataString(export.Name)}"));
                return tcp;
            default:
                throw new InvalidOperationException();
        }
    });

    /// <summary>Listens, or says what is wrong with the address that an option named.</summary>
    private static int Listening(string option, Func<int> listen)
    {
        try
        {
            return listen();
        }
        catch (LinuxException e) when (e.Errno == Errno.AddressInUse)
        {
            throw new LincowException($"{e.Subject}: is in use: another server listens there. Give another address with {option}, or stop that server", e);
        }
        catch (LinuxException e) when (e.Errno == Errno.Exists)
        {
            throw new LincowException($"{e.Subject}: exists and is not a socket, so nothing can listen there. Give another path with {option}", e);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{e.Subject}: can't be listened on: {e.Reason}", e);
        }
        catch (SocketException e)
        {
            throw new LincowException($"{option}: {e.Message}", e);
        }
    }

    private static string EscapePath(string path) => string.Join('/', path.Split('/').Select(Uri.EscapeDataString));
}

/// <summary>An open overlay and the thread that owns it.</summary>
internal sealed record ServedSession(LoopThread Thread, OverlaySession Session, SessionOptions Options);
