using System.Globalization;
using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary><c>lincow commit</c> of linear overlays; of the kernel's stores see Snapshots/.</summary>
public class CommitTests
{
    [Theory]
    [InlineData("4K", 4_000_256, 1)]
    [InlineData("512", 3 << 20, 2)]
    [InlineData("64K", 5 << 20, 3)]
    public void After_a_commit_the_origin_is_what_the_device_was_and_the_overlay_is_empty(string chunk, int bytes, int seed)
    {
        using var scratch = new Scratch();
        var overlay = new ChangedOverlay(scratch, bytes, chunk, seed);
        Cli.Ok("create", scratch["other.cow"], "--origin", overlay.Origin);
        var changed = Cli.Map(overlay.Path).Where(range => range.Depth == 0).Sum(range => range.Length);
        using var report = JsonDocument.Parse(Cli.Ok("commit", overlay.Path, "--json"));
        Assert.Equal(changed, report.RootElement.GetProperty("bytes").GetInt64());
        Assert.Equal(overlay.Origin, report.RootElement.GetProperty("origin").GetString());
        Assert.Equal(overlay.Content, File.ReadAllBytes(overlay.Origin));
        var info = Cli.Info(overlay.Path);
        Assert.Equal((0L, 0L, true), (info.Chunks.Data, info.Chunks.Zero, info.Clean));
        Assert.Empty(Cli.Check(overlay.Path).Findings);
        Assert.Equal(overlay.Content, ChangedOverlay.Read(scratch, overlay.Path));
        // Another one of the same origin would show what it never was.
        Assert.Contains("is not the origin", Cli.Fails("serve", scratch["other.cow"], "--nbd", "unix:" + scratch.NewSocket()));
        // There is nothing left to commit, and nothing happens.
        Assert.Contains("0 chunks", Cli.Ok("commit", overlay.Path));
        Assert.Equal(overlay.Content, File.ReadAllBytes(overlay.Origin));
    }

    [Fact]
    public void However_often_it_is_killed_a_commit_goes_on_when_it_is_run_again()
    {
        using var scratch = new Scratch();
        // More than one batch.
        const int bytes = 121 << 20;
        // The origin has to grow, too.
        var origin = scratch.Random("origin.img", 1 << 20);
        Cli.Ok("create", scratch["work.cow"], "--origin", origin, "--size", $"{bytes}");
        using (var server = LincowServer.Start(scratch, scratch["work.cow"]))
        {
            Nbd.QemuIo(server.Uri, [.. Enumerable.Range(0, 30).Select(i => $"write -P {i + 1} {i * 4 + 1}M 3M")]);
            server.Stop();
        }
        var (killed, limit) = (0, 10.0);
        while (true)
        {
            // From before its first write to after its last one.
            var result = Tool.Run("timeout", "--signal=KILL", (limit / 1000).ToString("0.000", CultureInfo.InvariantCulture), Cli.Binary,
                "commit", scratch["work.cow"], "--quiet");
            if (result.ExitCode == 0)
                break;
            Assert.True(result.ExitCode == 137, result.ToString());
            killed++;
            limit *= 1.4;
            using var server = LincowServer.Start(scratch, scratch["work.cow"], "--read-only");
            Nbd.QemuIoReadOnly(server.Uri, [.. Enumerable.Range(0, 30).Select(i => $"read -P {i + 1} {i * 4 + 1}M 3M")]);
            server.Stop();
        }
        Assert.True(killed > 2, $"it was killed {killed} times only");
        Assert.Equal(bytes, new FileInfo(origin).Length);
        for (var i = 0; i < 30; i++)
            Assert.DoesNotContain(Scratch.ReadAt(origin, (i * 4 + 1L) << 20, 3 << 20), value => value != i + 1);
        Assert.Empty(Cli.Check(scratch["work.cow"]).Findings);
    }

    [Fact]
    public void What_somebody_uses_is_not_written_to()
    {
        using var served = new ServedOverlay();
        var other = served.Scratch["other.cow"];
        Cli.Ok("create", other, "--origin", served.Origin);
        Assert.Contains("is in use by", Cli.Fails("commit", served.Overlay));
        Assert.Contains("nobody may use it meanwhile", Cli.Fails("commit", other));
        served.Stop();
        Cli.Ok("create", served.Scratch["zero.cow"], "--origin", "zero:1M");
        Assert.Contains("nothing to commit to", Cli.Fails("commit", served.Scratch["zero.cow"]));
        Scratch.WriteAt(served.Origin, 100, [1]);
        var before = Scratch.Sha256(served.Origin);
        Assert.Contains("--accept-origin", Cli.Fails("commit", other));
        Assert.Equal(before, Scratch.Sha256(served.Origin));
    }

