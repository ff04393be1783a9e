using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>
/// The server is killed amid writes and flushes from several connections, over and over, and started again over what it left: everything
/// that was flushed is there, every other sector is old or new. One overlay goes through all rounds. Now and then the end is SIGTERM, which
/// keeps everything that was answered, or there is a reset in between.
/// </summary>
public class KillLoopTests
{
    /// <summary>For each kind of overlay: together at least 240.</summary>
    private const int LinearKills = 56, SnapshotKills = 40;

    private const int Sectors = 4096, Connections = 4;

    [Theory]
    [InlineData(false, false, 4 << 10)]
    [InlineData(true, false, 64 << 10)]
    [InlineData(false, true, 512)]
    [InlineData(true, true, 4 << 10)]
    // 32 entries in an area of the list, so that flushes end in other areas than they begin in.
    [InlineData(false, false, 512, "snapshot", SnapshotKills)]
    public void What_was_flushed_survives_every_kill(bool isSeparate, bool isLoop, int chunkBytes, string store = "linear",
        int wanted = LinearKills)
    {
        var seed = Seeds.Pick(chunkBytes + (isSeparate ? 1 : 0) + (isLoop ? 2 : 0));
        var random = new Random(seed);
        using var scratch = new Scratch();
        using var data = isLoop ? new LoopDevice(scratch.Sparse("data.cow", 4 << 20)) : null;
        using var map = isLoop && isSeparate ? new LoopDevice(scratch.Sparse("the.map", 1 << 20)) : null;
        var (overlay, mapPath) = (data?.Path ?? scratch["data.cow"], map?.Path ?? scratch["the.map"]);
        string[] named = isSeparate ? ["--map", mapPath] : [];
        var sectors = new StampedSectors(Sectors);
        File.WriteAllBytes(scratch["origin.img"], sectors.Content());
        Cli.Ok(["create", overlay, "--origin", scratch["origin.img"], "--chunk", $"{chunkBytes}", "--store", store, .. named]);

        var (kills, flushes, changes) = (0, 0, 0);
        for (var round = 1; kills < wanted; round++)
        {
            var where = $"seed {seed}, round {round} after {kills} kills and {flushes} flushes";
            Assert.True(Cli.Check(overlay, 0, named).Findings.Count == 0, where);
            using var server = LincowServer.Start(scratch, [overlay, .. named]);
            sectors.Settle(server, where);
            using var load = new StampedLoad(sectors, server.Uri, Connections, random.Next(), canTrim: store == "linear", chunkBytes);
            Thread.Sleep(random.Next(80));
            if (round % 10 == 0)
            {
                server.Stop();
                load.Join();
                // Nothing that was answered is lost by an orderly end.
                sectors.Flushed(sectors.BeforeFlush());
                Assert.True(Cli.Info(overlay, named).Clean, where);
                if (round % 20 == 0)
                {
                    Cli.Ok(["reset", overlay, .. named]);
                    sectors.BackToOrigin();
                }
            }
            else
            {
                server.Kill();
                load.Join();
                kills++;
            }
            flushes += load.Flushes;
            changes += load.Changes;
        }
        Assert.True(flushes > 5 * wanted
            && changes > 50 * wanted, $"{flushes} flushes and {changes} changes in {kills} rounds are too few to show anything");
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {kills} kills, {changes} changes, {flushes} flushes");
        using var last = LincowServer.Start(scratch, [overlay, .. named]);
        sectors.Settle(last, $"seed {seed}, at the end");
        last.Stop();
    }

    [Fact]
    public void A_server_that_stands_still_makes_its_clients_wait_and_nothing_fails()
    {
        var seed = Seeds.Pick(19);
        using var scratch = new Scratch();
        var sectors = new StampedSectors(Sectors);
        File.WriteAllBytes(scratch["origin.img"], sectors.Content());
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch["origin.img"]);
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        using var load = new StampedLoad(sectors, server.Uri, Connections, seed);
        for (var i = 0; i < 3; i++)
        {
            Thread.Sleep(100);
            server.Pause();
            // Answers that were on their way may still come.
            Thread.Sleep(300);
            var before = load.Changes;
            Thread.Sleep(500);
            Assert.Equal(before, load.Changes);
            server.Resume();
            Assert.True(SpinWait.SpinUntil(() => load.Changes > before + 10, Tool.Timeout), "the clients don't get on");
        }
        load.Stop();
        sectors.Flushed(sectors.BeforeFlush());
        sectors.Settle(server, $"seed {seed}");
        server.Stop();
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
    }
}
