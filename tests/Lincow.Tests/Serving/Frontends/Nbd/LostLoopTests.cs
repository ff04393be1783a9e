using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Tests.Serving.Frontends.Nbd;

/// <summary>
/// Two devices on two loops, one of which meets an exception: what that does to the other's clients, and to the server's end.
/// </summary>
public sealed class LostLoopTests : IDisposable
{
    private readonly LoopThread _front = LoopThread.StartWithoutRing("front");
    private readonly LoopThread _bad, _good;
    private readonly OverlaySession _lost, _kept;
    private readonly NbdServer _server;
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lincow-{Guid.NewGuid():N}");
    private readonly TaskCompletionSource<Exception> _fault = new();

    public LostLoopTests()
    {
        _good = LoopThread.Start("good");
        _bad = LoopThread.Start("bad", (thread, exception) =>
        {
            _server!.LoseLoop(thread.Loop);
            _fault.SetResult(exception);
        });
        _lost = _bad.Loop.Invoke(() => OverlaySession.Open(new SessionOptions { Origin = "zero:1M" }, _bad.Loop));
        _kept = _good.Loop.Invoke(() => OverlaySession.Open(new SessionOptions { Origin = "zero:1M" }, _good.Loop));
        _server = new NbdServer(_front.Loop,
            new NbdExports([new NbdExport("lost", _lost.Device, _bad.Loop, ""), new NbdExport("kept", _kept.Device, _good.Loop, "")]), null,
            _ => { });
        var listener = LinuxSocket.ListenUnix(_path);
        _front.Loop.Invoke(() => _server.Listen(listener));
    }

    [Fact]
    public async Task An_exception_on_one_loop_ends_its_connections_and_nobody_elses()
    {
        using var lost = Connect("lost");
        using var kept = Connect("kept");
        Assert.Equal(0u, lost.Write(0, new byte[4096]));
        Assert.Equal(0u, kept.Write(0, new byte[4096]));
        await Break();
        Assert.True(lost.IsClosedByPeer());
        Assert.Equal(0u, kept.Write(4096, new byte[4096]));
        using var another = Connect("kept");
        Assert.Equal(0u, another.Command(NbdCommand.Flush, 0, 0));
        // Who comes later is not left waiting either.
        using var late = Connect("lost");
        Assert.True(late.IsClosedByPeer());
    }

    [Fact]
    public async Task A_server_that_lost_a_loop_ends_in_order()
    {
        using var lost = Connect("lost");
        using var kept = Connect("kept");
        Assert.Equal(0u, kept.Write(0, new byte[4096]));
        await Break();
        await _front.Loop.StartUntilEnded(_server.Stop).WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        await Task.WhenAll(_server.Drained(_bad.Loop), _server.Drained(_good.Loop))
            .WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        Assert.Equal(0, _server.ConnectionCount);
    }

    [Fact]
    public async Task A_loop_whose_clients_stand_still_keeps_no_other_from_being_drained()
    {
        using var kept = Connect("kept");
        using var standing = Connect("lost");
        using var goOn = new ManualResetEventSlim();
        _bad.Loop.Post(() => goOn.Wait(TestContext.Current.CancellationToken));
        var stopped = _front.Loop.StartUntilEnded(_server.Stop);
        await _server.Drained(_good.Loop).WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        Assert.False(_server.Drained(_bad.Loop).IsCompleted);
        Assert.False(stopped.IsCompleted);
        goOn.Set();
        await stopped.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
    }

    public void Dispose()
    {
        if (!_server.Drained(_good.Loop).IsCompleted)
            _front.Loop.InvokeUntilEnded(_server.Stop);
        foreach (var (thread, session) in new[] { (_good, _kept), (_bad, _lost) })
        {
            if (thread.Loop.IsAbandoned)
                continue;
            thread.Loop.Invoke(session.Close);
            thread.Stop();
        }
        _front.Stop();
        File.Delete(_path);
    }

    private async Task Break()
    {
        _bad.Loop.Post(() => throw new InvalidOperationException("broken on purpose"));
        Assert.Equal("broken on purpose",
            (await _fault.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken)).Message);
        Assert.True(_bad.Loop.IsAbandoned);
    }

    private NbdTestClient Connect(string export)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 20_000 };
        socket.Connect(new UnixDomainSocketEndPoint(_path));
        var client = new NbdTestClient(socket, structured: false, extended: false);
        client.ReceiveExactly(new byte[18]);
        var option = new byte[20];
        option[3] = 3;
        "IHAVEOPT"u8.CopyTo(option.AsSpan(4));
        BinaryPrimitives.WriteUInt32BigEndian(option.AsSpan(12), 1);
        BinaryPrimitives.WriteUInt32BigEndian(option.AsSpan(16), (uint)export.Length);
        client.Send([.. option, .. Encoding.UTF8.GetBytes(export)]);
        client.ReceiveExactly(new byte[10]);
        return client;
    }
}
