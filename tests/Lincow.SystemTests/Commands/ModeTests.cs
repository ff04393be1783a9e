using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>Other ways to the same bytes: O_DIRECT, and no io_uring.</summary>
public class ModeTests
{
    private const int Bytes = 4 << 20;

    [Theory]
    [InlineData("4K", false)]
    [InlineData("64K", true)]
    public void Cache_none_does_the_same_past_the_page_cache(string chunk, bool isSeparate)
    {
        RequireDirectIo();
        var seed = isSeparate ? 11 : 12;
        AssertModel(seed, chunk, isSeparate, ["--cache", "none"], []);
    }

    [Fact]
    public void Cache_none_refuses_chunks_below_the_disks_block()
    {
        RequireDirectIo();
        using var scratch = new Scratch();
        using var loop = new LoopDevice(scratch.Sparse("disk", 8 << 20), sectorBytes: 4096);
        Cli.Ok("create", loop.Path, "--origin", "zero:1M", "--chunk", "512");
        Assert.Contains("--cache", Cli.Fails("serve", loop.Path, "--cache", "none", "--nbd", "unix:" + scratch["s"]));
    }

    [Fact]
    public void Cache_none_works_on_a_loop_device()
    {
        RequireDirectIo();
        using var scratch = new Scratch();
        using var loop = new LoopDevice(scratch.Sparse("disk", 8 << 20));
        var origin = scratch.Random("origin.img", Bytes, seed: 13);
        Cli.Ok("create", loop.Path, "--origin", origin);
        var model = new DeviceModel(File.ReadAllBytes(origin), 13);
        using var server = LincowServer.Start(scratch, loop.Path, "--cache", "none");
        model.AddRandomOperations(100, 4096);
        model.Play(scratch, server.Uri);
        model.AssertDeviceEquals(scratch, server.Uri);
        server.Stop();
        model.AssertLinear(Cli.Info(loop.Path));
    }

    [Theory]
    [InlineData("4K", false)]
    [InlineData("512", true)]
    public void LINCOW_IO_posix_does_the_same_without_io_uring(string chunk, bool isSeparate)
    {
        var seed = isSeparate ? 21 : 22;
        AssertModel(seed, chunk, isSeparate, [], new() { ["LINCOW_IO"] = "posix" });
    }

    private static void AssertModel(int seed, string chunk, bool isSeparate, string[] serve, Dictionary<string, string> environment)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", Bytes, seed);
        string[] separate = isSeparate ? ["--map", scratch["o.map"]] : [];
        Cli.Ok(["create", scratch["o.cow"], "--origin", origin, "--chunk", chunk, .. separate]);
        var model = new DeviceModel(File.ReadAllBytes(origin), seed);
        for (var session = 0; session < 2; session++)
        {
            using var server = LincowServer.Start([scratch["o.cow"], "--nbd", "unix:" + scratch.NewSocket(), .. serve],
                environment: environment);
            model.AssertDeviceEquals(scratch, server.Uri);
            model.AddRandomOperations(150, 64 << 10);
            model.Play(scratch, server.Uri);
            model.AssertDeviceEquals(scratch, server.Uri);
            server.Stop();
            Assert.Equal("", server.Errors.Trim());
        }
        model.AssertLinear(Cli.Info(scratch["o.cow"]));
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
        model.AssertSame(Scratch.RandomBytes(Bytes, seed), File.ReadAllBytes(origin), "the origin");
    }

    private static void RequireDirectIo()
    {
        using var scratch = new Scratch();
        if (Tool.Run("dd", "if=/dev/zero", "of=" + scratch["direct"], "bs=4096", "count=1", "oflag=direct").ExitCode != 0)
            Tool.Missing($"the file system of {Path.GetTempPath()} knows no O_DIRECT");
    }
}
