using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Concurrency;

/// <summary>
/// What xfstests' fsx does to a file, to the device: thousands of random operations of any alignment, many in flight over several
/// connections, next to an array in memory that says what must be there. In between clients come and go, the server ends, is killed after a
/// flush, or the overlay is reset.
/// </summary>
public class FsxTests
{
    private const int Sessions = 10, Operations = 400;

    [Theory]
    [InlineData(512, false, "", "writeback")]
    [InlineData(4 << 10, true, "posix", "writeback")]
    [InlineData(4 << 10, false, "", "none")]
    [InlineData(16 << 10, true, "posix", "none")]
    [InlineData(64 << 10, true, "", "writeback")]
    [InlineData(1 << 20, false, "", "writeback")]
    public void A_device_is_an_array_of_bytes_whatever_is_done_to_it(int chunkBytes, bool isSeparate, string io, string cache)
    {
        var seed = Seeds.Pick(chunkBytes + io.Length + cache.Length);
        var random = new Random(seed);
        using var scratch = new Scratch();
        // The last chunk is cut, in sectors where that is allowed.
        var deviceBytes = (3 << 20) + (cache == "none" ? 4096 : 1536);
        var origin = DeviceModel.OriginContent(deviceBytes, seed);
        File.WriteAllBytes(scratch["origin.img"], origin);
        Tool.Ok("fallocate", "--dig-holes", scratch["origin.img"]);
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        Cli.Ok(["create", scratch["o.cow"], "--origin", scratch["origin.img"], "--chunk", $"{chunkBytes}", "--size", $"{deviceBytes}",
            .. separate]);

        var content = new byte[deviceBytes];
        origin.CopyTo(content, 0);
        var model = new DeviceModel(content, seed);
        LincowServer? server = null;
        try
        {
            for (var session = 0; session < Sessions; session++)
            {
                server ??= LincowServer.Start([scratch["o.cow"], "--cache", cache, "--nbd", "unix:" + scratch.NewSocket()],
                    environment: new() { ["LINCOW_IO"] = io });
                model.AddRandomOperations(Operations, chunkBytes);
                // 0: the server goes on; 1: it ends; 2: it is killed; 3: the overlay is reset.
                var end = session == Sessions - 1 ? 1 : random.Next(4);
                if (end == 2)
                    model.Flush();
                model.Play(scratch, server.Uri);
                model.AssertDeviceEquals(scratch, server.Uri);
                if (end == 0)
                    continue;
                if (end == 2)
                    server.Kill();
                else
                    server.Stop();
                server.Dispose();
                server = null;
                Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
                if (end == 3)
                {
                    Cli.Ok("reset", scratch["o.cow"]);
                    model.Reset(origin);
                }
            }
            model.AssertLinear(Cli.Info(scratch["o.cow"]));
            server = LincowServer.Start(scratch, scratch["o.cow"], "--read-only");
            model.AssertDeviceEquals(scratch, server.Uri);
            server.Stop();
        }
        finally
        {
            server?.Dispose();
        }
        model.AssertSame(origin, File.ReadAllBytes(scratch["origin.img"]), "the origin");
    }
}
