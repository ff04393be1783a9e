using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary>What people do with a block device: file systems, trees of files, crashes, resets.</summary>
public class RealLifeTests
{
    private const int Seed = 23, Files = 2500;

    [Theory]
    [InlineData("ext4", "-F -q", "fsck.ext4 -f -n")]
    [InlineData("xfs", "-f -q", "xfs_repair -n")]
    [InlineData("btrfs", "-f -q", "btrfs check --readonly")]
    public void A_tree_of_files_lives_on_a_file_system_on_the_device(string type, string make, string check)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        string[] mkfs = [.. make.Split(' ')];
        Tool.Find("mkfs." + type);
        // The origin: a file system with a tree, made and filled the usual way.
        var origin = scratch.Sparse("origin.img", 400L << 20);
        Tool.Ok("mkfs." + type, [.. mkfs, origin]);
        var golden = attachments.Mount(origin);
        MakeTree(Path.Combine(golden, "golden"), 200, Seed);
        var goldenSums = Sums(golden, "golden");
        Tool.Ok("umount", golden);
        var originBefore = Scratch.Sha256(origin);

        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        var device = attachments.Attach(scratch["o.cow"]);
        var mount = attachments.Mount(device);
        Assert.Equal(goldenSums, Sums(mount, "golden"));
        MakeTree(scratch["tree"], Files, Seed + 1);
        Tool.Ok("tar", "-C", scratch.Directory, "-cf", scratch["tree.tar"], "tree");
        Tool.Ok("tar", "-C", mount, "-xf", scratch["tree.tar"]);
        Directory.Delete(Path.Combine(mount, "golden"), recursive: true);
        Tool.Ok("fstrim", mount);
        var sums = Sums(scratch.Directory, "tree");
        Tool.Ok("umount", mount);
        Fsck(check, device);
        attachments.Ok("detach", device);

        device = attachments.Attach(scratch["o.cow"]);
        attachments.Mount(device);
        Assert.Equal(sums, Sums(mount, "tree"));
        Assert.False(Directory.Exists(Path.Combine(mount, "golden")));
        Assert.Contains("is still in use: mounted on", attachments.Fails("reset", scratch["o.cow"]));
        Tool.Ok("umount", mount);

        attachments.Ok("reset", scratch["o.cow"]);

