using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>
/// An image in another format is not a disk: by whatever command it is named as an origin, it is refused by its name, with what helps; and
/// raw:PATH means its bytes all the same.
/// </summary>
public class ImageTests
{
    private const int Bytes = 1 << 20;

    [Theory]
    [InlineData("qcow2", "qcow2", "lincow convert")]
    [InlineData("vmdk", "VMDK", "qemu-nbd")]
    [InlineData("vdi", "VDI", "qemu-nbd")]
    [InlineData("vhdx", "VHDX", "qemu-nbd")]
    [InlineData("vpc", "VHD", "-f vpc")]
    [InlineData("vpc -o subformat=fixed,force_size=on", "VHD", "-f vpc")]
    [InlineData("vmdk -o subformat=monolithicFlat", "VMDK", "qemu-img")]
    [InlineData("qed", "QED", "qemu-img")]
    [InlineData("parallels", "Parallels", "qemu-img")]
    public void An_image_of_qemus_is_refused_by_its_name(string options, string format, string way)
    {
        using var scratch = new Scratch();
        var disk = scratch["disk"];
        Tool.Ok("qemu-img", ["convert", "-f", "raw", "-O", .. options.Split(' '), scratch.Random("o.img", Bytes), disk]);
        AssertRefused(scratch, disk, format, way);
    }

    [Theory]
    [InlineData("gzip", "gzip")]
    [InlineData("xz", "xz")]
    [InlineData("bzip2", "bzip2")]
    [InlineData("zstd", "zstd")]
    [InlineData("lz4", "lz4")]
    public void A_compressed_disk_is_refused_by_its_name(string program, string format)
    {
        using var scratch = new Scratch();
        scratch.Random("o.img", Bytes);
        Tool.Find(program);
        Tool.Ok("sh", "-c", $"{program} -c \"$1\" >\"$2\"; truncate -s %512 \"$2\"", "sh", scratch["o.img"], scratch["disk"]);
        AssertRefused(scratch, scratch["disk"], format, program + " -dc");
    }

    [Fact]
    public void A_part_of_a_split_disk_is_refused_with_the_others_name()
    {
        using var scratch = new Scratch();
        Tool.Ok("split", "-b", "400K", "-d", "-a", "3", scratch.Random("o.img", Bytes), scratch["disk."]);
        Assert.Contains("disk.001", AssertRefused(scratch, scratch["disk.000"], "split into several files", "nbdkit split"));
        AssertRefused(scratch, scratch["disk.001"], "split into several files", "nbdkit split");
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    [InlineData("map")]
    [InlineData("data")]
    public void Overlays_and_their_parts_are_no_origins(string part)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("o.img", Bytes);
        if (part is "linear" or "snapshot")
            Cli.Ok("create", scratch["disk"], "--origin", origin, "--store", part);
        else
            Cli.Ok("create", scratch["disk.data"], "--origin", origin, "--map", scratch["apart.map"]);
        var disk = part == "map" ? scratch["apart.map"] : part == "data" ? scratch["disk.data"] : scratch["disk"];
        AssertRefused(scratch, disk, "lincow overlay", "raw:");
    }

    [Fact]
    public void What_an_overlay_remembers_stays_a_disk_whatever_a_guest_writes_into_it()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("o.img", Bytes);
        Cli.Ok("create", scratch["a.cow"], "--origin", origin);
        Cli.Ok("run", scratch["a.cow"], "--no-device", "--", "sh", "-c",
            "printf 'QFI\\373\\0\\0\\0\\3' >\"$1\"; truncate -s 4096 \"$1\"; qemu-io -f raw -c \"write -s $1 0 4k\" \"$LINCOW_URI\"", "sh",
            scratch["head"]);
        Cli.Ok("commit", scratch["a.cow"]);
        Cli.Ok("run", scratch["a.cow"], "--no-device", "--", "true");
        // Named anew it is looked at.
        Assert.Contains("qcow2", Cli.Fails("create", scratch["b.cow"], "--origin", origin));
    }

    [Fact]
    public void Raw_means_the_bytes_and_is_remembered()
    {
        using var scratch = new Scratch();
        var disk = scratch["disk"];
        Tool.Ok("qemu-img", "create", "-q", "-f", "qcow2", disk, "1M");
        Tool.Ok("truncate", "-s", "1M", disk);
        Cli.Ok("create", scratch["a.cow"], "--origin", "raw:" + disk);
        Assert.Equal(("raw:" + disk, true), (Cli.Info(scratch["a.cow"]).Origin.Uri, Cli.Info(scratch["a.cow"]).Origin.Present));
        using (var server = LincowServer.Start(scratch, scratch["a.cow"]))
        {
            Assert.Equal(File.ReadAllBytes(disk), Nbd.ReadAll(scratch, server.Uri));
            Nbd.QemuIo(server.Uri, "write -P 7 512k 64k");
            server.Stop();
        }
        Assert.Contains(Cli.Map(scratch["a.cow"]), range => range.Filename == disk);
        // A path of its own: found from elsewhere, and under its plain name it is the same place.
        Tool.Ok("sh", "-c", "cd \"$1\" && \"$0\" create b.cow --origin raw:disk", Cli.Binary, scratch.Directory);
        Assert.Equal("raw:" + disk, Cli.Info(scratch["b.cow"]).Origin.Uri);
        Cli.Ok("convert", scratch["a.cow"], scratch["a.qcow2"]);
        Cli.Ok("convert", scratch["a.qcow2"], scratch["c.cow"], "--origin", "raw:" + disk);
        Cli.Ok("commit", scratch["a.cow"]);
        Assert.Equal(7, File.ReadAllBytes(disk)[512 << 10]);
    }

    /// <summary>By every command that takes an origin's name. Returns what create says.</summary>
    private static string AssertRefused(Scratch scratch, string disk, string format, string way)
    {
        var nbd = "unix:" + scratch["s"];
        var refused = Cli.Fails("create", scratch["x.cow"], "--origin", disk);
        Assert.False(File.Exists(scratch["x.cow"]));
        string[] sentences =
        [
            refused,
            Cli.Fails("run", "--no-device", "--origin", disk, "--", "true"),
            Cli.Fails("serve", "--origin", disk, "--nbd", nbd),
            Cli.Fails("create", scratch["x.snap"], "--origin", disk, "--store", "snapshot"),
            Cli.Fails("serve", "--table", $"0 2048 cow {disk} {scratch["x.cow"]} N 8", "--nbd", nbd),
        ];
        Cli.Ok("create", scratch["y.cow"], "--origin", "zero:1M", "--force");
        Cli.Ok("create", scratch["y.snap"], "--origin", "zero:1M", "--store", "snapshot", "--force");
        sentences =
        [
            .. sentences,
            Cli.Fails("serve", scratch["y.cow"], "--origin", disk, "--accept-origin", "--nbd", nbd),
            Cli.Fails("map", scratch["y.cow"], "--origin", disk, "--accept-origin"),
            Cli.Fails("serve", scratch["y.snap"], "--snapshot-origin", disk, "--accept-origin", "--nbd", nbd),
            Cli.Fails("convert", scratch["y.snap"], scratch["z.cow"], "--origin", disk, "--accept-origin"),
        ];
        Assert.All(sentences, sentence =>
        {
            Assert.Contains(disk, sentence);
            Assert.Contains(format, sentence);
            Assert.Contains(way, sentence);
            Assert.Contains("raw:" + disk, sentence);
        });
        return refused;
    }
}
