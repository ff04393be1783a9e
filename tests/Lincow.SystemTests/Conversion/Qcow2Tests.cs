using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Conversion;

/// <summary><c>lincow convert</c> from and to qcow2 overlays, judged by qemu's own programs.</summary>
public class Qcow2Tests
{
    [Theory]
    [InlineData("cluster_size=64k", "compat=1.1")]
    [InlineData("cluster_size=512", "compat=1.1")]
    [InlineData("cluster_size=128k,extended_l2=on", "compat=1.1")]
    [InlineData("cluster_size=4k", "compat=0.10")]
    public void An_overlay_that_qemu_wrote_reads_as_qemu_reads_it(string options, string version)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("golden.img", 3_000_320);
        // Larger than its backing file, which ends within a cluster.
        Tool.Ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", "golden.img", "-F", "raw", "-o", $"{options},{version}",
            scratch["vm.qcow2"], "4M");
        string[] writes = ["write -P 1 5 100", "write -P 2 1M 128k", "write -z 2000k 300k", "write -z -u 1200k 64k", "discard 2500k 10k",
            "write -P 3 4194203 101", "write -P 4 2990k 64k"];
        Tool.Ok("qemu-io", ["-f", "qcow2", .. writes.SelectMany(write => new[] { "-c", write }), scratch["vm.qcow2"]]);
        Tool.Ok("qemu-img", "convert", "-O", "raw", scratch["vm.qcow2"], scratch["expected.img"]);
        var before = Scratch.Sha256(scratch["vm.qcow2"]);
        Cli.Ok("convert", scratch["vm.qcow2"], scratch["work.cow"]);
        Assert.Equal(before, Scratch.Sha256(scratch["vm.qcow2"]));
        Assert.Equal(origin, Cli.Info(scratch["work.cow"]).Origin.Uri);
        Assert.Equal(File.ReadAllBytes(scratch["expected.img"]), ChangedOverlay.Read(scratch, scratch["work.cow"]));
    }

    [Theory]
    [InlineData("4K", 4_000_256, 1)]
    [InlineData("64K", 6 << 20, 2)]
    public void From_linear_to_qcow2_and_back_nothing_changes(string chunk, int bytes, int seed)
    {
        using var scratch = new Scratch();
        var overlay = new ChangedOverlay(scratch, bytes, chunk, seed);
        Cli.Ok("convert", overlay.Path, scratch["vm.qcow2"]);
        Tool.Ok("qemu-img", "check", "-q", scratch["vm.qcow2"]);
        Tool.Ok("qemu-img", "convert", "-O", "raw", scratch["vm.qcow2"], scratch["theirs.img"]);
        Assert.Equal(overlay.Content, File.ReadAllBytes(scratch["theirs.img"]));
        Cli.Ok("convert", scratch["vm.qcow2"], scratch["back.cow"], "--chunk", chunk);
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, scratch["back.cow"]));
        Assert.Equal(Cli.Map(overlay.Path).Select(range => range with { Filename = null }),
            Cli.Map(scratch["back.cow"]).Select(range => range with { Filename = null }));
    }

    [Fact]
    public void An_image_of_its_own_and_compressed_clusters_are_changes_over_nothing()
    {
        using var scratch = new Scratch();
        var raw = scratch.Random("raw.img", 1 << 20);
        Scratch.WriteAt(raw, 300_000, new byte[200_000]);
        Tool.Ok("qemu-img", "convert", "-c", "-O", "qcow2", raw, scratch["vm.qcow2"]);
        Cli.Ok("convert", scratch["vm.qcow2"], scratch["work.cow"]);
        Assert.Equal("zero:1048576", Cli.Info(scratch["work.cow"]).Origin.Uri);
        Assert.Equal(File.ReadAllBytes(raw), ChangedOverlay.Read(scratch, scratch["work.cow"]));
        Cli.Ok("convert", scratch["work.cow"], scratch["again.qcow2"]);
        Tool.Ok("qemu-img", "compare", "-q", scratch["again.qcow2"], raw);
    }

    [Fact]
    public void An_overlay_from_elsewhere_opens_no_file_of_this_machine()
    {
        using var scratch = new Scratch();
        var secret = Directory.CreateDirectory(scratch["elsewhere"]).FullName + "/secret.img";
        File.WriteAllBytes(secret, Scratch.RandomBytes(1 << 20, 1));
        Tool.Ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", scratch["vm.qcow2"]);
        Assert.Contains("--origin " + secret, Cli.Fails("convert", scratch["vm.qcow2"], scratch["new.cow"]));
        Tool.Ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", $"data_file={secret},data_file_raw=on", scratch["data.qcow2"], "1M");
        Assert.Contains("another file", Cli.Fails("convert", scratch["data.qcow2"], scratch["new.cow"]));
        Tool.Ok("qemu-img", "create", "-q", "-f", "qcow2", scratch["base.qcow2"], "1M");
        Tool.Ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", scratch["top.qcow2"]);
        Assert.Contains("raw", Cli.Fails("convert", scratch["top.qcow2"], scratch["new.cow"]));
        Assert.Contains("raw", Cli.Fails("convert", scratch["top.qcow2"], scratch["new.cow"], "--origin", scratch["base.qcow2"]));
        Assert.False(File.Exists(scratch["new.cow"]));
        // What the user says is followed, and nothing else is opened: the file that the header names is gone.
        File.Move(secret, scratch["golden.img"]);
        Cli.Ok("convert", scratch["vm.qcow2"], scratch["new.cow"], "--origin", scratch["golden.img"]);
    }

    [Fact]
    public void Without_qemu_an_error_names_the_package()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["work.cow"], "--origin", scratch.Random("origin.img", 1 << 20));
        var result = Tool.Run(Cli.Binary, ["convert", scratch["work.cow"], scratch["new.qcow2"]], new() { ["PATH"] = "/nowhere" });
        Assert.Contains("qemu-utils", Cli.Error(result, Cli.Failed));
        Assert.Empty(Directory.GetFiles(scratch.Directory, "*new.qcow2*"));
    }
}