        attachments.Mount(device);
        Assert.Equal(goldenSums, Sums(mount, "golden"));
        Assert.False(Directory.Exists(Path.Combine(mount, "tree")));
        Tool.Ok("umount", mount);
        // And one that is made on the device itself.
        Tool.Ok("mkfs." + type, [.. mkfs, device]);
        attachments.Mount(device);
        Tool.Ok("umount", mount);
        Fsck(check, device);
        attachments.Ok("detach", device);
        attachments.AssertNothingLeft();
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
        Assert.Equal(originBefore, Scratch.Sha256(origin));
    }

    [Theory]
    [InlineData("ext4")]
    [InlineData("xfs")]
    public void What_was_fsynced_outlives_kill_9_of_the_server(string type)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var origin = scratch.Sparse("origin.img", 400L << 20);
        Tool.Ok("mkfs." + type, "-q", origin);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        var expected = new Dictionary<string, byte[]>();
        for (var round = 0; round < 3; round++)
        {
            var device = attachments.Attach(scratch["o.cow"]);
            var mount = attachments.Mount(device);
            foreach (var (name, content) in expected)
                Assert.Equal(content, File.ReadAllBytes(Path.Combine(mount, name)));
            for (var i = 0; i < 20; i++)
            {
                var content = Scratch.RandomBytes(10_000 * i + 1, round * 100 + i);
                using var file = File.Create(Path.Combine(mount, $"{round}-{i}"));
                file.Write(content);
                file.Flush(flushToDisk: true);
                expected.Add($"{round}-{i}", content);
            }
            // The names, too.
            Tool.Ok("sync", mount);
            // Unsynced: may be there or not, but never in the way.
            File.WriteAllBytes(Path.Combine(mount, "unsynced"), Scratch.RandomBytes(1 << 20, round));

            attachments.Kill();

            // A dead device is still mounted: it is not taken away under the file system.
            Assert.Contains($"mounted on {mount}", attachments.Fails("detach", "--stale"));
            Assert.True(Assert.Single(attachments.Status()).Stale);
            Tool.Ok("umount", mount);
            attachments.Ok("detach", "--stale");
            attachments.AssertNothingLeft();
        }
        var last = attachments.Attach(scratch["o.cow"]);
        var mounted = attachments.Mount(last);
        foreach (var (name, content) in expected)
            Assert.Equal(content, File.ReadAllBytes(Path.Combine(mounted, name)));
        Tool.Ok("umount", mounted);
        Fsck(type == "ext4" ? "fsck.ext4 -f -n" : "xfs_repair -n", last);
        attachments.Ok("detach", last);
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
    }

    [Theory]
    [InlineData("file", 4 << 10, "", "writeback")]
    [InlineData("file", 64 << 10, "posix", "none")]
    [InlineData("device", 4 << 10, "", "none")]
    [InlineData("device", 16 << 10, "posix", "writeback")]
    [InlineData("file", 8 << 10, "ring", "writeback")]
    [InlineData("device", 4 << 10, "ring", "none")]
    public void An_attached_device_is_an_array_of_bytes_whatever_is_done_to_it(string what, int chunkBytes, string io, string cache)
    {
        const int sessions = 6, operations = 400;
        var seed = Seeds.Pick(chunkBytes + what.Length + cache.Length);
        var random = new Random(seed);
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var deviceBytes = (3 << 20) + (cache == "none" ? 4096 : 1536);
        var origin = DeviceModel.OriginContent(deviceBytes, seed);
        File.WriteAllBytes(scratch["origin.img"], origin);
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch["origin.img"], "--chunk", $"{chunkBytes}", "--size", $"{deviceBytes}");
        var content = new byte[deviceBytes];
        origin.CopyTo(content, 0);
        var model = new DeviceModel(content, seed);
        attachments.Environment["LINCOW_IO"] = io;
        using var setting = io == "ring" ? new FuseRingSetting(isOn: true) : null;
        string? path = null;
        for (var session = 0; session < sessions; session++)
        {
            path ??= Attach(attachments, what, cache);
            model.AddRandomOperations(operations, chunkBytes);
            // 0: it goes on; 1: it is detached; 2: the server is killed; 3: the overlay is reset while it is attached.
            var end = session == sessions - 1 ? 1 : random.Next(4);
            if (end == 2)
                model.Flush();
            model.PlayOnFile(scratch, path);
            model.AssertSame(model.Content, FilePlayer.Read(path, deviceBytes), $"the {what}");
            switch (end)
            {
                case 1:
                    attachments.Ok("detach", "o");
                    path = null;
                    break;
                case 2:
                    attachments.Kill();
                    attachments.Ok("detach", "--stale");
                    path = null;
                    break;
                case 3:
                    attachments.Ok("reset", scratch["o.cow"]);
                    model.Reset(origin);
                    model.AssertSame(model.Content, FilePlayer.Read(path, deviceBytes), $"the {what} after the reset");
                    break;
            }
        }
        attachments.AssertNothingLeft();
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
        model.AssertLinear(Cli.Info(scratch["o.cow"]));
    }

    private static string Attach(Attachments attachments, string what, string cache)
    {
        var device = attachments.Attach(attachments.Scratch["o.cow"], "--cache", cache);
        return what == "file" ? attachments.Status()[0].File! : device;
    }

    private static void Fsck(string check, string device)
    {
        var words = check.Split(' ');
        Tool.Ok(words[0], [.. words[1..], device]);
    }

    private static string Sums(string directory, string tree) =>
        Tool.Ok("sh", "-ec", $"cd '{directory}'; find {tree} -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum");

    private static void MakeTree(string root, int files, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < files; i++)
        {
            var directory = Path.Combine(root, (i % 37).ToString(CultureInfo.InvariantCulture));
            Directory.CreateDirectory(directory);
            var content = new byte[random.Next(10) == 0 ? random.Next(200_000) : random.Next(12_000)];
            random.NextBytes(content);
            File.WriteAllBytes(Path.Combine(directory, $"file {i}"), content);
        }
    }
}
