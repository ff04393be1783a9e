using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>The syntax of dmsetup, in sectors.</summary>
public class TableTests
{
    [Fact]
    public void A_persistent_table_makes_a_blank_overlay_and_finds_it_again()
    {
        using var scratch = new Scratch();
        var (origin, overlay) = (scratch.Random("origin.img", 1 << 20), scratch["o.cow"]);
        var table = $"0 4096 cow {origin} {overlay} P 8";
        using (var server = LincowServer.Start(scratch, "--table", table))
        {
            Nbd.QemuIo(server.Uri, "write -P 5 1M 4k");
            server.Stop();
        }
        var facts = Cli.Info(overlay);
        Assert.Equal((4096 * 512L, 8 * 512L, "front", origin), (facts.Size, facts.ChunkSize, facts.Layout, facts.Origin.Uri));
        using (var server = LincowServer.Start(scratch, "--table", table))
        {
            Nbd.QemuIo(server.Uri, "read -P 5 1M 4k");
            server.Stop();
        }
        Assert.Contains("4096", Cli.Fails("serve", "--nbd", "unix:" + scratch["s"], "--table", $"0 8192 cow {origin} {overlay} P 8"));
        Assert.Contains("chunks of 8",
            Cli.Fails("serve", "--nbd", "unix:" + scratch["s"], "--table", $"0 4096 cow {origin} {overlay} P 16"));
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void The_table_that_info_shows_is_a_table_whatever_the_paths(string store)
    {
        using var scratch = new Scratch();
        var (origin, overlay) = (scratch.Random("my origin.img", 1 << 20), scratch["my\\overlay of\t2.cow"]);
        Cli.Ok("create", overlay, "--origin", origin, "--store", store);
        var table = Cli.Ok("info", overlay, "--dm").TrimEnd('\n');
        using var server = LincowServer.Start(scratch, "--table", table);
        Assert.Equal(File.ReadAllBytes(origin), Nbd.ReadAll(scratch, server.Uri));
        server.Stop();
        Assert.Equal(table, Cli.Ok("info", overlay, "--dm").TrimEnd('\n'));
    }

    [Fact]
    public void Create_takes_a_table_with_a_separate_map()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", "--table", $"0 2048 cow zero:1M {scratch["o.img"]} P 128 {scratch["o.map"]}");
        var facts = Cli.Info(scratch["o.img"]);
        Assert.Equal((1L << 20, 64L << 10, "separate", scratch["o.map"]), (facts.Size, facts.ChunkSize, facts.Layout, facts.MapPath));
    }

    [Fact]
    public void A_transient_table_leaves_nothing_behind()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        using (var server = LincowServer.Start(scratch, "--table", $"0 2048 cow {origin} {scratch["t.cow"]} N 8"))
        {
            Nbd.QemuIo(server.Uri, "write -P 5 0 4k", "read -P 5 0 4k");
            server.Stop();
        }
        Assert.False(File.Exists(scratch["t.cow"]));
    }

    [Theory]
    [InlineData("0 2048 cow zero:1M o.cow P")]
    [InlineData("8 2048 cow zero:1M o.cow P 8")]
    [InlineData("0 many cow zero:1M o.cow P 8")]
    [InlineData("0 2048 linear zero:1M o.cow P 8")]
    [InlineData("0 2048 cow zero:1M o.cow X 8")]
    [InlineData("0 2048 cow zero:1M o.cow P 0")]
    [InlineData("0 -2048 cow zero:1M o.cow P 8")]
    [InlineData("0 99999999999999999999 cow zero:1M o.cow P 8")]
    [InlineData("")]
    public void A_table_that_is_none_is_wrong_usage(string table)
    {
        using var scratch = new Scratch();
        Assert.Contains("--table", Cli.Misused("create", "--table", table.Replace("o.cow", scratch["o.cow"], StringComparison.Ordinal)));
        Cli.Misused("serve", "--table", table.Replace("o.cow", scratch["o.cow"], StringComparison.Ordinal));
        Assert.False(File.Exists(scratch["o.cow"]));
    }
}
