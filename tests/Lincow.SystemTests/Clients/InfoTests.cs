using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Clients;

/// <summary>What nbdinfo learns of an export.</summary>
public class InfoTests
{
    private const int Hole = 1, Zero = 2;

    [Fact]
    public void Nbdinfo_shows_the_size_and_everything_that_the_export_can_do()
    {
        using var served = new ServedOverlay();
        var export = Describe(served.Uri);
        Assert.Equal(ServedOverlay.DefaultBytes, export.GetProperty("export-size").GetInt64());
        Assert.Equal("work", export.GetProperty("export-name").GetString());
        foreach (var flag in new[] { "can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua", "can_multi_conn", "can_trim",
            "can_zero" })
            Assert.True(export.GetProperty(flag).GetBoolean(), flag);
        Assert.False(export.GetProperty("is_read_only").GetBoolean());
        Assert.Equal(["base:allocation", "lincow:overlay"],
            export.GetProperty("contexts").EnumerateArray().Select(context => context.GetString()!));
        Assert.Equal((1, 4096, 64 << 20), (Number("block_size_minimum"), Number("block_size_preferred"), Number("block_size_maximum")));
        served.Stop();

        int Number(string name) => export.GetProperty(name).GetInt32();
    }

    [Fact]
    public void Nbdinfo_shows_a_read_only_export_as_such()
    {
        using var served = new ServedOverlay(serve: ["--read-only"]);
        var export = Describe(served.Uri);
        Assert.True(export.GetProperty("is_read_only").GetBoolean());
        Assert.False(export.GetProperty("can_trim").GetBoolean());
        Assert.False(export.GetProperty("can_zero").GetBoolean());
        served.Stop();
    }

    [Fact]
    public void The_preferred_block_size_is_the_chunk_size()
    {
        using var served = new ServedOverlay(create: ["--chunk", "64K"]);
        Assert.Equal(64 << 10, Describe(served.Uri).GetProperty("block_size_preferred").GetInt32());
        served.Stop();
    }

    [Fact]
    public void Nbdinfo_lists_all_exports()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        Cli.Ok("create", scratch["a.cow"], "--origin", origin);
        Cli.Ok("create", scratch["b.cow"], "--origin", origin, "--size", "2M");
        using var server = LincowServer.Start([scratch["a.cow"], scratch["b.cow"], "--nbd", "unix:" + scratch["s"]], readyLines: 2);
        using var json = JsonDocument.Parse(Tool.Ok("nbdinfo", "--list", "--json", $"nbd+unix:///?socket={scratch["s"]}"));
        var exports = json.RootElement.GetProperty("exports").EnumerateArray()
            .Select(export => (export.GetProperty("export-name").GetString(), export.GetProperty("export-size").GetInt64()));
        Assert.Equal([("a", 1L << 20), ("b", 2L << 20)], exports);
        server.Stop();
    }

    [Fact]
    public void Nbdinfo_map_shows_holes_of_the_origin_and_trimmed_ranges_as_zero()
    {
        using var scratch = new Scratch();
        using var server = ServeOverSparseOrigin(scratch);
        Nbd.QemuIo(server.Uri, "write -P 7 0 8k", "discard 2M 64k");
        Assert.Equal(
        [
            // Written; the origin's hole; its data; trimmed; its data; beyond its end.
            (0, 8 << 10, 0), (8 << 10, (1 << 20) - (8 << 10), Hole | Zero), (1 << 20, 1 << 20, 0),
            (2 << 20, 64 << 10, Hole | Zero), ((2 << 20) + (64 << 10), (1 << 20) - (64 << 10), 0), (3 << 20, 1 << 20, Hole | Zero),
        ], Map(server.Uri, "base:allocation"));
        server.Stop();
    }

    [Fact]
    public void Nbdinfo_map_of_lincow_overlay_shows_what_the_overlay_holds()
    {
        const int held = 1, heldAsZero = 3;
        using var scratch = new Scratch();
        using var server = ServeOverSparseOrigin(scratch);
        Nbd.QemuIo(server.Uri, "write -P 7 0 8k", "discard 2M 64k", "write -P 8 4194303 1");
        Assert.Equal(
        [
            (0, 8 << 10, held), (8 << 10, (2 << 20) - (8 << 10), 0), (2 << 20, 64 << 10, heldAsZero),
            ((2 << 20) + (64 << 10), (4 << 20) - 4096 - (2 << 20) - (64 << 10), 0), ((4 << 20) - 4096, 4096, held),
        ], Map(server.Uri, "lincow:overlay"));
        server.Stop();
    }

    /// <summary>4 MiB: a hole of 1 MiB, 2 MiB of data, and 1 MiB beyond the origin's end.</summary>
    private static LincowServer ServeOverSparseOrigin(Scratch scratch)
    {
        var origin = scratch.Sparse("origin.img", 3 << 20);
        Scratch.WriteAt(origin, 1 << 20, Scratch.RandomBytes(2 << 20, 1));
        Cli.Ok("create", scratch["o.cow"], "--origin", origin, "--size", "4M");
        return LincowServer.Start(scratch, scratch["o.cow"]);
    }

    private static JsonElement Describe(string uri)
    {
        using var json = JsonDocument.Parse(Tool.Ok("nbdinfo", "--json", uri));
        return json.RootElement.GetProperty("exports").EnumerateArray().Single().Clone();
    }

    private static List<(int Offset, int Length, int Type)> Map(string uri, string context)
    {
        using var json = JsonDocument.Parse(Tool.Ok("nbdinfo", "--map=" + context, "--json", uri));
        return json.RootElement.EnumerateArray()
            .Select(range =>
                (range.GetProperty("offset").GetInt32(), range.GetProperty("length").GetInt32(), range.GetProperty("type").GetInt32()))
                .ToList();
    }
}
