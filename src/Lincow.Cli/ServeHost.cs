using System.Net;
using System.Net.Sockets;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Control;
using Lincow.Serving.Frontends.Nbd;
using Lincow.Serving.Frontends.VhostUser;

namespace Lincow.Cli;

/// <summary>
/// Opens overlays, spreads them over loops (<see cref="ServeLoops"/>), and serves them over NBD and vhost-user until stopped. The order of things:
/// overlays are open before anything listens; at the end nobody asks and nothing is accepted any more, what is in flight is answered, overlays are
/// flushed and closed (<see cref="ServeEnd"/>), loops end.
///
/// An exception on a loop is an error of lincow itself. It ends the overlays of that loop, as a kill would, and their clients' connections; the others go
/// on. Where there are no others, or the kernel waits for a device (attach, run), the process ends, so that whoever watches it starts it again.
/// </summary>
/// <param name="command">What is served for: serve, run or attach. It goes into the record that others find.</param>
internal sealed class ServeHost(string command)
{
    private readonly List<ServedSession> _sessions = [];
    private readonly List<ListeningSocket> _sockets = [];
    private readonly List<(IoLoop Loop, VhostServer Server)> _vhostServers = [];
    private ServeLoops? _loops;
    private NbdServer? _server;
    private LiveOrigin? _liveOrigin;
    private TlsSettings? _tls;
    private Registration? _registration;

    /// <summary>What <see cref="Stop"/> may take by default: longer than a disk takes over a bad sector, shorter than service managers wait.</summary>
    public const int DefaultStopSeconds = 30;

    /// <summary>What <see cref="Stop"/> may take, whatever stands still.</summary>
    public TimeSpan StopPatience { get; init; } = TimeSpan.FromSeconds(DefaultStopSeconds);

    public IReadOnlyList<ServedSession> Sessions => _sessions;

    /// <summary>Asked to detach, on a loop's thread; null where there is nothing that could be.</summary>
    public ControlHandler? OnDetach { get; set; }

    /// <summary>How often others have the one attached device's file open, on its loop's thread; null where nothing is attached.</summary>
    public Func<int>? OpenCount { get; set; }

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
        var openings = new List<OverlayOpening>();
        Log.Begin();
        try
        {
            _liveOrigin = liveOrigin is null ? null : LiveOrigin.Claim(liveOrigin);
            foreach (var options in overlays)
            {
                // Attach itself goes on with such a device.
                if (command != "attach" && !options.ReadOnly)
                    WaitingDevice.Refuse(options.Overlay, options.Map);
                WaitingDevice.Refuse(options.TransientData);
                openings.Add(OverlaySession.Prepare(options));
            }
            // A live origin and its snapshots are one device.
            var loops = _loops = new ServeLoops([.. openings.Select(opening => liveOrigin is null ? opening.Places : "")], command == "serve" ? LoopFaulted : null);
            if (loops.Devices[0].WhyNotUring is { } reason)
                CommandRunner.Warn(reason);
            var exports = new List<NbdExport>();
            for (var i = 0; i < overlays.Count; i++)
            {
                var (thread, opening, options) = (loops[i], openings[i], overlays[i]);
                var session = thread.Loop.Invoke(() => opening.Begin(thread.Loop));
                session.Report = CommandRunner.Warn;
                if (session.IsCommitUnfinished)
                    CommandRunner.Warn($"{options.Overlay}: {UnfinishedCommit.Sentence}. What is served reads right");
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
            var server = _server = new NbdServer(loops.Front.Loop, new NbdExports(exports), tls, CommandRunner.Warn);
            loops.Front.Loop.Invoke(() => listeners.ForEach(server.Listen));
            foreach (var (loop, vhost) in _vhostServers)
                loop.Post(vhost.Listen);
            foreach (var (thread, session, _) in _sessions)
                thread.Loop.Post(session.StartReclaiming);
            _registration = Registration.TryBegin(command, loops.Front, ServedExports(exports.Count, vhostPaths), new ServeControl(this).Handle);
        }
        catch
        {
            openings.ForEach(opening => opening.Dispose());
            Stop();
            throw;
        }
    }

    /// <summary>Who uses an export's device and would not notice that its content is another one, for a sentence; null when nobody does. On its loop's thread.</summary>
    public string? HolderOf(int export) =>
        // mutation: reset-under-a-virtual-machine
        export < _vhostServers.Count && _vhostServers[export].Server.IsConnected ? "a virtual machine is connected by vhost-user"
        : OpenCount?.Invoke() is > 0 and var count ? $"its file is open {(count == 1 ? "once" : $"{count} times")}"
        : null;

