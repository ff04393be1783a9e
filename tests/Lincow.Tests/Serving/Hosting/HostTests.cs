using Lincow.Operations;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;
using Lincow.Serving.Hosting;
using Lincow.Tests.Serving.Frontends.Nbd;

namespace Lincow.Tests.Serving.Hosting;

/// <summary>A host without the command line: exports come and go, and nobody else notices.</summary>
public sealed class HostTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_one_host_has_served_another_one_serves_again()
    {
        await using var hosted = new HostedOverlays();
        var export = await hosted.Host.AddAsync(hosted.Overlay("work"), Cancellation);
        Assert.Equal(("work", (long)HostedOverlays.Bytes, false), (export.Name, export.SizeBytes, export.IsReadOnly));
        Assert.Equal($"nbd+unix:///work?socket={hosted["socket"]}", hosted.Host.Listeners[0].UriOf(export));
        using (var client = hosted.Connect("work"))
        {
            Assert.Equal(0u, client.Write(8192, Pattern(1)));
            Assert.Equal(1, hosted.Host.ClientsOf(export));
        }
        await hosted.Host.StopAsync();
        Assert.True(OverlayDescription.Read(hosted["work.cow"], null, stop: TestContext.Current.CancellationToken).Clean);
        await using var next = new Host(new HostOptions { IsRegistered = false });
        await next.AddAsync(hosted.Overlay("work"), Cancellation);
        next.Listen(ListenAddress.AtPath(hosted["next"]));
        using var again = HostedOverlays.Connect(hosted["next"], "work")!;
        Assert.Equal(Pattern(1), again.Read(8192, 4096));
    }

    [Fact]
    public async Task Exports_come_and_go_while_others_are_under_load()
    {
        await using var hosted = new HostedOverlays();
        await hosted.Host.AddAsync(hosted.Overlay("first"), Cancellation);
        await hosted.Host.AddAsync(hosted.Overlay("second"), Cancellation);
        var loads = new[] { new Load(hosted.Connect("first")), new Load(hosted.Connect("second")) };
        for (var i = 0; i < 25; i++)
        {
            var before = loads.Select(load => load.Rounds).ToArray();
            var guest = await hosted.Host.AddAsync(hosted.Overlay("guest"), Cancellation);
            using (var client = hosted.Connect("guest"))
            {
                Assert.Equal(0u, client.Write((ulong)i * 4096, Pattern(i)));
                Assert.Equal(Pattern(i), client.Read((ulong)i * 4096, 4096));
                await hosted.Host.RemoveAsync(guest);
                Assert.True(client.IsClosedByPeer());
            }
            Assert.True(OverlayDescription.Read(hosted["guest.cow"], null, stop: TestContext.Current.CancellationToken).Clean);
            // Each goes on after it, and none was left out meanwhile.
            await Task.WhenAll(loads.Select((load, index) => load.Reaches(before[index] + 3)));
        }
        foreach (var load in loads)
            await load.EndAsync();
        Assert.Equal(["first", "second"], hosted.Host.Exports.Select(export => export.Name));
        Assert.Equal(25, OverlayDescription.Read(hosted["guest.cow"], null, stop: TestContext.Current.CancellationToken).Chunks.Data);
        Assert.Equal("", hosted.Messages);
    }

    [Fact]
    public async Task A_name_is_taken_once_and_who_comes_too_late_leaves_nothing_behind()
    {
        await using var hosted = new HostedOverlays();
        await hosted.Host.AddAsync(hosted.Overlay("work"), Cancellation);
        using var client = hosted.Connect("work");
        var refused = await Assert.ThrowsAsync<LincowException>(() =>
            hosted.Host.AddAsync(hosted.Overlay("other") with { Name = "work" }, Cancellation));
        Assert.Contains("two exports would be called 'work'", refused.Message);
        Assert.Throws<LincowException>(() =>
            hosted.Host.AddRange([hosted.Overlay("other"), hosted.Overlay("third") with { Name = "other" }]));
        Assert.Single(hosted.Host.Exports);
        Assert.Equal(0u, client.Write(0, Pattern(3)));
        // It is closed, and free for another name.
        Assert.True(OverlayDescription.Read(hosted["other.cow"], null, stop: TestContext.Current.CancellationToken).Clean);
        var other = await hosted.Host.AddAsync(hosted.Overlay("other"), Cancellation);
        await hosted.Host.RemoveAsync(other);
        await hosted.Host.AddAsync(hosted.Overlay("third") with { Name = "other" }, Cancellation);
    }

    [Fact]
    public async Task Removal_waits_for_requests_in_flight_and_ends_the_clients_of_that_export_alone()
    {
        using var origin = new GatedOrigin();
        await using var hosted = new HostedOverlays();
        await hosted.Host.AddAsync(HostedOverlays.Transient("other"), Cancellation);
        var gated = await hosted.Host.AddAsync(origin.Export, Cancellation);
        origin.Shut();
        using var other = hosted.Connect("other");
        using var client = hosted.Connect("gated");
        using var idle = hosted.Connect("gated");
        client.Send(client.Header(NbdCommand.Read, 0, 4096));
        await origin.Entered.WaitAsync(Cancellation);
        var removal = hosted.Host.RemoveAsync(gated);
        Assert.True(idle.IsClosedByPeer());
        Assert.False(hosted.IsFound("gated"));
        Assert.Equal(0u, other.Write(0, Pattern(4)));
        Assert.False(removal.IsCompleted);
        origin.Open();
        Assert.Equal(0u, client.SimpleReply());
        var content = new byte[4096];
        client.ReceiveExactly(content);
        Assert.Equal(GatedOrigin.Content, content);
        Assert.True(client.IsClosedByPeer());
        await removal.WaitAsync(TimeSpan.FromSeconds(20), Cancellation);
        Assert.True(origin.IsDisposed);
        Assert.Equal(Pattern(4), other.Read(0, 4096));
        await Assert.ThrowsAsync<LincowException>(() => hosted.Host.RemoveAsync(gated));
    }

    [Fact]
    public async Task A_removal_that_runs_out_of_time_says_so_and_may_be_asked_for_again()
    {
        await using var hosted = new HostedOverlays(stopSeconds: 0.2);
        var export = await hosted.Host.AddAsync(hosted.Overlay("work"), Cancellation);
        using var client = hosted.Connect("work");
        using var gate = new ManualResetEventSlim();
        export.Loop.Post(gate.Wait);
        Assert.Contains("stands still", (await Assert.ThrowsAsync<LincowException>(() => hosted.Host.RemoveAsync(export))).Message);
        gate.Set();
        Assert.True(client.IsClosedByPeer());
        // Its client is gone, and so there is time enough.
        await hosted.Host.RemoveAsync(export);
        Assert.True(OverlayDescription.Read(hosted["work.cow"], null, stop: Cancellation).Clean);
    }

    [Fact]
    public async Task An_export_over_an_origin_that_answers_no_more_is_removed_and_others_notice_nothing()
    {
        using var origin = new GatedOrigin();
        await using var hosted = new HostedOverlays(stopSeconds: 60);
        await hosted.Host.AddAsync(hosted.Overlay("other"), Cancellation);
        var gated = await hosted.Host.AddAsync(origin.Export, Cancellation);
        var load = new Load(hosted.Connect("other"));
        origin.Shut();
        using var client = hosted.Connect("gated");
        client.Send(client.Header(NbdCommand.Read, 0, 4096));
        await origin.Entered.WaitAsync(Cancellation);
        var before = load.Rounds;
        var removal = hosted.Host.RemoveAsync(gated);
        await load.Reaches(before + 3);
        // The origin's code never comes back, and the client has its answer all the same: EIO.
        Assert.Equal(5u, client.SimpleReply());
        Assert.True(client.IsClosedByPeer());
        await removal.WaitAsync(TimeSpan.FromSeconds(20), Cancellation);
        Assert.False(origin.IsDisposed);
        await load.EndAsync();
    }

    [Fact]
    public async Task An_origin_that_is_late_when_it_is_opened_holds_up_nobody_and_may_be_given_up()
    {
        using var origin = new LateOrigin();
        await using var hosted = new HostedOverlays();
        await hosted.Host.AddAsync(hosted.Overlay("other"), Cancellation);
        var load = new Load(hosted.Connect("other"));
        using var giveUp = new CancellationTokenSource();
        var unwanted = new LateOrigin();
        var (adding, given) = (hosted.Host.AddAsync(origin.Export, Cancellation), hosted.Host.AddAsync(unwanted.Export, giveUp.Token));
        await Task.WhenAll(origin.Asked, unwanted.Asked).WaitAsync(Cancellation);
        await load.Reaches(load.Rounds + 3);
        await hosted.Host.AddAsync(HostedOverlays.Transient("third"), Cancellation);
        giveUp.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => given);
        Assert.False(adding.IsCompleted);
        origin.Answer();
        await adding;
        using var client = hosted.Connect("late");
        Assert.Equal(new byte[4096], client.Read(0, 4096));
        await load.EndAsync();
        Assert.Equal(["other", "third", "late"], hosted.Host.Exports.Select(export => export.Name));
    }

    [Fact]
    public async Task A_client_that_had_chosen_an_export_when_it_was_removed_is_let_go()
    {
        await using var hosted = new HostedOverlays();
        var export = await hosted.Host.AddAsync(HostedOverlays.Transient("work"), Cancellation);
        // As it is between the two steps of a removal.
        export.IsEnding = true;
        using (var late = hosted.Connect("work"))
            Assert.True(late.IsClosedByPeer());
        await Assert.ThrowsAsync<LincowException>(() => hosted.Host.ResetAsync(export));
        await hosted.Host.RemoveAsync(export);
    }

    [Fact]
    public async Task An_error_on_one_loop_loses_its_exports_and_they_can_be_had_again()
    {
        await using var hosted = new HostedOverlays();
        var kept = await hosted.Host.AddAsync(hosted.Overlay("kept"), Cancellation);
        var lost = await hosted.Host.AddAsync(hosted.Overlay("lost"), Cancellation);
        Assert.SkipWhen(kept.Loop == lost.Loop, "needs two processors");
        using var keptClient = hosted.Connect("kept");
        using var lostClient = hosted.Connect("lost");
        Assert.Equal(0u, lostClient.Command(NbdCommand.Flush, 0, 0));
        lost.Loop.Post(() => throw new InvalidOperationException("broken on purpose"));
        Assert.True(lostClient.IsClosedByPeer());
        Assert.Equal(0u, keptClient.Write(0, Pattern(5)));
        Assert.Contains("ended it", lost.Counters.FailedBecause);
        Assert.Contains("broken on purpose", hosted.Messages);
        Assert.Contains("an error of lincow itself", (await Assert.ThrowsAsync<LincowException>(() => hosted.Host.RemoveAsync(lost)))
            .Message);
        Assert.Equal(["kept"], hosted.Host.Exports.Select(export => export.Name));
        // The process still has the lost overlay's lock, as it has its memory; another one takes its name.
        await hosted.Host.AddAsync(HostedOverlays.Transient("lost"), Cancellation);
        using var again = hosted.Connect("lost");
        Assert.Equal(0u, again.Write(0, Pattern(6)));
    }

    [Fact]
    public async Task A_reset_is_a_call()
    {
        await using var hosted = new HostedOverlays();
        var export = await hosted.Host.AddAsync(hosted.Overlay("work"), Cancellation);
        using var client = hosted.Connect("work");
        Assert.Equal(0u, client.Write(0, Pattern(7)));
        Assert.Equal(1, await hosted.Host.ResetAsync(export));
        Assert.Equal(new byte[4096], client.Read(0, 4096));
        Assert.Equal((1L, 1L), (export.Counters.Writes, export.Counters.Reads));
        using var pair = hosted.Connect("work");
        Assert.Equal(2, await hosted.Host.ResetAsync(export));
    }

    [Fact]
    public async Task A_live_origin_and_its_snapshots_are_on_one_loop_and_go_together()
    {
        await using var hosted = new HostedOverlays();
        var origin = hosted["disk.img"];
        File.WriteAllBytes(origin, new byte[HostedOverlays.Bytes]);
        string[] names = ["a", "b", "c"];
        foreach (var name in names)
            OverlayCreator.Create(new CreateOptions { Overlay = hosted[name + ".snap"], Origin = origin, Store = "snapshot" });
        var exports = await hosted.Host.AddLiveOriginAsync(new LiveOriginOptions
        {
            Origin = origin,
            Snapshots = [.. names.Select(name =>
                new ExportOptions { Overlay = new OverlayOptions { Overlay = hosted[name + ".snap"], Origin = origin,
                    OriginIsLive = true } })],
        }, Cancellation);
        Assert.Equal(["a", "b", "c", "disk"], exports.Select(export => export.Name));
        Assert.Single(exports.Select(export => export.Loop).Distinct());
        Assert.Equal(origin, exports[3].LiveOrigin);
        using (var live = hosted.Connect("disk"))
        using (var snapshot = hosted.Connect("c"))
        {
            Assert.Equal(0u, live.Write(0, Pattern(8)));
            Assert.Equal(new byte[4096], snapshot.Read(0, 4096));
            Assert.Equal(Pattern(8), live.Read(0, 4096));
            Assert.Equal((1L, 1L), (exports[3].Counters.Writes, exports[3].Counters.Reads));
        }
        Assert.Contains("remove 'disk'", (await Assert.ThrowsAsync<LincowException>(() => hosted.Host.RemoveAsync(exports[0]))).Message);
        await hosted.Host.RemoveAsync(exports[3]);
        Assert.Empty(hosted.Host.Exports);
        Assert.Equal(Pattern(8), File.ReadAllBytes(origin)[..4096]);
    }

    [Fact]
    public async Task A_listener_stops_and_its_clients_stay()
    {
        await using var hosted = new HostedOverlays();
        await hosted.Host.AddAsync(HostedOverlays.Transient("work"), Cancellation);
        var second = hosted.Host.Listen(new ListenAddress.Tcp("127.0.0.1", 0));
        Assert.NotEqual(0, Assert.IsType<ListenAddress.Tcp>(second.Address).Port);
        var path = hosted["third"];
        var third = hosted.Host.Listen(ListenAddress.AtPath(path));
        Assert.Contains("is in use", Assert.Throws<LincowException>(() => hosted.Host.Listen(ListenAddress.AtPath(path))).Message);
        using var client = HostedOverlays.Connect(path, "work")!;
        Assert.Equal(0u, client.Command(NbdCommand.Flush, 0, 0));
        await third.StopAsync();
        await second.StopAsync();
        Assert.Single(hosted.Host.Listeners);
        Assert.False(File.Exists(path));
        Assert.Equal(0u, client.Write(0, Pattern(9)));
        hosted.Host.Listen(ListenAddress.AtPath(path));
    }

    [Fact]
    public async Task A_host_that_has_stopped_takes_nothing_more()
    {
        await using var hosted = new HostedOverlays();
        await hosted.Host.StopAsync();
        await hosted.Host.StopAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => hosted.Host.AddAsync(HostedOverlays.Transient("late"), Cancellation));
        Assert.Throws<ObjectDisposedException>(() => hosted.Host.Listen(ListenAddress.AtPath(hosted["late"])));
        Assert.False(File.Exists(hosted["late"]));
    }

    private static byte[] Pattern(int seed)
    {
        var content = new byte[4096];
        new Random(seed).NextBytes(content);
        return content;
    }

    /// <summary>A client that writes and reads back without a pause, and remembers the first thing that goes wrong.</summary>
    private sealed class Load
    {
        private readonly NbdTestClient _client;
        private readonly Task _task;
        private readonly Lock _gate = new();
        private readonly List<(long Round, TaskCompletionSource Reached)> _awaited = [];
        private volatile bool _isEnding;
        private long _rounds;

        public Load(NbdTestClient client)
        {
            _client = client;
            _task = Task.Factory.StartNew(Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }

        public long Rounds => Interlocked.Read(ref _rounds);

        public async Task Reaches(long round)
        {
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (_gate)
                _awaited.Add((round, reached));
            // The load ends early only by failing.
            await await Task.WhenAny(reached.Task, _task).WaitAsync(TimeSpan.FromSeconds(20), Cancellation);
        }

        public async Task EndAsync()
        {
            _isEnding = true;
            await _task;
            _client.Dispose();
        }

        private void Run()
        {
            while (!_isEnding)
            {
                var round = Interlocked.Increment(ref _rounds);
                var (offset, content) = ((ulong)(round % 512) * 4096, Pattern((int)round));
                Assert.Equal(0u, _client.Write(offset, content));
                if (round % 16 == 0)
                    Assert.Equal(0u, _client.Command(NbdCommand.Flush, 0, 0));
                Assert.Equal(content, _client.Read(offset, 4096));
                lock (_gate)
                {
                    foreach (var (_, reached) in _awaited.Where(each => each.Round <= round))
                        reached.TrySetResult();
                    _awaited.RemoveAll(each => each.Round <= round);
                }
            }
        }
    }
}
