using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Linearity;

/// <summary>The promise that gave the format its name: a byte lies in the overlay at its own offset plus a constant.</summary>
public class LinearityTests
{
    /// <summary>Not a multiple of any chunk size above 512, so that the last chunk is cut.</summary>
    private const int TailBytes = 3 * 512;

    public static MatrixTheoryData<bool, bool, int> Combinations => new([false, true], [false, true], [512, 4 << 10, 64 << 10, 1 << 20]);

    [Theory]
    [MemberData(nameof(Combinations))]
    public void Written_bytes_lie_at_their_offset_plus_the_shift(bool isSeparate, bool isLoop, int chunkBytes)
    {
        var seed = chunkBytes + (isSeparate ? 1 : 0) + (isLoop ? 2 : 0);
        using var scratch = new Scratch();
        var deviceBytes = Math.Max(4 << 20, 12 * chunkBytes) + TailBytes;
        var originContent = DeviceModel.OriginContent(deviceBytes, seed);
        using var origin = new Backing(scratch, "origin.img", originContent, isLoop);
        using var data = new Backing(scratch, "data.cow", isLoop ? deviceBytes + (4 << 20) : 0, isLoop);
        using var map = new Backing(scratch, "the.map", isSeparate && isLoop ? 4 << 20 : 0, isLoop && isSeparate);
        string[] separate = isSeparate ? ["--map", map.Path] : [];
        Cli.Ok(["create", data.Path, "--origin", origin.Path, "--chunk", $"{chunkBytes}", "--size", $"{deviceBytes}", .. separate]);

        var content = new byte[deviceBytes];
        originContent.CopyTo(content, 0);
        var model = new DeviceModel(content, seed);
        // A separate map on a device can't be found by the data device alone: block devices have no extended attributes.
        string[] serve = isLoop && isSeparate ? [data.Path, "--map", map.Path] : [data.Path];
        for (var session = 0; session < 2; session++)
        {
            using var server = LincowServer.Start(scratch, serve);
            model.AddRandomOperations(150, chunkBytes);
            model.Play(scratch, server.Uri);
            model.AssertDeviceEquals(scratch, server.Uri);
            server.Stop();
            AssertLayout(Cli.Info(data.Path, serve[1..]), isSeparate, data.Path, chunkBytes, deviceBytes);
            model.AssertLinear(Cli.Info(data.Path, serve[1..]));
        }
        using (var server = LincowServer.Start(scratch, [.. serve, "--read-only"]))
            model.AssertDeviceEquals(scratch, server.Uri);
        Assert.Empty(Cli.Check(data.Path, 0, serve[1..]).Findings);
        model.AssertSame(originContent, Scratch.ReadAt(origin.Path, 0, originContent.Length), "the origin");
    }

    [Fact]
    public void A_fully_copied_overlay_with_a_separate_map_is_the_device_as_a_raw_image()
    {
        const int bytes = 6 << 20;
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", bytes, seed: 3);
        var written = scratch.Random("written.img", bytes, seed: 4);
        var (data, map) = (scratch["data.img"], scratch["data.map"]);
        Cli.Ok("create", data, "--origin", origin, "--map", map);
        using (var server = LincowServer.Start(scratch, data))
        {
            // No --sparse: every byte has to be a write.
            Tool.Ok("nbdcopy", "--sparse=0", "--flush", written, server.Uri);
            Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", data, server.Uri);
            server.Stop();
        }
        Assert.Equal(bytes, new FileInfo(data).Length);
        Assert.Equal(File.ReadAllBytes(written), File.ReadAllBytes(data));
        Assert.Equal(bytes / 4096, Cli.Info(data).Chunks.Data);
        Assert.Equal(0, Cli.Info(data).DataOffset);
    }

    [Theory]
    [InlineData("--map")]
    [InlineData(null)]
    public void Map_names_each_range_at_its_offset_plus_the_shift(string? mapOption)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        var overlay = scratch["o.cow"];
        string[] separate = mapOption is null ? [] : [mapOption, scratch["o.map"]];
        Cli.Ok(["create", overlay, "--origin", origin, .. separate]);
        using (var server = LincowServer.Start(scratch, overlay))
        {
            Nbd.QemuIo(server.Uri, "write -P 0x31 8k 4k", "write -P 0x32 100k 1", "discard 200k 8k", "write -P 0x33 1020k 4k", "flush");
            server.Stop();
        }
        var facts = Cli.Info(overlay);
        var held = Cli.Map(overlay).Where(range => range.Data && range.Depth == 0).ToList();
        Assert.Equal([(8 << 10, 4096L), (100 << 10, 4096), (1020 << 10, 4096)], held.Select(range => (range.Start, range.Length)));
        Assert.All(held, range => Assert.Equal((facts.DataPath, range.Start + facts.DataOffset), (range.Filename!, range.Offset!.Value)));
    }

    private static void AssertLayout(OverlayFacts facts, bool isSeparate, string dataPath, int chunkBytes, int deviceBytes)
    {
        Assert.Equal((dataPath, isSeparate ? "separate" : "front", deviceBytes), (facts.DataPath, facts.Layout, facts.Size));
        Assert.Equal((chunkBytes, true, "linear"), (facts.ChunkSize, facts.Clean, facts.Store));
        Assert.True(facts.DataOffset % (1 << 20) == 0, "the shift is a multiple of 1 MiB");
        Assert.Equal(isSeparate, facts.DataOffset == 0);
        Assert.Equal(isSeparate, facts.MapPath != facts.DataPath);
        Assert.Equal(facts.Chunks.Total, facts.Chunks.Data + facts.Chunks.Zero + facts.Chunks.Origin);
        Assert.True(facts.Chunks is { Data: > 0, Origin: > 0 });
    }

    /// <summary>A file, or a loop device over one.</summary>
    private sealed class Backing : IDisposable
    {
        private readonly LoopDevice? _loop;

        public Backing(Scratch scratch, string name, byte[] content, bool isLoop)
        {
            File.WriteAllBytes(scratch[name], content);
            // What is zero becomes a hole, as in an image that was made sparse.
            Tool.Ok("fallocate", "--dig-holes", scratch[name]);
            _loop = isLoop ? new LoopDevice(scratch[name]) : null;
            Path = _loop?.Path ?? scratch[name];
        }

        public Backing(Scratch scratch, string name, long bytes, bool isLoop)
        {
            Path = scratch[name];
            if (!isLoop)
                return;
            _loop = new LoopDevice(scratch.Sparse(name, bytes));
            Path = _loop.Path;
        }

        public string Path { get; }

        public void Dispose() => _loop?.Dispose();
    }
}
