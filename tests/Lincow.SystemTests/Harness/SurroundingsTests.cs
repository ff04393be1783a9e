using System.Text.Json;

namespace Lincow.SystemTests.Harness;

/// <summary>No test sees what it didn't start.</summary>
public class SurroundingsTests
{
    [Fact]
    public async Task A_test_sees_no_server_but_its_own()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["own.cow"], "--origin", "zero:1M");
        Cli.Ok("create", scratch["strange.cow"], "--origin", "zero:1M");
        using var stranger = LincowServer.Start([scratch["strange.cow"], "--nbd", "unix:" + scratch.NewSocket()],
            environment: new() { ["LINCOW_RUN_DIR"] = scratch["strangers"] });
        Assert.Empty(Servers());
        using var own = LincowServer.Start(scratch, scratch["own.cow"]);
        // Also from a thread and a task that the test starts.
        Assert.Equal(own.Id, Assert.Single(await Task.Run(Servers, TestContext.Current.CancellationToken)).Pid);
        var seen = new List<StatusFacts>();
        var thread = new Thread(() => seen = Servers());
        thread.Start();
        thread.Join();
        Assert.Equal(own.Id, Assert.Single(seen).Pid);
        Assert.Single(Directory.GetFiles(Surroundings.RunDirectory, "*.json"));
        own.Stop();
        stranger.Stop();
    }

    private static List<StatusFacts> Servers() =>
        JsonSerializer.Deserialize<List<StatusFacts>>(Cli.Ok("status", "--json"), JsonSerializerOptions.Web)!;
}
