using System.Security.Cryptography;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Conversion;

/// <summary><c>lincow convert</c> from and to the kernel's dm-snapshot stores.</summary>
public class SnapshotTests
{
    private const int SampleBytes = 64 << 20;

    [Theory]
    [InlineData("c8-mixed", "4K")]
    [InlineData("c16-snap", "8K")]
    [InlineData("c8-po-overflow", "64K")]
    public void A_store_that_the_kernel_wrote_reads_as_the_kernel_read_it(string sample, string chunk)
    {
        using var scratch = new Scratch();
        var folder = "dm-snapshot/" + sample;
        var origin = Samples.Origin(scratch, folder, SampleBytes);
        var store = Samples.Unpack(scratch, folder + "/cow.img");
        var before = Scratch.Sha256(store);
        Cli.Ok("convert", store, scratch["work.cow"], "--origin", origin, "--chunk", chunk);
        AssertMerged(scratch, scratch["work.cow"], folder);
        // To a store of another chunk size, and from that one back.
        Cli.Ok("convert", scratch["work.cow"], scratch["again.img"], "--to", "snapshot", "--chunk", "32K");
        // That one has a note of its origin.
        Cli.Ok("convert", scratch["again.img"], scratch["again.cow"]);
        AssertMerged(scratch, scratch["again.cow"], folder);
        Assert.Empty(Cli.Check(scratch["again.cow"]).Findings);
        Assert.Equal(before, Scratch.Sha256(store));
    }

    [Theory]
    [InlineData("4K", 4_000_256, 1)]
    [InlineData("512", 3 << 20, 2)]
    [InlineData("64K", 5 << 20, 3)]
    public void From_linear_to_snapshot_and_back_nothing_changes(string chunk, int bytes, int seed)
    {
        using var scratch = new Scratch();
        var overlay = new ChangedOverlay(scratch, bytes, chunk, seed);
        Cli.Ok("convert", overlay.Path, scratch["snap.img"], "--to", "snapshot", "--chunk", chunk);
        Cli.Ok("convert", scratch["snap.img"], scratch["back.cow"], "--origin", overlay.Origin, "--chunk", chunk);
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, scratch["back.cow"]));
        // The store has no zero chunks: what was zero is data now, and everything else is as it was.
        Assert.Equal(Changed(overlay.Path), Changed(scratch["back.cow"]));
    }

    [Fact]
    public void A_store_that_the_kernel_gave_up_is_refused()
    {
        using var scratch = new Scratch();
        var store = Samples.Unpack(scratch, "dm-snapshot/c8-po-overflow/cow.img");
        var origin = Samples.Origin(scratch, "dm-snapshot/c8-po-overflow", SampleBytes);
        Scratch.WriteAt(store, 4, [0]);
        Assert.Contains("given up", Cli.Fails("convert", store, scratch["work.cow"], "--origin", origin));
        Scratch.WriteAt(store, 4, [1]);
        // A list that names places outside of the store, or of the origin.
        Assert.Contains("beyond the device's end",
            Cli.Fails("convert", store, scratch["work.cow"], "--origin", scratch.Random("small.img", 1 << 20)));
        File.WriteAllBytes(scratch["cut.img"], File.ReadAllBytes(store)[..(512 << 10)]);
        Assert.Contains("cut.img", Cli.Fails("convert", scratch["cut.img"], scratch["work.cow"], "--origin", origin));
        Assert.Contains("--origin", Cli.Fails("convert", store, scratch["work.cow"]));
        Assert.False(File.Exists(scratch["work.cow"]));
    }

    [Fact]
    public void A_store_can_be_served_past_the_page_cache()
    {
        using var served = new ServedOverlay(create: ["--store", "snapshot"], serve: ["--cache", "none"]);
        // More than the list's first area.
        Nbd.QemuIo(served.Uri, "write -P 1 0 2M", "write -P 2 3M 4k", "flush");
        served.Stop();
        served.Start();
        Nbd.QemuIo(served.Uri, "read -P 1 0 2M", "read -P 2 3M 4k");
        served.Stop();
    }

    [Fact]
    public void Block_devices_can_be_either_end()
    {
        using var scratch = new Scratch();
        var overlay = new ChangedOverlay(scratch, 4 << 20, "4K", seed: 4);
        using var device = new LoopDevice(scratch.Random("device.img", 12 << 20));
        Assert.Contains("--force", Cli.Fails("convert", overlay.Path, device.Path, "--to", "snapshot"));
        Cli.Ok("convert", overlay.Path, device.Path, "--to", "snapshot", "--force");
        Cli.Ok("convert", device.Path, scratch["back.cow"], "--origin", overlay.Origin);
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, scratch["back.cow"]));
        Cli.Ok("convert", scratch["back.cow"], device.Path, "--to", "linear", "--force");
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, device.Path));
        // One that is too small for the changes isn't a store afterwards.
        using var small = new LoopDevice(scratch.Sparse("small.img", 1 << 20));
        Assert.Contains("larger", Cli.Fails("convert", overlay.Path, small.Path, "--to", "snapshot"));
        Assert.Contains("none of the formats", Cli.Fails("convert", small.Path, scratch["x.cow"], "--origin", overlay.Origin));
    }

    private static void AssertMerged(Scratch scratch, string overlay, string folder) =>
        Assert.Equal(Samples.MergedSha256(folder), Convert.ToHexStringLower(SHA256.HashData(ChangedOverlay.Read(scratch, overlay))));

    private static List<(long Start, long End)> Changed(string overlay)
    {
        List<(long Start, long End)> changed = [];
        foreach (var range in Cli.Map(overlay).Where(range => range.Depth == 0))
        {
            if (changed.Count > 0 && changed[^1].End == range.Start)
                changed[^1] = changed[^1] with { End = range.Start + range.Length };
            else
                changed.Add((range.Start, range.Start + range.Length));
        }
        return changed;
    }
}
