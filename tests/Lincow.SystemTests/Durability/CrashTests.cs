using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>kill -9 in the midst of work: what was flushed is there, what was not is old or new by the sector.</summary>
public class CrashTests
{
    private const int Bytes = 3 << 20, SectorBytes = 512;

    [Theory]
    [InlineData(512, false)]
    [InlineData(4 << 10, false)]
    [InlineData(4 << 10, true)]
    [InlineData(64 << 10, false)]
    [InlineData(1 << 20, true)]
    public void What_was_flushed_survives_kill_9(int chunkBytes, bool isSeparate)
    {
        using var scratch = new Scratch();
        var model = Make(scratch, chunkBytes, isSeparate, seed: 100 + chunkBytes);
        for (var session = 0; session < 4; session++)
        {
            using var server = LincowServer.Start(scratch, scratch["o.cow"]);
            model.AssertDeviceEquals(scratch, server.Uri);
            model.AddRandomOperations(60, chunkBytes);
            model.Flush();
            model.Play(scratch, server.Uri);
            server.Kill();
            Assert.False(Cli.Info(scratch["o.cow"]).Clean);
            Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
        }
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            model.AssertDeviceEquals(scratch, server.Uri);
            server.Stop();
        }
        var facts = Cli.Info(scratch["o.cow"]);
        Assert.True(facts.Clean);
        model.AssertLinear(facts);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4 << 10)]
    [InlineData(64 << 10)]
    public void What_was_not_flushed_is_old_or_new_by_the_sector(int chunkBytes)
    {
        const int seed = 77;
        using var scratch = new Scratch();
        var model = Make(scratch, chunkBytes, isSeparate: false, seed);
        byte[] old;
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            // Some chunks are in the overlay already, most are about to be allocated for the first time.
            model.AddRandomOperations(20, chunkBytes);
            model.Flush();
            model.Play(scratch, server.Uri);
            old = [.. model.Content];
            var random = new Random(seed);
            // Each sector is changed at most once, so there are just two contents that it may have.
            for (var offset = 0; offset < Bytes - (64 << 10); offset += random.Next(8 << 10, 64 << 10))
                model.Write(offset / SectorBytes * SectorBytes, SectorBytes * random.Next(1, 16));
            model.Play(scratch, server.Uri);
            server.Kill();
        }
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            var now = Nbd.ReadAll(scratch, server.Uri);
            for (var sector = 0; sector < Bytes; sector += SectorBytes)
            {
                var content = now.AsSpan(sector, SectorBytes);
                Assert.True(content.SequenceEqual(old.AsSpan(sector, SectorBytes))
                    || content.SequenceEqual(model.Content.AsSpan(sector, SectorBytes)),
                    $"seed {seed}: the sector at {sector} is neither old nor new");
            }
            server.Stop();
        }
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
    }

    private static DeviceModel Make(Scratch scratch, int chunkBytes, bool isSeparate, int seed)
    {
        var origin = scratch.Random("origin.img", Bytes, seed);
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        Cli.Ok(["create", scratch["o.cow"], "--origin", origin, "--chunk", $"{chunkBytes}", .. separate]);
        return new DeviceModel(File.ReadAllBytes(origin), seed);
    }
}