    /// <summary>NBD clients of an export. They are told, and ask anew for what they don't remember.</summary>
    public int ClientsOf(int export) => _server?.ClientsOf(_sessions[export].Session.Device) ?? 0;

    // On the thread whose loop it was.
    private void LoopFaulted(LoopThread thread, Exception exception)
    {
        if (_loops is not { Devices.Count: > 1 })
            throw new InvalidOperationException("nothing else is served");
        var lost = _sessions.Where(session => session.Thread == thread).Select(session => session.Options.Overlay ?? session.Session.Name);
        CommandRunner.Warn($"an error of lincow itself, please report it: {string.Join(", ", lost)}: served no more; what was written since the last flush is lost. "
            + $"The other overlays go on; start the server again to have it back. {exception}");
        _server?.LoseLoop(thread.Loop);
        foreach (var (loop, server) in _vhostServers)
        {
            if (loop == thread.Loop)
                server.LoseLoop();
        }
    }

    private NbdExport ExportOrigin(LiveOrigin origin, string name)
    {
        var thread = _loops![0];
        var device = thread.Loop.Invoke(() => origin.Begin([.. _sessions.Select(session => session.Session)], thread.Loop));
        device.Report = CommandRunner.Warn;
        return new NbdExport(name, device, thread.Loop, "live origin");
    }

    /// <summary>Says of the one export how it is attached. Throws where that can't be written down, for nobody could clean up after a crash then.</summary>
    public void NoteAttachment(Func<ServedExport, ServedExport> change)
    {
        if (_registration is null)
            RunDirectory.Open();
        _registration?.Update(0, change);
    }

    /// <summary>Standard output and error go to a file next to the record from here on.</summary>
    public void RedirectToLog()
    {
        Log.Drain();
        _registration?.RedirectToLog();
    }

    /// <summary>
    /// Stops serving, within <see cref="StopPatience"/>; throws <see cref="LincowException"/> when an overlay could not be flushed.
    /// <paramref name="report"/> is told so before, or null, while the control socket can still pass it on.
    /// </summary>
    public void Stop(Action<string?>? report = null)
    {
        var end = new ServeEnd(StopPatience);
        // First: whoever asks from here on would ask about something that is being taken apart.
        _registration?.StopAsking();
        // While we still listen there, nobody else can have bound the path.
        _sockets.ForEach(socket => socket.RemovePath());
        var stopped = _server is { } server ? _loops!.Front.Loop.StartUntilEnded(server.Stop) : Task.CompletedTask;
        var vhosts = _vhostServers.Select(each => (each.Loop, Ended: each.Loop.IsAbandoned ? Task.CompletedTask : each.Loop.StartUntilEnded(each.Server.Stop))).ToList();
        var failures = end.Run((_loops?.Devices ?? []).Select(thread => new EndingLoop(thread,
            Task.WhenAll([_server?.Drained(thread.Loop) ?? Task.CompletedTask, .. vhosts.Where(each => each.Loop == thread.Loop).Select(each => each.Ended)]),
            _liveOrigin, [.. _sessions.Where(session => session.Thread == thread)])));
        if (failures.Count == 0)
        {
            stopped.Wait(StopPatience);
            _tls?.WaitForPumps();
        }
        _liveOrigin?.Dispose();
        _liveOrigin = null;
        report?.Invoke(failures.Count > 0 ? string.Join("; ", failures) : null);
        _registration?.End();
        _sessions.Clear();
        if (_loops is not null)
            end.StopThreads([_loops.Front, .. _loops.Devices]);
        _loops = null;
        if (failures.Count > 0)
            throw new LincowException(string.Join("; ", failures));
    }

    private List<ServedExport> ServedExports(int count, IReadOnlyList<string> vhostPaths) => [.. _sessions.Select((session, index) => new ServedExport
    {
        Name = session.Session.Name,
        Overlay = session.Options.Overlay is { } overlay ? Path.GetFullPath(overlay) : null,
        Map = session.Options.Map is { } map ? Path.GetFullPath(map) : null,
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
        var socket = ListeningSocket.Bind(path);
        _sockets.Add(socket);
        return socket.Descriptor;
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
