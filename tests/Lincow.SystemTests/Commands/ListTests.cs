using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary><c>lincow list</c>: what is in a directory, who serves it, and what has lost its other half.</summary>
public class ListTests
{
    [Fact]
    public void Overlays_are_listed_with_their_origins_their_servers_and_what_is_missing()
    {
        using var scratch = new Scratch();
        var golden = scratch.Random("golden.img", 1 << 20);
        var gone = scratch.Random("gone.img", 1 << 20, seed: 2);
        Directory.CreateDirectory(scratch["sub"]);
        Cli.Ok("create", scratch["a.cow"], "--origin", golden);
        Cli.Ok("create", scratch["b.cow"], "--origin", gone);
        Cli.Ok("create", scratch["c.cow"], "--origin", golden, "--map", scratch["c.map"]);
        Cli.Ok("create", scratch["d.cow"], "--origin", golden, "--map", scratch["d.map"]);
        Cli.Ok("create", scratch["e.cow"], "--origin", golden, "--map", scratch["e.map"]);
        Cli.Ok("create", scratch["f.cow"], "--origin", golden, "--store", "snapshot");
        Cli.Ok("create", scratch["sub/g.cow"], "--origin", "zero:1M");
        File.Delete(gone);
        File.Delete(scratch["d.map"]);
        File.Delete(scratch["e.cow"]);
        Tool.Ok("mkfifo", scratch["pipe"]);
        File.CreateSymbolicLink(scratch["link.cow"], scratch["a.cow"]);
        using var server = LincowServer.Start(scratch, scratch["a.cow"]);

        var all = Read("list", scratch.Directory);
        Assert.Equal(["a.cow", "b.cow", "c.cow", "d.cow", "e.map", "f.cow"],
            all.Select(one => Path.GetFileName(one.GetProperty("path").GetString())));
        Assert.Equal(["overlay", "overlay", "overlay", "data", "map", "overlay"], all.Select(one => one.GetProperty("kind").GetString()));
        Assert.Equal([false, true, false, true, true, false], all.Select(one => one.GetProperty("orphan").GetBoolean()));
        Assert.Contains(gone, all[1].GetProperty("problem").GetString());
        Assert.Contains(scratch["d.map"], all[3].GetProperty("problem").GetString());
        Assert.Contains(scratch["e.cow"], all[4].GetProperty("problem").GetString());
        Assert.Equal((golden, scratch["c.map"]), (all[2].GetProperty("origin").GetProperty("uri").GetString(),
            all[2].GetProperty("map").GetString()));
        Assert.Equal(["linear", "snapshot"], new[] { all[0], all[5] }.Select(one => one.GetProperty("store").GetString()));
        var served = Assert.Single(all[0].GetProperty("servedBy").EnumerateArray());
        Assert.Equal((server.Id, server.Uri), (served.GetProperty("pid").GetInt32(), served.GetProperty("uris")[0].GetString()));
        Assert.All(all.Skip(1), one => Assert.Empty(one.GetProperty("servedBy").EnumerateArray()));

        var text = Cli.Ok("list", scratch.Directory);
        Assert.Contains($"{scratch["a.cow"]}: 1 MiB over {golden}", text);
        Assert.Contains($"served by process {server.Id} (lincow serve): {server.Uri}", text);
        Assert.Contains($"ORPHAN: its origin is gone: {gone}", text);
        Assert.Equal(7, Read("list", scratch.Directory, "--recursive").Count);
        server.Stop();
    }

    [Fact]
    public void An_overlay_that_is_damaged_is_listed_with_what_is_wrong()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["a.cow"], "--origin", "zero:1M");
        Scratch.WriteAt(scratch["a.cow"], 64, [1, 2, 3, 4, 5, 6, 7, 8]);
        Scratch.WriteAt(scratch["a.cow"], 4096 + 64, [1, 2, 3, 4, 5, 6, 7, 8]);
        var one = Assert.Single(Read("list", scratch.Directory));
        Assert.Contains("a.cow", one.GetProperty("problem").GetString());
        Assert.Equal(JsonValueKind.Null, one.GetProperty("size").ValueKind);
    }

    [Fact]
    public void Without_a_directory_it_is_this_one_and_one_that_is_not_there_is_an_error()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["a.cow"], "--origin", "zero:1M");
        Assert.StartsWith(scratch["a.cow"] + ": 1 MiB",
            Tool.Ok("bash", "-c", "cd \"$0\" && exec \"$1\" list", scratch.Directory, Cli.Binary));
        Assert.Contains("No such file or directory", Cli.Fails("list", scratch["nowhere"]));
        Assert.Contains("Not a directory", Cli.Fails("list", scratch["a.cow"]));
        Assert.Equal("[]", Cli.Ok("list", "/dev/fd", "--json").Trim());
    }

    private static List<JsonElement> Read(params string[] arguments) =>
        [.. JsonDocument.Parse(Cli.Ok([.. arguments, "--json"])).RootElement.EnumerateArray()];
}
