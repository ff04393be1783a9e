using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>One writer an overlay; readers and origins are shared.</summary>
public class SharingTests
{
    [Fact]
    public void A_second_writer_is_refused_and_told_who_the_first_is()
    {
        using var served = new ServedOverlay();
        var error = Cli.Fails("serve", served.Overlay, "--nbd", "unix:" + served.Scratch.NewSocket());
        Assert.Contains($"process {served.Server.Id}", error);
        Assert.Contains(served.Overlay, error);
        Nbd.QemuIo(served.Uri, "write -P 5 0 4k", "read -P 5 0 4k");
        served.Stop();
    }

    [Fact]
    public void A_second_writer_of_a_separate_map_overlay_is_refused()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.img"], "--origin", "zero:4M", "--map", scratch["o.map"]);
        using var server = LincowServer.Start(scratch, scratch["o.img"]);
        Assert.Contains($"process {server.Id}", Cli.Fails("serve", scratch["o.img"], "--nbd", "unix:" + scratch.NewSocket()));
        Assert.Contains($"process {server.Id}", Cli.Fails("check", scratch["o.img"], "--repair"));
        server.Stop();
    }

    [Fact]
    public void A_reader_is_refused_while_somebody_writes_and_a_writer_while_somebody_reads()
    {
        using var served = new ServedOverlay();
        Assert.Contains($"process {served.Server.Id}",
            Cli.Fails("serve", served.Overlay, "--read-only", "--nbd", "unix:" + served.Scratch.NewSocket()));
        served.Stop();
        served.Start("--read-only");
        Assert.Contains($"process {served.Server.Id}", Cli.Fails("serve", served.Overlay, "--nbd", "unix:" + served.Scratch.NewSocket()));
        served.Stop();
    }

    [Fact]
    public void Two_read_only_servers_serve_one_overlay()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 0x66 123 456");
        served.Stop();
        served.Start("--read-only");
        using var second = LincowServer.Start(served.Scratch, served.Overlay, "--read-only");
        Nbd.QemuIoReadOnly(served.Uri, "read -P 0x66 123 456");
        Nbd.QemuIoReadOnly(second.Uri, "read -P 0x66 123 456");
        second.Stop();
        served.Stop();
        Assert.True(Cli.Info(served.Overlay).Clean);
    }

    [Fact]
    public void Several_overlays_share_an_origin()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        var servers = new List<LincowServer>();
        try
        {
            for (var i = 0; i < 3; i++)
            {
                Cli.Ok("create", scratch[$"{i}.cow"], "--origin", origin);
                servers.Add(LincowServer.Start(scratch, scratch[$"{i}.cow"]));
                Nbd.QemuIo(servers[i].Uri, $"write -P {i + 1} 4096 8192");
            }
            for (var i = 0; i < 3; i++)
                Nbd.QemuIo(servers[i].Uri, $"read -P {i + 1} 4096 8192");
            servers.ForEach(server => server.Stop());
        }
        finally
        {
            servers.ForEach(server => server.Dispose());
        }
        Assert.Equal(Scratch.RandomBytes(1 << 20, 1), File.ReadAllBytes(origin));
    }

    [Fact]
    public void An_overlay_that_is_being_written_can_not_be_an_origin()
    {
        using var served = new ServedOverlay();
        var error = Cli.Fails("create", served.Scratch["second.cow"], "--origin", served.Overlay);
        Assert.Contains(served.Overlay, error);
        Assert.Contains($"process {served.Server.Id}", error);
        Assert.False(File.Exists(served.Scratch["second.cow"]), "nothing was made");
        served.Stop();
    }

    [Fact]
    public void An_overlay_that_serves_as_origin_can_not_be_written()
    {
        using var scratch = new Scratch();
        // The data of a separate-map overlay is a raw image once all is copied, so whoever says so can lay it below another overlay.
        Cli.Ok("create", scratch["a.img"], "--origin", "zero:1M", "--map", scratch["a.map"]);
        Assert.Contains("raw:" + scratch["a.img"], Cli.Fails("create", scratch["b.cow"], "--origin", scratch["a.img"]));
        Cli.Ok("create", scratch["b.cow"], "--origin", "raw:" + scratch["a.img"]);
        using var upper = LincowServer.Start(scratch, scratch["b.cow"]);
        Assert.Contains(scratch["a.img"], Cli.Fails("serve", scratch["a.img"], "--nbd", "unix:" + scratch.NewSocket()));
        upper.Stop();
    }

    [Fact]
    public void Info_and_map_look_at_a_served_overlay_as_of_its_last_flush()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 5 0 8k", "flush");
        var facts = Cli.Info(served.Overlay);
        Assert.Equal((2L, false), (facts.Chunks.Data, facts.Clean));
        Assert.Contains(Cli.Map(served.Overlay), range => range is { Start: 0, Length: 8192, Depth: 0, Data: true });
        Assert.Contains($"process {served.Server.Id}", Cli.Ok("info", served.Overlay));
        served.Stop();
    }

    [Fact]
    public void The_lock_ends_with_kill_9()
    {
        using var served = new ServedOverlay();
        served.Kill();
        served.Start();
        Nbd.QemuIo(served.Uri, "write -P 1 0 4k");
        served.Stop();
        Assert.True(Cli.Info(served.Overlay).Clean);
    }

    [Fact]
    public void Interrupt_stops_as_cleanly_as_terminate()
    {
        using var served = new ServedOverlay();
        Nbd.QemuIo(served.Uri, "write -P 1 0 4k");
        served.Server.StopByInterrupt();
        var facts = Cli.Info(served.Overlay);
        Assert.Equal((true, 1L), (facts.Clean, facts.Chunks.Data));
    }
}
