using System.Diagnostics;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Sparse;

/// <summary>Nothing takes space or time that doesn't hold anything.</summary>
public class SparseTests
{
    [Fact]
    public void An_origin_of_nothing_reads_zeroes_and_takes_writes()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:8M");
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            Nbd.QemuIo(server.Uri, "read -P 0 0 8M", "write -P 0x44 1000 5000", "read -P 0 0 1000", "read -P 0x44 1000 5000",
                "read -P 0 6000 8382608");
            server.Stop();
        }
        var facts = Cli.Info(scratch["o.cow"]);
        Assert.Equal(("zero:8M", true), (facts.Origin.Uri, facts.Origin.Present));
        Assert.Equal(2, facts.Chunks.Data);
    }

    [Fact]
    public void A_device_larger_than_its_origin_reads_zeroes_beyond_it()
    {
        using var scratch = new Scratch();
        // The origin ends within a chunk.
        var origin = scratch.Random("origin.img", (1 << 20) + 700);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin, "--size", "3M");
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        byte[] expected = [.. File.ReadAllBytes(origin), .. new byte[(2 << 20) - 700]];
        Assert.Equal(expected, Nbd.ReadAll(scratch, server.Uri));
        // Copy-up across the origin's end.
        Nbd.QemuIo(server.Uri, $"write -P 0x11 {(1 << 20) + 600} 200", "write -P 0x12 2M 1");
        expected.AsSpan((1 << 20) + 600, 200).Fill(0x11);
        expected[2 << 20] = 0x12;
        Assert.Equal(expected, Nbd.ReadAll(scratch, server.Uri));
        server.Stop();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_overlay_takes_the_space_of_what_was_written_and_little_more(bool isSeparate)
    {
        using var scratch = new Scratch();
        var overlay = scratch["o.cow"];
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        Cli.Ok(["create", overlay, "--origin", "zero:1T", .. separate]);
        Assert.InRange(Scratch.DiskUsage(overlay), 0, 64 << 10);
        using (var server = LincowServer.Start(scratch, overlay))
        {
            Nbd.QemuIo(server.Uri, "write -P 1 0 1M", "write -P 2 500G 1M", "write -P 3 1023G 1M", "read -P 2 500G 1M",
                "read -P 0 700G 1M");
            server.Stop();
        }
        var facts = Cli.Info(overlay);
        Assert.Equal(3 * 256, facts.Chunks.Data);
        Assert.InRange(Scratch.DiskUsage(overlay), 3 << 20, (3 << 20) + (128 << 10));
        Assert.Equal(Scratch.DiskUsage(overlay) + (isSeparate ? Scratch.DiskUsage(facts.MapPath) : 0), facts.AllocatedBytes);
    }

    [Fact]
    public void Trims_give_the_space_back()
    {
        using var served = new ServedOverlay(16 << 20);
        Nbd.QemuIo(served.Uri, "write -P 1 0 12M", "flush");
        Assert.True(Scratch.DiskUsage(served.Overlay) >= 12 << 20);
        Nbd.QemuIo(served.Uri, "discard 0 6M", "write -z -u 6M 5M", "flush");
        Assert.InRange(Scratch.DiskUsage(served.Overlay), 1 << 20, (1 << 20) + (128 << 10));
        Nbd.QemuIo(served.Uri, "read -P 0 0 11M", "read -P 1 11M 1M");
        served.Stop();
        var chunks = Cli.Info(served.Overlay).Chunks;
        Assert.Equal((256L, 11 * 256L), (chunks.Data, chunks.Zero));
    }

    [Fact]
    public void A_trim_of_what_was_never_written_takes_no_space_and_hides_the_origin()
    {
        using var served = new ServedOverlay(16 << 20);
        Nbd.QemuIo(served.Uri, "discard 0 16M", "flush", "read -P 0 0 16M");
        Assert.InRange(Scratch.DiskUsage(served.Overlay), 0, 64 << 10);
        served.Stop();
        Assert.Equal(4096, Cli.Info(served.Overlay).Chunks.Zero);
    }

    [Fact]
    public void Zeroing_that_must_not_make_holes_reserves_the_space()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:16M");
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        // Without -u, qemu-io asks that no holes be made.
        Nbd.QemuIo(server.Uri, "write -z 0 8M", "flush", "read -P 0 0 8M");
        Assert.InRange(Scratch.DiskUsage(scratch["o.cow"]), 8 << 20, (8 << 20) + (128 << 10));
        server.Stop();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Preallocate_reserves_all_of_the_data(bool isSeparate)
    {
        using var scratch = new Scratch();
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        Cli.Ok(["create", scratch["o.cow"], "--origin", "zero:16M", "--preallocate", .. separate]);
        Assert.InRange(Scratch.DiskUsage(scratch["o.cow"]), 16 << 20, 17 << 20);
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        Nbd.QemuIo(server.Uri, "read -P 0 0 16M", "write -P 1 3M 1M", "read -P 1 3M 1M");
        Assert.InRange(Scratch.DiskUsage(scratch["o.cow"]), 16 << 20, 17 << 20);
        server.Stop();
    }

    [Fact]
    public void The_map_of_a_device_of_1_TiB_is_at_most_0_02_percent_of_it()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1T");
        var facts = Cli.Info(scratch["o.cow"]);
        Assert.Equal((1L << 40, 4096L), (facts.Size, facts.ChunkSize));
        Assert.InRange(facts.MapBytes, 1, (long)((1L << 40) * 0.0002));
        Assert.True(facts.MapOffset + facts.MapBytes <= facts.DataOffset, "the map ends before the data begins");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_device_of_8_TiB_is_made_and_opened_at_once_and_in_little_memory(bool isSeparate)
    {
        using var scratch = new Scratch();
        var overlay = scratch["o.cow"];
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        AssertQuick("create", () => Cli.Ok(["create", overlay, "--origin", "zero:8T", .. separate]));
        AssertQuick("info", () => Assert.Equal(1L << 31, Cli.Info(overlay).Chunks.Total));
        LincowServer? started = null;
        AssertQuick("serve", () => started = LincowServer.Start(scratch, overlay));
        using var server = started!;
        // From end to end, so that the far pages of the map are loaded too.
        Nbd.QemuIo(server.Uri, [.. Enumerable.Range(0, 64).Select(i => $"write -P {i + 1} {i * 128L}G 4k"), "read -P 0 8191G 1M", "flush"]);
        Assert.InRange(server.ResidentKiB, 1, 50 << 10);
        AssertQuick("stop", server.Stop);
        AssertQuick("map", () => Assert.Equal(64, Cli.Map(overlay).Count(range => range.Data)));
        AssertQuick("check", () => Assert.Equal(64, Cli.Check(overlay).PagesChecked));
        AssertQuick("reset", () => Cli.Ok("reset", overlay));
        Assert.Equal(0, Cli.Info(overlay).Chunks.Data);
    }

    [Fact]
    public void A_trim_of_the_whole_of_8_TiB_takes_little_time_and_space()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:8T");
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        var clock = Stopwatch.StartNew();
        Nbd.Script("""
            h = connect(sys.argv[1])
            step = 1 << 31
            for i in range(64):
                h.trim(step, i * step)
            h.flush()
            check(h.pread(4096, 63 * step) == bytes(4096), 'zeroes')
            """, server.Uri);
        Assert.True(clock.ElapsedMilliseconds < 20_000, $"took {clock.ElapsedMilliseconds} ms");
        Assert.InRange(server.ResidentKiB, 1, 80 << 10);
        server.Stop();
        Assert.Equal(64L << 19, Cli.Info(scratch["o.cow"]).Chunks.Zero);
    }

    [Fact]
    public void Room_to_grow_moves_the_data_no_further_than_the_larger_map_needs()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["small.cow"], "--origin", "zero:1G");
        Cli.Ok("create", scratch["roomy.cow"], "--origin", "zero:1G", "--max-size", "1T");
        Cli.Ok("create", scratch["large.cow"], "--origin", "zero:1T");
        var (small, roomy, large) = (Cli.Info(scratch["small.cow"]), Cli.Info(scratch["roomy.cow"]), Cli.Info(scratch["large.cow"]));
        Assert.Equal((small.Size, large.MapBytes, large.DataOffset), (roomy.Size, roomy.MapBytes, roomy.DataOffset));
        Assert.True(small.DataOffset < roomy.DataOffset);
        using var server = LincowServer.Start(scratch, scratch["roomy.cow"]);
        Nbd.QemuIo(server.Uri, "write -P 9 1023M 1M", "read -P 9 1023M 1M");
        server.Stop();
    }

    private static void AssertQuick(string what, Action action)
    {
        var clock = Stopwatch.StartNew();
        action();
        // Milliseconds on an idle machine; the rest is for a busy one.
        Assert.True(clock.ElapsedMilliseconds < 3000, $"{what} took {clock.ElapsedMilliseconds} ms");
    }
}
