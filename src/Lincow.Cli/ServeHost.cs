using System.Net;
using System.Net.Sockets;
using Lincow.Frontends.Nbd;
using Lincow.Linux;
using Lincow.Overlays;

namespace Lincow.Cli;

/// <summary>Where to listen: a Unix socket or a TCP address.</summary>
internal abstract record ListenAddress
{
    public sealed record Unix(string Path) : ListenAddress;

    public sealed record Tcp(string Host, int Port) : ListenAddress;

    /// <summary>Parses unix:PATH and tcp:HOST:PORT (tcp:[::1]:10809 for IPv6, tcp:PORT for the loopback).</summary>
    public static ListenAddress Parse(string text)
    {
        if (text.StartsWith("unix:", StringComparison.Ordinal) && text.Length > 5)
        {
            var path = System.IO.Path.GetFullPath(text[5..]);
            var bytes = System.Text.Encoding.UTF8.GetByteCount(path);
            if (bytes > LinuxSocket.MaxUnixPathBytes)
                throw new LincowException($"{path}: a Unix socket's path has at most {LinuxSocket.MaxUnixPathBytes} bytes, and this one has {bytes}. Use a shorter one, for example in /run or /tmp");
            return new Unix(path);
        }
        if (text.StartsWith("tcp:", StringComparison.Ordinal))
        {
            var rest = text[4..];
            var colon = rest.LastIndexOf(':');
            var host = colon < 0 ? "127.0.0.1" : rest[..colon].Trim('[', ']');
            if (ushort.TryParse(rest[(colon + 1)..], out var port))
                return new Tcp(host.Length == 0 ? "0.0.0.0" : host, port);
        }
        throw new UsageException($"--nbd '{text}': write unix:PATH or tcp:HOST:PORT");
    }
}

/// <summary>
/// Opens overlays, spreads them over loops (one a core), and serves them over NBD until stopped. The order of things: overlays are open before
/// anything listens; at the end nothing is accepted, what is in flight is answered, overlays are flushed and closed, loops end.
/// </summary>
internal sealed class ServeHost
{
    private readonly List<LoopThread> _threads = [];
    private readonly List<(LoopThread Thread, OverlaySession Session)> _sessions = [];
    private readonly List<string> _socketPaths = [];
    private NbdServer? _server;
    private TlsSettings? _tls;

    /// <summary>Where clients connect: one for each export and address.</summary>
    public List<string> Uris { get; } = [];

    /// <summary>Requests that all devices have had.</summary>
    public long RequestCount => _sessions.Sum(session => session.Session.Device.RequestCount);

    public void Start(IReadOnlyList<SessionOptions> overlays, IReadOnlyList<string> names, IReadOnlyList<ListenAddress> addresses, TlsSettings? tls)
    {
        try
        {
            var loops = Math.Min(overlays.Count, Environment.ProcessorCount);
            for (var i = 0; i < loops; i++)
                _threads.Add(LoopThread.Start($"lincow-loop-{i}"));
            if (_threads[0].WhyNotUring is { } reason)
                CommandRunner.Warn(reason);
            var exports = new List<NbdExport>();
            for (var i = 0; i < overlays.Count; i++)
            {
                var thread = _threads[i % loops];
                var options = overlays[i];
                var session = thread.Loop.Invoke(() => OverlaySession.Open(options, thread.Loop));
                session.Report = CommandRunner.Warn;
                _sessions.Add((thread, session));
                var name = i < names.Count ? names[i] : session.Name;
                if (exports.Any(export => export.Name == name))
                    throw new LincowException($"two exports would be called '{name}'. Give each a name with --name, in the order of the overlays");
                exports.Add(new NbdExport(name, session.Device, thread.Loop, options.Overlay ?? "transient over " + options.Origin));
            }
            var listeners = addresses.Select(address => Listen(address, exports, tls is not null)).ToList();
            _tls = tls;
            var server = _server = new NbdServer(_threads[0].Loop, new NbdExports(exports), tls, CommandRunner.Warn);
            _threads[0].Loop.Invoke(() =>
            {
                listeners.ForEach(server.Listen);
                return true;
            });
            foreach (var (thread, session) in _sessions)
                thread.Loop.Post(session.StartReclaiming);
        }
        catch
        {
            Stop();
            throw;
        }
    }

    /// <summary>Stops serving; throws <see cref="LincowException"/> when an overlay could not be flushed.</summary>
    public void Stop()
    {
        if (_server is not null)
        {
            using var stopped = new ManualResetEventSlim();
            _threads[0].Loop.Post(() => _server.Stop(stopped.Set));
            stopped.Wait();
            _tls?.WaitForPumps();
        }
        // Now: a successor may bind the same path as soon as nobody listens.
        _socketPaths.ForEach(File.Delete);
        var failures = new List<string>();
        foreach (var (thread, session) in _sessions)
        {
            try
            {
                thread.Loop.Invoke(() =>
                {
                    session.Close();
                    return true;
                });
            }
            catch (LincowException e)
            {
                failures.Add(e.Message);
            }
        }
        _sessions.Clear();
        _threads.ForEach(thread => thread.Stop());
        if (failures.Count > 0)
            throw new LincowException(string.Join("; ", failures));
    }

    private int Listen(ListenAddress address, List<NbdExport> exports, bool tls)
    {
        var scheme = tls ? "nbds" : "nbd";
        try
        {
            switch (address)
            {
                case ListenAddress.Unix(var path):
                    var descriptor = LinuxSocket.ListenUnix(path);
                    _socketPaths.Add(path);
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
        }
        catch (LinuxException e) when (e.Errno == Errno.AddressInUse)
        {
            throw new LincowException($"{e.Subject}: is in use: another server listens there. Give another address with --nbd, or stop that server", e);
        }
        catch (LinuxException e) when (e.Errno == Errno.Exists)
        {
            throw new LincowException($"{e.Subject}: exists and is not a socket, so nothing can listen there. Give another path with --nbd", e);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{e.Subject}: can't be listened on: {e.Reason}", e);
        }
        catch (SocketException e)
        {
            throw new LincowException($"--nbd: {e.Message}", e);
        }
    }

    private static string EscapePath(string path) => string.Join('/', path.Split('/').Select(Uri.EscapeDataString));
}

/// <summary>A thread that runs one loop.</summary>
internal sealed class LoopThread
{
    private readonly Thread _thread;

    private LoopThread(Thread thread, IoLoop loop, string? whyNotUring) => (_thread, Loop, WhyNotUring) = (thread, loop, whyNotUring);

    public IoLoop Loop { get; }

    public string? WhyNotUring { get; }

    public static LoopThread Start(string name)
    {
        var made = new TaskCompletionSource<(IoLoop, string?)>(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() => Run(made)) { Name = name, IsBackground = true };
        thread.Start();
        var (loop, reason) = made.Task.GetAwaiter().GetResult();
        return new LoopThread(thread, loop, reason);
    }

    public void Stop()
    {
        Loop.Post(Loop.Stop);
        _thread.Join();
    }

    private static void Run(TaskCompletionSource<(IoLoop, string?)> made)
    {
        IoLoop loop;
        try
        {
            loop = IoLoop.Create(out var reason);
            made.SetResult((loop, reason));
        }
        catch (Exception e)
        {
            made.SetException(e);
            return;
        }
        try
        {
            loop.Run();
        }
        catch (Exception e)
        {
            // Half a turn's state can't be trusted: what is on disk can, so stop here and now.
            Environment.FailFast($"lincow: the event loop failed: {e}");
        }
        loop.Dispose();
    }
}
