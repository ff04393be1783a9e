using Lincow.Frontends.VhostUser;
using Lincow.Linux;
using Lincow.Overlays;
using Lincow.Tests.Linux;

namespace Lincow.Tests.VhostUser;

/// <summary>A transient overlay over a random image, on a loop with a thread of its own, for guests in this process.</summary>
internal sealed class VhostTestServer : IDisposable
{
    public const int DiskBytes = 4 << 20;

    private readonly Thread _thread;
    private readonly IoLoop _loop;
    private readonly OverlaySession _session;
    private readonly VhostExport _export;
    private readonly string _origin = Path.GetTempFileName();
    private readonly CountdownEvent _open = new(1);
    private readonly List<string> _messages = [];
    private readonly List<VhostSession> _sessions = [];

    public VhostTestServer(string loop, bool isReadOnly = false, StoreKind store = StoreKind.Linear)
    {
        Content = new byte[DiskBytes];
        new Random(8).NextBytes(Content);
        Content.AsSpan(1 << 20, 1 << 20).Clear();
        using (var file = File.OpenWrite(_origin))
        {
            file.Write(Content.AsSpan(0, 1 << 20));
            file.Position = 2 << 20;
            file.Write(Content.AsSpan(2 << 20));
        }
        (_thread, _loop) = TestLoop.Start(loop);
        _session = _loop.Invoke(() => OverlaySession.Open(new SessionOptions { Origin = _origin, ReadOnly = isReadOnly, Store = store }, _loop));
        _export = new VhostExport("a disk with a long name", _session.Device, _loop, 1);
    }

    /// <summary>What the disk holds at first.</summary>
    public byte[] Content { get; }

    public string Messages
    {
        get
        {
            lock (_messages)
                return string.Join('\n', _messages);
        }
    }

    public long RentedBytes => _loop.Invoke(() => _loop.Buffers.RentedBytes);

    /// <summary>Bytes that the loop's thread has allocated in its life.</summary>
    public long AllocatedBytes() => _loop.Invoke(GC.GetAllocatedBytesForCurrentThread);

    /// <summary>A socket to a back end of its own.</summary>
    public int Connect()
    {
        var (server, client) = LinuxSocket.Pair();
        _open.AddCount();
        _loop.Invoke(() =>
        {
            VhostSession? session = null;
            session = new VhostSession(_export, server, Log, () => _open.Signal());
            _sessions.Add(session);
            session.Start();
            return true;
        });
        return client;
    }

    /// <summary>Ends all connections as SIGTERM does.</summary>
    public void EndSessions() => _loop.Invoke(() =>
    {
        _sessions.ForEach(session => session.End());
        return true;
    });

    public void Dispose()
    {
        _open.Signal();
        Assert.True(_open.Wait(20_000), $"a connection did not end\n{Messages}");
        _loop.Invoke(() =>
        {
            _session.Close();
            _loop.Stop();
            return true;
        });
        _thread.Join();
        File.Delete(_origin);
        _open.Dispose();
    }

    private void Log(string message)
    {
        lock (_messages)
            _messages.Add(message);
    }
}
