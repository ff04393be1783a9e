using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>What is served is found by others: by its name, its file, and an origin that is written to as well.</summary>
public class StatusTests
{
    [Fact]
    public void A_name_that_was_given_is_the_one_in_status()
    {
        using var scratch = new Scratch();
        var alone = new Dictionary<string, string> { ["LINCOW_RUN_DIR"] = scratch["run"] };
        Cli.Ok("create", scratch["a.cow"], "--origin", "zero:1M");
        Cli.Ok("create", scratch["b.cow"], "--origin", "zero:1M");
        using var server = LincowServer.Start([scratch["a.cow"], scratch["b.cow"], "--name", "red", "--nbd", "unix:"
            + scratch.NewSocket()], 2, alone);
        var said = Cli.Ok(alone, "status");
        Assert.Contains($"red: {scratch["a.cow"]}, 1 MiB\n", said);
        Assert.Contains($"b: {scratch["b.cow"]}, 1 MiB\n", said);
        Assert.Equal(["red", "b"], Report(alone).Select(export => export.GetProperty("name").GetString()));
        // By its name, by its file, and as before by the file's name.
        foreach (var target in new[] { "red", scratch["a.cow"], "a" })
        {
            var found = Assert.Single(Report(alone, target));
            Assert.Equal(scratch["a.cow"], found.GetProperty("overlay").GetString());
            Assert.Contains("/red?", found.GetProperty("uris")[0].GetString());
        }
        Assert.Contains("served without being attached", Cli.Error(Tool.Run(Cli.Binary, ["detach", "red"], alone), Cli.Failed));
        using var client = RawClient.Ready(server.Uri, "red");
        Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
        Cli.Ok(alone, "reset", scratch["a.cow"], "--quiet");
        Assert.Equal([1, 0], Report(alone).Select(export => export.GetProperty("counters").GetProperty("writes").GetInt32()));
        server.Stop();
        Assert.Empty(Directory.GetFiles(scratch["run"]));
    }

    [Fact]
    public void A_live_origin_is_listed_with_its_snapshots_and_found_by_its_path()
    {
        using var scratch = new Scratch();
        var alone = new Dictionary<string, string> { ["LINCOW_RUN_DIR"] = scratch["run"] };
        var origin = scratch.Random("disk.img", 1 << 20);
        foreach (var name in new[] { "monday.snap", "tuesday.snap" })
            Cli.Ok("create", scratch[name], "--origin", origin, "--store", "snapshot");
        using var server = LincowServer.Start(
            ["--snapshot-origin", origin, scratch["monday.snap"], scratch["tuesday.snap"], "--nbd", "unix:" + scratch.NewSocket()], 3,
                alone);
        using (var client = RawClient.Ready(server.Uri, "disk"))
            Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
        Assert.Equal(["monday", "tuesday", "disk"], Report(alone).Select(export => export.GetProperty("name").GetString()));
        Assert.Contains($"disk: live origin {origin}, 1 MiB\n  by process {server.Id} ", Cli.Ok(alone, "status", origin));
        var live = Assert.Single(Report(alone, "disk"));
        Assert.Equal(origin, live.GetProperty("liveOrigin").GetString());
        Assert.Equal(JsonValueKind.Null, live.GetProperty("overlay").ValueKind);
        Assert.Equal((1, 4096), (live.GetProperty("counters").GetProperty("writes").GetInt32(), live.GetProperty("counters")
            .GetProperty("bytesWritten").GetInt32()));
        Assert.Equal("0 2048 snapshot-origin\n", Cli.Ok(alone, "status", origin, "--dm"));
        // The overlay of that name is asked for, not the origin.
        Assert.Contains("monday.snap", Cli.Ok(alone, "status", scratch["monday.snap"]));
        Assert.Contains($"is in use by process {server.Id} ",
            Cli.Error(Tool.Run(Cli.Binary, ["commit", scratch["monday.snap"]], alone), Cli.Failed));
        server.Stop();
    }

    private static List<JsonElement> Report(Dictionary<string, string> environment, params string[] targets) =>
        [.. JsonDocument.Parse(Cli.Ok(environment, ["status", "--json", .. targets])).RootElement.EnumerateArray()];
}
