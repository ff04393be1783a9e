using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>An origin that somebody changes: said before, where it can be seen, and after, where it happened.</summary>
public class OriginUseTests
{
    private const int Bytes = 1 << 20;

    [Fact]
    public void A_mounted_origin_is_refused_by_the_mount_s_name_under_each_of_its_names()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var image = FileSystem(scratch);
        using var loop = new LoopDevice(image);
        var mount = Directory.CreateDirectory(scratch["mnt"]).FullName;
        Cli.Ok("create", scratch["before.cow"], "--origin", image);
        Tool.Ok("mount", loop.Path, mount);
        try
        {
            foreach (var origin in new[] { loop.Path, image })
            {
                var refused = Cli.Fails("create", scratch["a.cow"], "--origin", origin);
                Assert.Contains(mount, refused);
                Assert.Contains("--accept-in-use", refused);
                Assert.Contains(mount, Cli.Fails("serve", "--origin", origin, "--nbd", "unix:" + scratch["s"]));
                Assert.Contains(mount, Cli.Fails("attach", "--origin", origin));
            }
            Assert.Contains(mount, Cli.Fails("serve", scratch["before.cow"], "--accept-origin", "--nbd", "unix:" + scratch["s"]));
            var accepted = Cli.Run("create", scratch["a.cow"], "--origin", loop.Path, "--accept-in-use");
            Assert.Equal(0, accepted.ExitCode);
            Assert.Contains(mount, accepted.Errors);
            var within = Cli.Fails("create", Path.Combine(mount, "self.cow"), "--origin", loop.Path, "--accept-in-use");
            Assert.Contains("in its own origin", within);
            Assert.False(File.Exists(Path.Combine(mount, "self.cow")));
        }
        finally
        {
            Tool.Ok("umount", mount);
        }
    }

    [Fact]
    public void Who_only_reads_an_origin_is_no_reason()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        var image = FileSystem(scratch);
        var mount = Directory.CreateDirectory(scratch["mnt"]).FullName;
        Tool.Ok("mount", "-o", "loop,ro", image, mount);
        try
        {
            using var reader = File.OpenRead(image);
            var made = Cli.Run("create", scratch["a.cow"], "--origin", image);
            Assert.Equal((0, ""), (made.ExitCode, made.Errors));
        }
        finally
        {
            Tool.Ok("umount", mount);
        }
    }

    [Fact]
    public void Who_has_an_origin_open_for_writing_is_named()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin", Bytes);
        using (File.Open(origin, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite))
        {
            var me = $"process {Environment.ProcessId.ToString(CultureInfo.InvariantCulture)} ";
            var made = Cli.Run("create", scratch["a.cow"], "--origin", origin);
            Assert.Equal(0, made.ExitCode);
            Assert.Contains(me, made.Errors);
            Assert.Contains(me, Cli.Run("run", scratch["a.cow"], "--no-device", "--", "true").Errors);
            // Alone, or not at all.
            Assert.Contains(me, Cli.Fails("commit", scratch["a.cow"]));
        }
        Assert.Empty(Cli.Run("create", scratch["b.cow"], "--origin", origin).Errors);
    }

    [Theory]
    [InlineData("dd if=/dev/zero of=\"$0\" bs=4096 seek=3 count=1 conv=notrunc status=none", "was modified at")]
    [InlineData("truncate -s 512K \"$0\"", "its size is 524288 bytes now")]
    public void An_origin_that_was_changed_while_it_was_served_is_said_at_the_end(string change, string how)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin", Bytes);
        Cli.Ok("create", scratch["a.cow"], "--origin", origin);
        using var server = LincowServer.Start(scratch, scratch["a.cow"]);
        Nbd.QemuIo(server.Uri, "write -P 5 4k 4k", "flush");
        Tool.Ok("sh", "-c", change, origin);
        if (change.StartsWith("truncate", StringComparison.Ordinal))
        {
            var read = Tool.Run("qemu-io", ["-f", "raw", "-c", "read 600k 4k", server.Uri], []);
            Assert.Contains("Input/output error", read.Output + read.Errors);
        }
        server.Send(LincowServer.Terminate);
        Assert.Equal(Cli.Failed, server.AwaitEnd());
        Assert.Contains("changed by somebody else while it was served", server.Errors);
        Assert.Contains(origin, server.Errors);
        Assert.Contains(how, server.Errors);
        // What was written is safe, and the overlay knows that this isn't its origin any more.
        Assert.True(Cli.Info(scratch["a.cow"]).Clean);
        Assert.Contains("is not the origin", Cli.Fails("map", scratch["a.cow"]));
    }

    /// <summary>A program that shows an image as a file gives it the time of its mount.</summary>
    [Fact]
    public void A_fuse_file_that_is_mounted_again_is_the_same_origin()
    {
        Tool.RequireRoot();
        Tool.Find("nbdkit");
        Tool.Find("nbdfuse");
        using var scratch = new Scratch();
        var image = scratch.Random("image", Bytes);
        var file = scratch["file"];
        File.WriteAllBytes(file, []);
        Shown(() =>
        {
            var made = Cli.Run("create", scratch["a.cow"], "--origin", file);
            Assert.Equal(0, made.ExitCode);
            Assert.Contains("lies on FUSE", made.Errors);
        });
        // Times go in whole seconds there.
        var second = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        while (DateTimeOffset.UtcNow.ToUnixTimeSeconds() <= second)
            Thread.Sleep(20);
        Shown(() => Cli.Ok("map", scratch["a.cow"]));
        Scratch.WriteAt(image, 0, new byte[4096]);
        Shown(() => Assert.Contains("content differs", Cli.Fails("map", scratch["a.cow"])));

        void Shown(Action use)
        {
            using var fuse = Surroundings.Start(new System.Diagnostics.ProcessStartInfo("nbdfuse",
                [file, "--command", "nbdkit", "-s", "--exit-with-parent", "file", image]));
            try
            {
                var end = DateTime.UtcNow + Tool.Timeout;
                while (new FileInfo(file).Length == 0)
                {
                    Assert.True(DateTime.UtcNow < end && !fuse.HasExited, "nbdfuse shows nothing");
                    Thread.Sleep(5);
                }
                use();
            }
            finally
            {
                Tool.Run("umount", file);
                fuse.WaitForExit();
            }
        }
    }

    private static string FileSystem(Scratch scratch)
    {
        var image = scratch.Sparse("fs.img", 32 << 20);
        Tool.Ok("mkfs.ext4", "-q", "-F", image);
        return image;
    }
}
