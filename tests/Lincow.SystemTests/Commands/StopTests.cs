using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary><c>lincow stop</c>: by whatever a server is known, and no more than was asked for.</summary>
public class StopTests
{
    [Fact]
    public void A_server_is_stopped_by_its_overlay_its_name_its_socket_and_its_uri()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        var socket = scratch.NewSocket();
        foreach (var target in new[] { scratch["o.cow"], "red", socket, "unix:" + socket, $"nbd+unix:///red?socket={socket}",
            $"nbd+unix:///?socket={socket}" })
        {
            using var server = LincowServer.Start([scratch["o.cow"], "--name", "red", "--nbd", "unix:" + socket]);
            using (var client = RawClient.Ready(server.Uri, "red"))
                Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
            Assert.Equal($"stopped {scratch["o.cow"]}\n", Cli.Ok("stop", target));
            // Stopped is gone, but for what its parent, this process, has to hear of it.
            Assert.True(IsGone(server.Id), target);
            Assert.Equal(0, server.AwaitEnd());
            Assert.True(Cli.Info(scratch["o.cow"]).Clean);
        }
        using var tcp = LincowServer.Start([scratch["o.cow"], "--nbd", "tcp:127.0.0.1:0"]);
        var place = new Uri(tcp.Uri);
        Cli.Ok("stop", $"tcp:{place.Port}", "--quiet");
        Assert.Equal(0, tcp.AwaitEnd());
    }

    [Fact]
    public void What_the_same_server_serves_besides_goes_on_and_the_last_one_ends_it()
    {
        using var scratch = new Scratch();
        foreach (var name in new[] { "a", "b", "c" })
            Cli.Ok("create", scratch[name + ".cow"], "--origin", "zero:1M");
        using var server = LincowServer.Start(
            [scratch["a.cow"], scratch["b.cow"], scratch["c.cow"], "--nbd", "unix:" + scratch.NewSocket()], 3);
        using var other = RawClient.Ready(server.Uri, "b");
        using (var json = JsonDocument.Parse(Cli.Ok("stop", scratch["a.cow"], "--json")))
        {
            var stopped = Assert.Single(json.RootElement.EnumerateArray());
            Assert.Equal((scratch["a.cow"], false, server.Id), (stopped.GetProperty("overlay").GetString(),
                stopped.GetProperty("ended").GetBoolean(), stopped.GetProperty("pid").GetInt32()));
        }
        Assert.True(Cli.Info(scratch["a.cow"]).Clean);
        Assert.Equal(0u, other.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
        Assert.Contains("nobody serves it", Cli.Fails("stop", scratch["a.cow"]));
        // A slip of the keyboard stops none.
        Assert.Contains("bb", Cli.Fails("stop", scratch["b.cow"], "bb"));
        Assert.True(server.IsRunning);
        using (var json = JsonDocument.Parse(Cli.Ok("stop", "b", scratch["c.cow"], "--json")))
            Assert.Equal([true, true], json.RootElement.EnumerateArray().Select(stopped => stopped.GetProperty("ended").GetBoolean()));
        Assert.Equal(0, server.AwaitEnd());
    }

    [Fact]
    public void A_socket_is_all_that_is_served_there()
    {
        using var scratch = new Scratch();
        foreach (var name in new[] { "a.cow", "b.cow" })
            Cli.Ok("create", scratch[name], "--origin", "zero:1M");
        var socket = scratch.NewSocket();
        using var server = LincowServer.Start([scratch["a.cow"], scratch["b.cow"], "--nbd", "unix:" + socket], 2);
        Assert.Equal($"stopped {scratch["a.cow"]}\nstopped {scratch["b.cow"]}\n", Cli.Ok("stop", "unix:" + socket));
        Assert.Equal(0, server.AwaitEnd());
    }

    [Fact]
    public void A_live_origin_goes_with_its_snapshots_and_a_snapshot_not_without_it()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("disk.img", 1 << 20);
        Cli.Ok("create", scratch["monday.snap"], "--origin", origin, "--store", "snapshot");
        using var server = LincowServer.Start(["--snapshot-origin", origin, scratch["monday.snap"], "--nbd", "unix:" + scratch.NewSocket()],
            2);
        Assert.Contains("'disk'", Cli.Fails("stop", "monday"));
        Assert.True(server.IsRunning);
        Assert.Contains("disk.img", Cli.Ok("stop", origin));
        Assert.Equal(0, server.AwaitEnd());
    }

    [Fact]
    public void What_stops_by_other_means_is_refused_with_the_way()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        using var run = Surroundings.Start(new System.Diagnostics.ProcessStartInfo(Cli.Binary,
            ["run", scratch["o.cow"], "--no-device", "--", "sh", "-c", "echo started; read line"])
        { RedirectStandardInput = true, RedirectStandardOutput = true });
        Assert.Equal("started", run.StandardOutput.ReadLine());
        Assert.Contains("lincow run", Cli.Fails("stop", scratch["o.cow"]));
        run.StandardInput.Close();
        Assert.True(run.WaitForExit(Tool.Timeout));
    }

    [Fact]
    public void What_is_attached_is_detached_and_not_stopped()
    {
        using var attachments = new Attachments();
        attachments.Ok("create", attachments.Scratch["o.cow"], "--origin", "zero:1M");
        attachments.Attach(attachments.Scratch["o.cow"]);
        Assert.Contains("lincow detach", attachments.Fails("stop", attachments.Scratch["o.cow"]));
        attachments.Ok("detach", attachments.Scratch["o.cow"]);
    }

    [Fact]
    public void One_name_of_two_overlays_is_refused_with_the_choices()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["x"]);
        foreach (var path in new[] { "o.cow", "x/o.cow" })
            Cli.Ok("create", scratch[path], "--origin", "zero:1M");
        using var first = LincowServer.Start(scratch, scratch["o.cow"]);
        using var second = LincowServer.Start(scratch, scratch["x/o.cow"]);
        var error = Cli.Fails("stop", "o");
        Assert.Contains(scratch["o.cow"], error);
        Assert.Contains(scratch["x/o.cow"], error);
        Cli.Ok("stop", scratch["o.cow"], scratch["x/o.cow"]);
        Assert.Equal((0, 0), (first.AwaitEnd(), second.AwaitEnd()));
    }

    private static bool IsGone(int process)
    {
        try
        {
            // The state comes after the name, which may hold anything (proc_pid_stat(5)).
            var stat = File.ReadAllText($"/proc/{process}/stat");
            return stat[(stat.LastIndexOf(')') + 2)..][0] is 'Z' or 'X';
        }
        catch (IOException)
        {
            return true;
        }
    }
}
