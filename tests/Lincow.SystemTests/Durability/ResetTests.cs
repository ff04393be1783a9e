using System.Diagnostics;
using System.Net.Sockets;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>Back to the origin.</summary>
public class ResetTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Reset_brings_back_the_origin_and_the_space(bool isSeparate)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 8 << 20);
        var overlay = scratch["o.cow"];
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        Cli.Ok(["create", overlay, "--origin", origin, .. separate]);
        Write(scratch, overlay, "write -P 0x77 0 6M", "discard 7M 1M");
        var before = Cli.Info(overlay);
        Assert.Equal((6 << 20) / 4096, before.Chunks.Data);
        Assert.True(Scratch.DiskUsage(overlay) >= 6 << 20);

        Cli.Ok("reset", overlay);

        var after = Cli.Info(overlay);
        Assert.Equal((before.Generation + 1, true, before.Uuid), (after.Generation, after.Clean, after.Uuid));
        Assert.Equal((0L, 0L, after.Chunks.Total), (after.Chunks.Data, after.Chunks.Zero, after.Chunks.Origin));
        Assert.InRange(Scratch.DiskUsage(overlay), 0, 256 << 10);
        using (var server = LincowServer.Start(scratch, overlay))
        {
            Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", origin, server.Uri);
            server.Stop();
        }
        Assert.Empty(Cli.Check(overlay).Findings);
    }

    [Fact]
    public void What_is_written_after_a_reset_stays_and_what_was_before_does_not()
    {
        const int seed = 31;
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 2 << 20, seed);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        DeviceModel model = null!;
        for (var generation = 0; generation < 4; generation++)
        {
            model = new DeviceModel(File.ReadAllBytes(origin), seed + generation);
            using var server = LincowServer.Start(scratch, scratch["o.cow"]);
            model.AssertDeviceEquals(scratch, server.Uri);
            model.AddRandomOperations(80, 4096);
            model.Play(scratch, server.Uri);
            server.Stop();
            Assert.Equal((ulong)generation + 1, Cli.Info(scratch["o.cow"]).Generation);
            if (generation < 3)
                Cli.Ok("reset", scratch["o.cow"]);
        }
        using var last = LincowServer.Start(scratch, scratch["o.cow"]);
        model.AssertDeviceEquals(scratch, last.Uri);
        last.Stop();
    }

    [Fact]
    public void Reset_after_kill_9_leaves_a_clean_overlay()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 1 0 1M", "flush", "write -P 2 1M 1M");
        served.Kill();
        Assert.False(Cli.Info(served.Overlay).Clean);
        Cli.Ok("reset", served.Overlay);
        Assert.True(Cli.Info(served.Overlay).Clean);
        served.Start();
        Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", served.Origin, served.Uri);
        served.Stop();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Reset_of_a_served_overlay_brings_back_the_origin_and_the_space(bool isKilled)
    {
        using var served = new ServedOverlay();
        for (var round = 1; round <= 3; round++)
        {
            Nbd.QemuIo(served.Uri, "write -P 9 0 3M", "discard 3M 512k", "flush", "write -P 10 64k 64k");
            Cli.Ok("reset", served.Overlay);
            Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", served.Origin, served.Uri);
            Assert.Equal((ulong)round + 1, Cli.Info(served.Overlay).Generation);
        }
        Nbd.QemuIo(served.Uri, "write -P 11 1M 64k", "flush");
        if (isKilled)
            served.Kill();
        else
            served.Stop();
        Assert.Equal(!isKilled, Cli.Info(served.Overlay).Clean);
        Assert.Equal((64 << 10) / 4096, Cli.Info(served.Overlay).Chunks.Data);
        Assert.Empty(Cli.Check(served.Overlay).Findings);
        if (!isKilled)
            Assert.InRange(Scratch.DiskUsage(served.Overlay), 64 << 10, 256 << 10);
        served.Start();
        Nbd.QemuIo(served.Uri, "read -P 11 1M 64k");
        served.Stop();
    }

    [Fact]
    public async Task Clients_at_work_notice_nothing_of_a_reset_but_the_content()
    {
        using var served = new ServedOverlay();
        var writer = Task.Run(() => Nbd.Script("""
            import random
            random.seed(7)
            h = connect(sys.argv[1])
            data = nbd.Buffer.from_bytearray(bytearray(b'\x77' * 65536))
            end = time.time() + 3
            cookies = []
            while time.time() < end:
                offset = random.randrange(0, (h.get_size() - 65536) // 512) * 512
                kinds = [lambda: h.aio_pwrite(data, offset), lambda: h.aio_flush(), lambda: h.aio_trim(4096, offset)]
                cookies.append(random.choice(kinds)())
                if len(cookies) == 32:
                    drain(h, cookies)
            drain(h, cookies)
            h.shutdown()
            """, served.Uri), TestContext.Current.CancellationToken);
        var resets = 0;
        for (; !writer.IsCompleted; resets++)
            Cli.Ok("reset", served.Overlay);
        await writer;
        Assert.InRange(resets, 3, int.MaxValue);
        var (device, origin) = (Nbd.ReadAll(served.Scratch, served.Uri), served.OriginContent);
        var (written, zero) = (Enumerable.Repeat((byte)0x77, 512).ToArray(), new byte[512]);
        for (var sector = 0; sector < device.Length; sector += 512)
        {
            var content = device.AsSpan(sector, 512);
            Assert.True(content.SequenceEqual(origin.AsSpan(sector, 512)) || content.SequenceEqual(written)
                || content.SequenceEqual(zero), $"the sector at byte {sector} holds what nobody put there");
        }
        served.Stop();
        Assert.Equal((ulong)resets + 1, Cli.Info(served.Overlay).Generation);
        Assert.Empty(Cli.Check(served.Overlay).Findings);
    }

    [Fact]
    public void Reset_is_refused_where_the_server_can_not_be_found_and_says_who_it_is()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 9 0 64k");
        var error = Cli.Error(Tool.Run(Cli.Binary, ["reset", served.Overlay], new() { ["LINCOW_RUN_DIR"] = served.Scratch["elsewhere"] }),
            Cli.Failed);
        Assert.Contains($"process {served.Server.Id}", error);
        Assert.Contains(served.Overlay, error);
        Nbd.QemuIo(served.Uri, "read -P 9 0 64k");
        served.Stop();
        Assert.Equal(1UL, Cli.Info(served.Overlay).Generation);
    }

    [Fact]
    public void Reset_takes_no_longer_however_much_the_overlay_holds()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4G");
        Write(scratch, scratch["o.cow"], [.. Enumerable.Range(0, 64).Select(i => $"write -P {i + 1} {i * 64}M 4M")]);
        Assert.Equal(64 * 1024, Cli.Info(scratch["o.cow"]).Chunks.Data);
        var clock = Stopwatch.StartNew();
        Cli.Ok("reset", scratch["o.cow"]);
        // 200 ms may go into giving back space here; what is left is done while it is next served. The rest is for a busy machine.
        Assert.True(clock.ElapsedMilliseconds < 3000, $"reset took {clock.ElapsedMilliseconds} ms");
        Assert.Equal(0, Cli.Info(scratch["o.cow"]).Chunks.Data);
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        Nbd.QemuIo(server.Uri, "read -P 0 0 4M", "read -P 0 4032M 4M");
        Assert.True(SpinWait.SpinUntil(() => Scratch.DiskUsage(scratch["o.cow"]) < 1 << 20, TimeSpan.FromSeconds(20)),
            "the space comes back in the background");
        server.Stop();
    }

    [Fact]
    public void Clients_of_NBD_are_told_of_and_a_virtual_machine_keeps_a_reset_from_happening()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        Write(scratch, scratch["o.cow"], "write -P 1 0 64k");
        var (nbd, vhost) = (scratch.NewSocket(), scratch.NewSocket());
        using var server = LincowServer.Start([scratch["o.cow"], "--nbd", "unix:" + nbd, "--vhost-user", vhost], readyLines: 2);
        using (var machine = Connect(vhost))
        {
            // It is accepted when it is answered: GET_FEATURES of vhost-user.
            machine.Send([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            Assert.Equal(20, machine.Receive(new byte[20]));
            Assert.Contains("a virtual machine is connected", Cli.Fails("reset", scratch["o.cow"]));
            Nbd.QemuIo(server.Uri, "read -P 1 0 64k");
            Cli.Ok("reset", scratch["o.cow"], "--force");
        }
        using (var client = RawClient.Ready(server.Uri))
        {
            client.Send(RawClient.Request(RawClient.Flush, 1, 0, 0));
            client.Receive(16);
            var result = Cli.Run("reset", scratch["o.cow"]);
            Assert.True(result.ExitCode == 0, result.ToString());
            Assert.Contains("NBD clients are connected (1)", result.Errors);
        }
        Assert.Equal(3UL, Cli.Info(scratch["o.cow"]).Generation);
        server.Stop();
    }

    private static Socket Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static void Write(Scratch scratch, string overlay, params string[] commands)
    {
        using var server = LincowServer.Start(scratch, overlay);
        Nbd.QemuIo(server.Uri, commands);
        server.Stop();
    }
}
