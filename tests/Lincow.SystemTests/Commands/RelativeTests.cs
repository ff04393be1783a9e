using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>create --relative: a directory with an overlay and its origin moves as one.</summary>
public class RelativeTests
{
    private const int Bytes = 256 << 10;

    [Theory]
    [InlineData("linear", "")]
    [InlineData("snapshot", "")]
    [InlineData("linear", "raw:")]
    [InlineData("map", "")]
    public void A_directory_with_both_can_be_moved(string store, string scheme)
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["set/images"]);
        Directory.CreateDirectory(scratch["set/work"]);
        var (origin, overlay) = (scratch.Random("set/images/o.img", Bytes), scratch["set/work/a.cow"]);
        string[] how = store == "map" ? ["--map", scratch["set/work/a.map"]] : ["--store", store];
        Cli.Ok(["create", overlay, "--origin", scheme + origin, "--relative", .. how]);
        AssertOrigin(overlay, scheme + origin);
        Write(overlay, 7);
        Directory.Move(scratch["set"], scratch["moved"]);
        (origin, overlay) = (scratch["moved/images/o.img"], scratch["moved/work/a.cow"]);
        AssertOrigin(overlay, scheme + origin);
        Write(overlay, 8);
        Assert.Contains(Cli.Map(overlay), range => range.Depth == 1 && range.Filename == origin);
        // Of a copy it is the copy, and it stays so when the origin gets another place.
        Tool.Ok("cp", "-a", scratch["moved"], scratch["copy"]);
        File.Delete(origin);
        AssertOrigin(scratch["copy/work/a.cow"], scheme + scratch["copy/images/o.img"]);
        Write(scratch["copy/work/a.cow"], 9);
        File.Move(scratch["copy/images/o.img"], scratch["copy/work/o.img"]);
        Cli.Ok("run", scratch["copy/work/a.cow"], "--no-device", "--origin", scheme + scratch["copy/work/o.img"], "--", "true");
        Assert.Equal("o.img", Relative(scratch["copy/work/a.cow"]));

        void AssertOrigin(string path, string expected)
        {
            Assert.Equal((expected, true), (Cli.Info(path).Origin.Uri, Cli.Info(path).Origin.Present));
            Assert.Equal("../images/o.img", Relative(path));
        }
    }

    [Fact]
    public void A_link_beside_an_overlay_shows_no_other_file()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["a"]);
        var origin = scratch.Random("a/o.img", Bytes);
        Cli.Ok("create", scratch["a/a.cow"], "--origin", origin, "--relative");
        File.Move(origin, scratch["secret"]);
        File.CreateSymbolicLink(origin, scratch["secret"]);
        var refused = Cli.Fails("map", scratch["a/a.cow"]);
        Assert.Contains("symbolic link", refused);
        Assert.Contains("--origin", refused);
        // An overlay that is reached by a link is where it lies.
        File.Delete(origin);
        File.Move(scratch["secret"], origin);
        File.CreateSymbolicLink(scratch["link.cow"], scratch["a/a.cow"]);
        Cli.Ok("map", scratch["link.cow"]);
    }

    private static void Write(string overlay, int value) => Cli.Ok("run", overlay, "--no-device", "--", "sh", "-c",
        $"qemu-io -f raw -c 'write -P {value} 64k 4k' -c 'read -P {value} 64k 4k' \"$LINCOW_URI\"");

    private static string? Relative(string overlay) => System.Text.Json.Nodes.JsonNode.Parse(Cli.Ok("info", overlay, "--json"))!["origin"]!
        ["relative"]?.GetValue<string>();
}
