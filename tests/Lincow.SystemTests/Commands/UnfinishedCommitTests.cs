using System.Diagnostics;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>A commit that is ended before its end, and what every command says of it and does with it.</summary>
public class UnfinishedCommitTests
{
    private const int Bytes = 512 << 20;

    [Theory]
    [InlineData("TERM", "linear")]
    [InlineData("INT", "snapshot")]
    [InlineData("HUP", "linear")]
    public void A_signal_ends_a_commit_between_two_batches_and_the_next_one_completes_it(string signal, string store)
    {
        using var scratch = new Scratch();
        Make(scratch, store);
        Interrupt(scratch, signal);
        var info = Cli.Run("info", scratch["work.cow"], "--json").Output;
        Assert.Contains("\"unfinishedCommit\": true", info);
        Assert.Contains("lincow commit", Cli.Ok("info", scratch["work.cow"]));
        Assert.Contains("lincow commit", Cli.Ok("check", scratch["work.cow"]));
        Assert.Contains("half old, half new", Cli.Fails("reset", scratch["work.cow"]));
        using (var server = LincowServer.Start(scratch, scratch["work.cow"]))
        {
            Assert.Contains("lincow commit", server.Errors);
            Nbd.QemuIo(server.Uri, "read -P 7 0 512M", "write -P 8 64k 64k");
            if (store == "linear")
                Assert.Contains("half old, half new", Cli.Fails("reset", scratch["work.cow"]));
            server.Stop();
        }
        Cli.Ok("commit", scratch["work.cow"]);
        Assert.Contains("\"unfinishedCommit\": false", Cli.Run("info", scratch["work.cow"], "--json").Output);
        Cli.Ok("reset", scratch["work.cow"]);
        Assert.Equal((7, 8, 7), (Scratch.ReadAt(scratch["origin.img"], 0, 1)[0], Scratch.ReadAt(scratch["origin.img"], 64 << 10, 1)[0],
            Scratch.ReadAt(scratch["origin.img"], Bytes - 1, 1)[0]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Reset_by_force_throws_the_rest_away(bool isServed)
    {
        using var scratch = new Scratch();
        Make(scratch, "linear");
        Interrupt(scratch, "TERM");
        Assert.Contains("half old, half new", Cli.Fails("create", scratch["work.cow"], "--origin", "zero:1M", "--force"));
        Assert.Contains("half old, half new", Cli.Fails("convert", scratch["work.cow"], scratch["new"], "--to", "qcow2"));
        using (var server = isServed ? LincowServer.Start(scratch, scratch["work.cow"]) : null)
        {
            Cli.Ok("reset", scratch["work.cow"], "--force");
            server?.Stop();
        }
        Assert.Contains("\"unfinishedCommit\": false", Cli.Run("info", scratch["work.cow"], "--json").Output);
        // From a copy, for example: what the origin is like is not known.
        File.WriteAllBytes(scratch["origin.img"], new byte[Bytes]);
        using var last = LincowServer.Start(scratch, scratch["work.cow"]);
        Nbd.QemuIo(last.Uri, "read -P 0 0 512M");
        last.Stop();
    }

    private static void Make(Scratch scratch, string store)
    {
        scratch.Sparse("origin.img", Bytes);
        Cli.Ok("create", scratch["work.cow"], "--origin", scratch["origin.img"], "--store", store);
        using var server = LincowServer.Start(scratch, scratch["work.cow"]);
        Nbd.QemuIo(server.Uri, "write -P 7 0 512M");
        server.Stop();
    }

    /// <summary>Ends a commit as soon as the origin has changed: most of its batches are still to come.</summary>
    private static void Interrupt(Scratch scratch, string signal)
    {
        using var process = Surroundings.Start(new ProcessStartInfo("env",
            ["--default-signal=INT,HUP", Cli.Binary, "commit",
            scratch["work.cow"]])
        { RedirectStandardError = true, RedirectStandardOutput = true });
        // What means nothing to a commit, first: the one of a store begins with the last chunks.
        while (!process.HasExited && Scratch.ReadAt(scratch["origin.img"], 0, 1)[0] == 0
            && Scratch.ReadAt(scratch["origin.img"], Bytes - 1, 1)[0] == 0)
            Thread.Sleep(0);
        Tool.Ok("kill", "-USR1", $"{process.Id}");
        Tool.Ok("kill", $"-{signal}", $"{process.Id}");
        var errors = process.StandardError.ReadToEnd();
        Assert.True(process.WaitForExit(Tool.Timeout), "the commit doesn't end");
        Assert.Contains("the commit was interrupted", Cli.Error(new ToolResult("commit", process.ExitCode, "", errors), Cli.Failed));
    }
}
