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
                Assert.True(content.SequenceEqual(old.AsSpan(sector, SectorBytes)) || content.SequenceEqual(model.Content.AsSpan(sector, SectorBytes)),
                    $"seed {seed}: the sector at {sector} is neither old nor new");
            }
            server.Stop();
        }
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
    }

    [Fact]
    public void Kill_9_amid_a_storm_of_writes_leaves_a_sound_overlay()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", Bytes);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        for (var round = 0; round < 5; round++)
        {
            using var server = LincowServer.Start(scratch, scratch["o.cow"]);
            // Write i goes to sector i, with the byte i % 251; what is printed has been flushed. It ends long before it comes around.
            using var client = Nbd.StartScript("""
                h = connect(sys.argv[1])
                sectors = h.get_size() // 512
                i = int(sys.argv[2])
                while True:
                    for _ in range(64):
                        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i % 251]) * 512), i % sectors * 512)
                        i += 7
                    while h.aio_in_flight() > 0:
                        h.poll(-1)
                    h.flush()
                    print(i, flush=True)
                """, server.Uri, $"{round * 1000}");
            long reached = 0;
            for (var flush = 0; flush < 10; flush++)
                reached = long.Parse(client.StandardOutput.ReadLine()!, System.Globalization.CultureInfo.InvariantCulture);
            server.Kill();
            client.Kill();
            client.WaitForExit();
            Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
            using var again = LincowServer.Start(scratch, scratch["o.cow"]);
            var now = Nbd.ReadAll(scratch, again.Uri);
            for (long i = round * 1000; i < reached; i += 7)
                AssertSector(now, i, round);
            again.Stop();
        }
    }

    [Fact]
    public void What_was_acknowledged_before_SIGTERM_is_there_without_a_flush()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch.Random("origin.img", Bytes));
        for (var round = 0; round < 3; round++)
        {
            using var server = LincowServer.Start(scratch, scratch["o.cow"]);
            using var client = Nbd.StartScript("""
                h = connect(sys.argv[1])
                for i in range(int(sys.argv[2]), 1 << 30, 7):
                    h.pwrite(bytes([i % 251]) * 512, i % (h.get_size() // 512) * 512)
                    print(i, flush=True)
                """, server.Uri, $"{round * 1000}");
            var lines = client.StandardOutput;
            for (var i = 0; i < 100; i++)
                lines.ReadLine();
            server.Stop();
            var rest = lines.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
            client.WaitForExit();
            Assert.True(Cli.Info(scratch["o.cow"]).Clean);
            using var again = LincowServer.Start(scratch, scratch["o.cow"]);
            var now = Nbd.ReadAll(scratch, again.Uri);
            // Only what can't have been overwritten by a later lap.
            var last = rest.Length > 0 ? long.Parse(rest[^1], System.Globalization.CultureInfo.InvariantCulture) : (round * 1000) + (99 * 7);
            for (var i = last; i >= Math.Max(round * 1000, last - (Bytes / SectorBytes) + 7); i -= 7)
                AssertSector(now, i, round);
            again.Stop();
        }
    }

    private static void AssertSector(byte[] now, long index, int round)
    {
        var sector = (int)(index % (Bytes / SectorBytes));
        Assert.True(now.AsSpan(sector * SectorBytes, SectorBytes).IndexOfAnyExcept((byte)(index % 251)) < 0, $"round {round}: sector {sector} was flushed and is lost");
    }

    private static DeviceModel Make(Scratch scratch, int chunkBytes, bool isSeparate, int seed)
    {
        var origin = scratch.Random("origin.img", Bytes, seed);
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        Cli.Ok(["create", scratch["o.cow"], "--origin", origin, "--chunk", $"{chunkBytes}", .. separate]);
        return new DeviceModel(File.ReadAllBytes(origin), seed);
    }
}
