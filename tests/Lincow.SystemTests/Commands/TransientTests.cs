using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>Overlays that are forgotten.</summary>
public class TransientTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_transient_overlay_leaves_nothing_behind(bool isKilled)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 2 << 20);
        var place = Directory.CreateDirectory(scratch["place"]).FullName;
        var before = (Scratch.Sha256(origin), Directory.GetFileSystemEntries(scratch.Directory).Order().ToArray());
        using (var server = LincowServer.Start(scratch, "--origin", origin, "--overlay", place))
        {
            Nbd.QemuIo(server.Uri, "write -P 5 1000 1M", "flush", "read -P 5 1000 1M", "discard 0 64k", "read -P 0 0 1000");
            Assert.Empty(Directory.EnumerateFileSystemEntries(place));
            if (isKilled)
                server.Kill();
            else
                server.Stop();
        }
        Assert.Empty(Directory.EnumerateFileSystemEntries(place));
        Assert.Equal(before.Item1, Scratch.Sha256(origin));
        if (!isKilled)
            Assert.Equal(before.Item2, Directory.GetFileSystemEntries(scratch.Directory).Order());
        using var again = LincowServer.Start(scratch, "--origin", origin, "--overlay", place);
        Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", origin, again.Uri);
        again.Stop();
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public void A_transient_overlay_that_is_served_is_reset_by_its_name(string store)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        using var server = LincowServer.Start(scratch, "--origin", origin, "--name", "scratchpad", "--store", store);
        Nbd.QemuIo(server.Uri, "write -P 5 0 1M", "flush");
        if (store == "snapshot")
        {
            Assert.Contains("dm-snapshot", Cli.Fails("reset", "scratchpad"));
            return;
        }
        Assert.Contains("shows its origin", Cli.Ok("reset", "scratchpad"));
        Assert.Equal(File.ReadAllBytes(origin), Nbd.ReadAll(scratch, server.Uri));
        Nbd.QemuIo(server.Uri, "write -P 6 4k 4k", "flush", "read -P 6 4k 4k");
        Cli.Ok("reset", "scratchpad", "--json");
        Assert.Equal(File.ReadAllBytes(origin), Nbd.ReadAll(scratch, server.Uri));
        server.Stop();
    }

    [Fact]
    public void A_transient_overlay_that_is_attached_is_reset_by_its_device()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var origin = scratch.Random("origin.img", 1 << 20);
        var device = attachments.Attach("--origin", origin, "--via", "fuse");
        Tool.Ok("dd", "if=/dev/zero", "of=" + device, "bs=64k", "count=16", "conv=fsync", "status=none");
        attachments.Ok("reset", device);
        Assert.Equal(File.ReadAllBytes(origin), File.ReadAllBytes(device));
        attachments.Ok("detach", device);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void A_new_path_for_a_transient_overlay_is_not_there_even_while_it_is_served()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        using var server = LincowServer.Start(scratch, "--origin", origin, "--overlay", scratch["t.cow"]);
        Nbd.QemuIo(server.Uri, "write -P 5 0 64k", "read -P 5 0 64k");
        Assert.False(File.Exists(scratch["t.cow"]));
        server.Stop();
    }

    [Fact]
    public void A_file_that_is_there_is_not_taken_for_a_transient_overlay()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        var precious = scratch.Random("precious", 100, seed: 2);
        Assert.Contains(precious, Cli.Fails("serve", "--origin", origin, "--overlay", precious, "--nbd", "unix:" + scratch["s"]));
        Assert.Equal(Scratch.RandomBytes(100, 2), File.ReadAllBytes(precious));
    }

    [Fact]
    public void A_transient_overlay_on_a_block_device_starts_from_the_origin_whatever_the_device_holds()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        using var loop = new LoopDevice(scratch.Random("disk", 2 << 20, seed: 9));
        for (var session = 0; session < 2; session++)
        {
            using var server = LincowServer.Start(scratch, "--origin", origin, "--overlay", loop.Path);
            Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", origin, server.Uri);
            Nbd.QemuIo(server.Uri, "write -P 5 3000 300k", "read -P 5 3000 300k");
            server.Stop();
        }
    }

    [Fact]
    public void Size_and_chunk_of_a_transient_overlay_are_its_options()
    {
        using var scratch = new Scratch();
        using var server = LincowServer.Start(scratch, "--origin", "zero:1M", "--size", "3M", "--chunk", "64K");
        Nbd.Script("""
            h = connect(sys.argv[1], 'lincow:overlay')
            check(h.get_size() == 3 << 20, 'the size')
            h.pwrite(b'x', 200000)
            expected = [(0, 196608, 0), (196608, 65536, 1), (262144, (3 << 20) - 262144, 0)]
            check(extents(h, 3 << 20, 0)['lincow:overlay'] == expected, 'the chunk')
            """, server.Uri);
        server.Stop();
    }

    [Fact]
    public void Options_that_contradict_each_other_are_wrong_usage()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        Cli.Misused("serve");
        Cli.Misused("serve", scratch["o.cow"], "--overlay", scratch.Directory);
        Cli.Misused("serve", scratch["o.cow"], scratch["o.cow"], "--origin", "zero:1M");
        Cli.Misused("serve", scratch["o.cow"], "--name", "a", "--name", "b");
        Cli.Misused("serve", scratch["o.cow"], "--cache", "sometimes");
    }
}
