using Lincow.Device;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.VhostUser;

namespace Lincow.Tests.Serving.Frontends.VhostUser;

/// <summary>A disk for guests in this process; its second quarter is a hole.</summary>
internal sealed class VhostTestServer : OverlayOnLoop
{
    public const int DiskBytes = 4 << 20;

    private readonly Export _export;
    private readonly CountdownEvent _open = new(1);
    private readonly List<string> _messages = [];
    private readonly List<VhostSession> _sessions = [];

    public VhostTestServer(string loop, bool isReadOnly = false, string store = "linear",
        Func<IoLoop, BlockDevice>? device = null)
        : base(loop, DiskBytes, hole: (1 << 20)..(2 << 20), isReadOnly, store) =>
        _export = new Export("a disk with a long name", device?.Invoke(Loop) ?? Session.Device, Loop);

    public string Messages
    {
        get
        {
            lock (_messages)
                return string.Join('\n', _messages);
        }
    }

    /// <summary>A socket to a back end of its own.</summary>
    public int Connect()
    {
        var (server, client) = LinuxSocket.Pair();
        _open.AddCount();
        Loop.Invoke(() =>
        {
            var session = VhostSession.TryOpen(_export, server, Log, () => _open.Signal())!;
            _sessions.Add(session);
            session.Start();
        });
        return client;
    }

    /// <summary>Ends all connections as SIGTERM does.</summary>
    public void EndSessions() => Loop.Invoke(() => _sessions.ForEach(session => session.End()));

    public override void Dispose()
    {
        _open.Signal();
        Assert.True(_open.Wait(20_000), $"a connection did not end\n{Messages}");
        base.Dispose();
        _open.Dispose();
    }

    private void Log(string message)
    {
        lock (_messages)
            _messages.Add(message);
    }
}