    [Fact]
    public void A_mounted_block_device_is_refused_and_a_free_one_is_written()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var image = scratch.Sparse("disk.img", 32 << 20);
        Tool.Ok("mkfs.ext4", "-q", image);
        using var device = new LoopDevice(image);
        Cli.Ok("create", scratch["work.cow"], "--origin", device.Path);
        using (var server = LincowServer.Start(scratch, scratch["work.cow"]))
        {
            Nbd.QemuIo(server.Uri, "write -P 7 20M 64k", "write -z 24M 64k");
            server.Stop();
        }
        Directory.CreateDirectory(scratch["mnt"]);
        Tool.Ok("mount", "-o", "ro", device.Path, scratch["mnt"]);
        try
        {
            Assert.Contains("mounted", Cli.Fails("commit", scratch["work.cow"]));
        }
        finally
        {
            Tool.Ok("umount", scratch["mnt"]);
        }
        Cli.Ok("commit", scratch["work.cow"]);
        Assert.DoesNotContain(Scratch.ReadAt(device.Path, 20 << 20, 64 << 10), value => value != 7);
        Assert.DoesNotContain(Scratch.ReadAt(device.Path, 24 << 20, 64 << 10), value => value != 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_block_device_is_in_use_by_what_lies_on_it_and_under_it(bool isUnder)
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var image = scratch.Sparse("disk.img", 32 << 20);
        Tool.Ok("mkfs.ext4", "-q", image);
        using var lower = new LoopDevice(image);
        using var upper = new LoopDevice(lower.Path);
        var (origin, mounted) = isUnder ? (upper.Path, lower.Path) : (lower.Path, upper.Path);
        Cli.Ok("create", scratch["work.cow"], "--origin", origin);
        Cli.Ok("create", scratch["store.snap"], "--origin", origin, "--store", "snapshot");
        using (var server = LincowServer.Start(scratch, scratch["work.cow"]))
        {
            Nbd.QemuIo(server.Uri, "write -P 7 20M 64k");
            server.Stop();
        }
        Directory.CreateDirectory(scratch["mnt"]);
        Tool.Ok("mount", "-o", "ro", mounted, scratch["mnt"]);
        try
        {
            foreach (var error in new[] { Cli.Fails("commit", scratch["work.cow"]),
                Cli.Fails("serve", scratch["store.snap"], "--snapshot-origin", origin, "--nbd", "unix:" + scratch.NewSocket()) })
            {
                Assert.Contains(mounted, error);
                Assert.Contains("mounted on " + scratch["mnt"], error);
            }
        }
        finally
        {
            Tool.Ok("umount", scratch["mnt"]);
        }
        Cli.Ok("commit", scratch["work.cow"]);
        Assert.DoesNotContain(Scratch.ReadAt(origin, 20 << 20, 64 << 10), value => value != 7);
    }

    [Fact]
    public void A_commit_that_is_refused_has_changed_nothing_of_what_the_overlay_remembers()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 4 << 20);
        foreach (var (overlay, store) in new[] { (scratch["a.cow"], "linear"), (scratch["a.snap"], "snapshot") })
        {
            Cli.Ok("create", overlay, "--origin", origin, "--size", "8M", "--store", store);
            using (var server = LincowServer.Start(scratch, overlay))
            {
                Nbd.QemuIo(server.Uri, "write -P 7 0 64k");
                server.Stop();
            }
            using (var device = new LoopDevice(scratch.Random("other.img", 4 << 20)))
                Assert.Contains("a block device can't grow", Cli.Fails("commit", overlay, "--origin", device.Path, "--accept-origin"));
            AssertAsItWas();
            // A file that can't grow.
            var refused = Tool.Run("bash", "-c", "trap '' XFSZ; ulimit -f 6144; exec \"$0\" \"$@\"", Cli.Binary, "commit", overlay,
                "--origin", scratch.Random("third.img", 4 << 20), "--accept-origin");
            Assert.Contains("Nothing was committed", Cli.Error(refused, Cli.Failed));
            AssertAsItWas();

            void AssertAsItWas()
            {
                var info = Cli.Info(overlay);
                Assert.Equal((origin, true), (info.Origin.Uri, info.Clean));
                using var server = LincowServer.Start(scratch, overlay);
                Nbd.QemuIo(server.Uri, "read -P 7 0 64k");
                server.Stop();
            }
        }
    }

    [Fact]
    public void An_origin_is_in_use_under_its_other_names_too()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var image = scratch.Sparse("disk.img", 32 << 20);
        Tool.Ok("mkfs.ext4", "-q", image);
        // As the driver remembers it, the path leads nowhere by now.
        File.CreateSymbolicLink(scratch["link.img"], image);
        using var device = new LoopDevice(scratch["link.img"]);
        File.Delete(scratch["link.img"]);
        File.Move(image, scratch["moved.img"]);
        var (byFile, byDevice) = (scratch["file.cow"], scratch["device.cow"]);
        Cli.Ok("create", byFile, "--origin", scratch["moved.img"]);
        Cli.Ok("create", byDevice, "--origin", device.Path);
        foreach (var overlay in (string[])[byFile, byDevice])
        {
            using var server = LincowServer.Start(scratch, overlay);
            Nbd.QemuIo(server.Uri, "write -P 7 20M 64k");
            server.Stop();
        }
        Directory.CreateDirectory(scratch["mnt"]);
        Tool.Ok("mount", "-o", "ro", device.Path, scratch["mnt"]);
        try
        {
            var error = Cli.Fails("commit", byFile);
            Assert.Contains(device.Path, error);
            Assert.Contains("mounted", error);
        }
        finally
        {
            Tool.Ok("umount", scratch["mnt"]);
        }
        // The file behind the device is found by the name that the driver knows.
        File.Move(scratch["moved.img"], image);
        Cli.Ok("create", scratch["other.cow"], "--origin", image);
        using (var server = LincowServer.Start(scratch, scratch["other.cow"]))
        {
            Assert.Contains($"process {server.Id}", Cli.Fails("commit", byDevice));
            server.Stop();
        }
        Cli.Ok("commit", byDevice);
        Assert.DoesNotContain(Scratch.ReadAt(device.Path, 20 << 20, 64 << 10), value => value != 7);
    }
}
