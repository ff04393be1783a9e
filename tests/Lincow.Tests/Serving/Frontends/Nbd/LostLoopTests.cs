using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;
using Lincow.Tests.Serving.Hosting;

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
    private readonly Acceptor _acceptor;
    private readonly Export _lostExport, _keptExport;
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"lincow-{Guid.NewGuid():N}");
    private readonly TaskCompletionSource<Exception> _fault = new();
    private Task? _stopped;

    public LostLoopTests()
    {
        _good = LoopThread.Start("good");
        _bad = LoopThread.Start("bad", (thread, exception) =>
        {
            _server!.LoseLoop(thread.Loop);
            _fault.SetResult(exception);
        });
        _lost = _bad.Loop.Invoke(() => OverlaySession.Open(new OverlayOptions { Origin = "zero:1M" }, _bad.Loop));
        _kept = _good.Loop.Invoke(() => OverlaySession.Open(new OverlayOptions { Origin = "zero:1M" }, _good.Loop));
        (_lostExport, _keptExport) = (new Export("lost", _lost.Device, _bad.Loop), new Export("kept", _kept.Device, _good.Loop));
        _server = new NbdServer(_front.Loop, new ExportTable(_lostExport, _keptExport), _ => { });
        _acceptor = new Acceptor(_front.Loop, LinuxSocket.ListenUnix(_path), Take, _ => { });
        _front.Loop.Invoke(_acceptor.Resume);
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
        await StopAsync().WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        await Task.WhenAll(_server.EndAsync(_lostExport), _server.EndAsync(_keptExport))
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
        var stopped = StopAsync();
        await _server.EndAsync(_keptExport).WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        Assert.False(_server.EndAsync(_lostExport).IsCompleted);
        Assert.False(stopped.IsCompleted);
        goOn.Set();
        await stopped.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
    }

    public void Dispose()
    {
        StopAsync().Wait(TestContext.Current.CancellationToken);
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

    private bool Take(int socket)
    {
        _server.Take(socket, null);
        return true;
    }

    private Task StopAsync() => _stopped ??= StopOnceAsync();

    private async Task StopOnceAsync()
    {
        await _front.Loop.StartUntilEnded(_acceptor.Stop);
        await _front.Loop.StartUntilEnded(_server.Stop);
    }

    private async Task Break()
    {
        _bad.Loop.Post(() => throw new InvalidOperationException("broken on purpose"));
        Assert.Equal("broken on purpose",
            (await _fault.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken)).Message);
        Assert.True(_bad.Loop.IsAbandoned);
    }

    private NbdTestClient Connect(string export) => HostedOverlays.Connect(_path, export)!;
}
