using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Clients;

/// <summary>Whole images in and out, by nbdcopy and qemu-img.</summary>
public class CopyTests
{
    private const int Bytes = 6 << 20;

    [Theory]
    [InlineData()]
    [InlineData("--no-extents")]
    [InlineData("--synchronous")]
    [InlineData("--sparse=0")]
    [InlineData("--connections=8")]
    [InlineData("--allocated")]
    public void Nbdcopy_in_and_out_again_gives_the_same_image(params string[] options)
    {
        using var scratch = new Scratch();
        var (image, copy) = (HalfEmptyImage(scratch), scratch["copy.img"]);
        using var server = ServeOverOther(scratch);
        Tool.Ok("nbdcopy", [.. options, "--flush", image, server.Uri]);
        Tool.Ok("nbdcopy", [.. options, server.Uri, copy]);
        Assert.Equal(Scratch.Sha256(image), Scratch.Sha256(copy));
        server.Stop();
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
    }

    [Fact]
    public void Nbdcopy_from_one_export_to_another_gives_the_same_image()
    {
        using var served = new ServedOverlay(Bytes);
        using var scratch = new Scratch();
        using var other = ServeOverOther(scratch);
        Nbd.QemuIo(served.Uri, "write -P 0x5a 100k 300k", "discard 1M 1M");
        Tool.Ok("nbdcopy", served.Uri, other.Uri);
        Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", served.Uri, other.Uri);
        other.Stop();
        served.Stop();
    }

    [Fact]
    public void Qemu_img_converts_out_of_the_device()
    {
        using var served = new ServedOverlay(Bytes);
        Nbd.QemuIo(served.Uri, "write -P 0x11 1234567 89", "write -z 3M 1M", "discard 5M 512k");
        var expected = served.OriginContent;
        expected.AsSpan(1234567, 89).Fill(0x11);
        expected.AsSpan(3 << 20, 1 << 20).Clear();
        expected.AsSpan(5 << 20, 512 << 10).Clear();
        var (raw, qcow2) = (served.Scratch["out.img"], served.Scratch["out.qcow2"]);
        Tool.Ok("qemu-img", "convert", "-f", "raw", "-O", "raw", served.Uri, raw);
        Assert.Equal(expected, File.ReadAllBytes(raw));
        Tool.Ok("qemu-img", "convert", "-f", "raw", "-O", "qcow2", served.Uri, qcow2);
        Tool.Ok("qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow2, served.Uri);
        served.Stop();
    }

    [Fact]
    public void Qemu_img_converts_into_the_device()
    {
        using var scratch = new Scratch();
        var image = HalfEmptyImage(scratch);
        using var server = ServeOverOther(scratch);
        Tool.Ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, server.Uri);
        Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", image, server.Uri);
        Assert.Equal(File.ReadAllBytes(image), Nbd.ReadAll(scratch, server.Uri));
        server.Stop();
    }

    [Fact]
    public void Qemu_img_compare_sees_a_single_changed_byte()
    {
        using var served = new ServedOverlay(Bytes);
        Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", served.Origin, served.Uri);
        var old = served.OriginContent[4567890];
        Nbd.QemuIo(served.Uri, $"write -P {old ^ 1} 4567890 1");
        Assert.Equal(1, Tool.Run("qemu-img", "compare", "-f", "raw", "-F", "raw", served.Origin, served.Uri).ExitCode);
        served.Stop();
    }

    [Fact]
    public void Qemu_img_map_shows_what_is_data_and_what_is_zero()
    {
        using var served = new ServedOverlay(Bytes);
        Nbd.QemuIo(served.Uri, "discard 1M 1M", "write -z 4M 64k");
        using var json = JsonDocument.Parse(Tool.Ok("qemu-img", "map", "-f", "raw", "--output=json", served.Uri));
        var zero = json.RootElement.EnumerateArray().Where(range => range.GetProperty("zero").GetBoolean())
            .Select(range => (range.GetProperty("start").GetInt64(), range.GetProperty("length").GetInt64())).ToList();
        Assert.Equal([(1L << 20, 1L << 20), (4L << 20, 64L << 10)], zero);
        served.Stop();
    }

    private static string HalfEmptyImage(Scratch scratch)
    {
        var image = scratch.Sparse("image.img", Bytes);
        for (var i = 0; i < 6; i += 2)
            Scratch.WriteAt(image, (i << 20) + 777, Scratch.RandomBytes(700_000, i));
        return image;
    }

    /// <summary>An overlay whose origin is full of other bytes, which must not shine through.</summary>
    private static LincowServer ServeOverOther(Scratch scratch)
    {
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch.Random("other.img", Bytes, seed: 99));
        return LincowServer.Start(scratch, scratch["o.cow"]);
    }
}
