using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Clients;

/// <summary>An ext4 file system on the device, changed through NBD copies, judged by e2fsck and debugfs.</summary>
public class FileSystemTests
{
    [Theory]
    [InlineData("4K")]
    [InlineData("64K")]
    public void Files_changed_through_the_device_are_there_and_e2fsck_finds_nothing(string chunk)
    {
        using var scratch = new Scratch();
        var origin = MakeFileSystem(scratch);
        var before = Scratch.Sha256(origin);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin, "--chunk", chunk);
        var (image, added) = (scratch["image.img"], scratch.Random("added", 300_000, seed: 5));
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            Tool.Ok("nbdcopy", server.Uri, image);
            DebugFs(image, write: true, $"write {added} added.bin", "rm /kept/doomed.txt", "mkdir /new", $"write {added} /new/again.bin");
            Assert.True(Tool.Run("e2fsck", "-f", "-n", image).ExitCode == 0, "debugfs left a sound file system");
            Tool.Ok("nbdcopy", "--flush", image, server.Uri);
            server.Stop();
        }
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            var after = scratch["after.img"];
            Tool.Ok("nbdcopy", server.Uri, after);
            Tool.Ok("e2fsck", "-f", "-n", after);
            DebugFs(after, write: false, $"dump /added.bin {scratch["dumped"]}", $"dump /kept/story.txt {scratch["story"]}");
            Assert.Equal(File.ReadAllBytes(added), File.ReadAllBytes(scratch["dumped"]));
            Assert.Equal(File.ReadAllText(scratch["tree/kept/story.txt"]), File.ReadAllText(scratch["story"]));
            Assert.DoesNotContain("doomed.txt", DebugFs(after, write: false, "ls -p /kept"));
            Assert.Contains("again.bin", DebugFs(after, write: false, "ls -p /new"));
            server.Stop();
        }
        Assert.Equal(before, Scratch.Sha256(origin));
    }

    [Fact]
    public void Reset_brings_the_file_system_of_the_origin_back()
    {
        using var scratch = new Scratch();
        var origin = MakeFileSystem(scratch);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            Tool.Ok("nbdcopy", server.Uri, scratch["image.img"]);
            DebugFs(scratch["image.img"], write: true, "rm /kept/doomed.txt");
            Tool.Ok("nbdcopy", scratch["image.img"], server.Uri);
            server.Stop();
        }
        Cli.Ok("reset", scratch["o.cow"]);
        using (var server = LincowServer.Start(scratch, scratch["o.cow"]))
        {
            Tool.Ok("nbdcopy", server.Uri, scratch["image.img"]);
            Tool.Ok("e2fsck", "-f", "-n", scratch["image.img"]);
            Assert.Contains("doomed.txt", DebugFs(scratch["image.img"], write: false, "ls -p /kept"));
            Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", origin, server.Uri);
            server.Stop();
        }
    }

    [Fact]
    public void A_new_file_system_made_on_the_device_hides_the_old_one()
    {
        using var scratch = new Scratch();
        var origin = MakeFileSystem(scratch);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        Directory.CreateDirectory(scratch["other"]);
        File.WriteAllText(scratch["other/only.txt"], "the only one");
        Tool.Ok("mke2fs", "-q", "-t", "ext4", "-d", scratch["other"], scratch["other.img"], "16M");
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        Tool.Ok("nbdcopy", "--flush", scratch["other.img"], server.Uri);
        Tool.Ok("nbdcopy", server.Uri, scratch["image.img"]);
        Tool.Ok("e2fsck", "-f", "-n", scratch["image.img"]);
        Assert.Equal("the only one", DebugFs(scratch["image.img"], write: false, "cat /only.txt").Trim());
        server.Stop();
    }

    private static string MakeFileSystem(Scratch scratch)
    {
        Directory.CreateDirectory(scratch["tree/kept"]);
        File.WriteAllText(scratch["tree/kept/story.txt"], string.Join('\n', Enumerable.Range(0, 20_000)));
        File.WriteAllText(scratch["tree/kept/doomed.txt"], "not for long");
        File.WriteAllBytes(scratch["tree/big.bin"], Scratch.RandomBytes(3 << 20, 8));
        Tool.Ok("mke2fs", "-q", "-t", "ext4", "-d", scratch["tree"], scratch["fs.img"], "16M");
        return scratch["fs.img"];
    }

    private static string DebugFs(string image, bool write, params string[] requests)
    {
        var script = image + ".debugfs";
        File.WriteAllLines(script, requests);
        var result = Tool.Run("debugfs", [.. write ? new[] { "-w" } : [], "-f", script, image]);
        Assert.True(result.ExitCode == 0 && !result.Errors.Contains("not found", StringComparison.OrdinalIgnoreCase), result.ToString());
        // debugfs repeats each request after a prompt.
        return string.Join('\n', result.Output.Split('\n').Where(line => !line.StartsWith("debugfs:", StringComparison.Ordinal)));
    }
}
