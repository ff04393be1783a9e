using System.Diagnostics;
using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary><c>attach</c>, <c>detach</c> and <c>status</c>.</summary>
public class AttachTests
{
    [Fact]
    public void A_device_comes_and_goes_and_leaves_nothing_behind()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var origin = scratch.Random("origin.img", 4 << 20);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        var device = attachments.Attach(scratch["o.cow"]);
        var status = Assert.Single(attachments.Status());
        Assert.Equal(("attach", false, "o", "fuse", device, 4L << 20),
            (status.Command, status.Stale, status.Name, status.Via, status.Device, status.Size));
        Assert.Equal(device, File.ResolveLinkTarget(status.Link!, returnFinalTarget: true)!.FullName);
        Assert.Equal("1", File.ReadAllText($"/sys/block/{Path.GetFileName(device)}/loop/dio").Trim());
        Assert.Equal(File.ReadAllBytes(origin), Scratch.ReadAt(device, 0, 4 << 20));
        var content = Scratch.RandomBytes(1 << 20, 7);
        Scratch.WriteAt(device, 12_345, content);
        Tool.Ok("sync", device);
        Assert.True(attachments.Status(device)[0].Counters is { Reads: > 0, Writes: > 0, Flushes: > 0, InFlight: 0, FailedBecause: null });
        // A file and a device are the same bytes.
        Assert.Equal(content, Scratch.ReadAt(status.File!, 12_345, content.Length));

        attachments.Ok("detach", device);

        attachments.AssertNothingLeft();
        Assert.True(Cli.Info(scratch["o.cow"]).Clean);
        var again = attachments.Attach(scratch["o.cow"], "--read-only", "--name", "other name");
        Assert.Equal(content, Scratch.ReadAt(again, 12_345, content.Length));
        Assert.Throws<UnauthorizedAccessException>(() => Scratch.WriteAt(again, 0, [1]));
        Assert.Equal("/dev/lincow/other name", attachments.Status()[0].Link);
        attachments.Ok("detach", scratch["o.cow"]);
        attachments.AssertNothingLeft();
        Assert.Equal(Scratch.RandomBytes(4 << 20, 1), File.ReadAllBytes(origin));
    }

    [Fact]
    public void What_goes_wrong_in_the_background_is_said_and_leaves_nothing_behind()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        Assert.Contains("no-such", attachments.Fails("attach", scratch["no-such.cow"]));
        Assert.Contains("no such way", attachments.Fails("attach", scratch["o.cow"], "--via", "magic"));
        attachments.Attach(scratch["o.cow"]);
        Assert.Contains("is in use by process", attachments.Fails("attach", scratch["o.cow"]));
        attachments.Ok("detach", "o");
        Assert.Contains("is not attached", attachments.Fails("detach", scratch["o.cow"]));
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Whoever_holds_the_device_is_named_and_waited_for()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:16M");
        var device = attachments.Attach(scratch["o.cow"]);
        using (var holder = Surroundings.Start(new ProcessStartInfo("sh", ["-c", $"exec 3<{device}; exec sleep 600"])))
        {
            AwaitHolder(device, holder.Id);
            Assert.Contains($"process {holder.Id} (sleep)", attachments.Fails("detach", device, "--wait", "0"));
            Assert.False(attachments.Status()[0].Stale);
            holder.Kill();
        }
        Tool.Ok("mkfs.ext4", "-q", device);
        var mount = attachments.Mount(device);
        Assert.Contains($"mounted on {mount}", attachments.Fails("detach", device, "--wait", "0"));
        // It goes as soon as the holder has gone.
        using var waiting = Surroundings.Start(new ProcessStartInfo("sh", ["-c", $"sleep 0.5; umount {mount}"]));
        attachments.Ok("detach", device, "--wait", "30");
        waiting.WaitForExit();
        attachments.AssertNothingLeft();
        Assert.True(Cli.Info(scratch["o.cow"]).Clean);
    }

    [Theory]
    [InlineData("ext4")]
    [InlineData("btrfs")]
    public void A_mount_of_something_that_is_not_there_hides_no_other_mount(string type)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Tool.Find("mkfs." + type);
        foreach (var directory in new[] { "before", "mount", "behind" })
            Directory.CreateDirectory(scratch[directory]);
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:200M");
        File.WriteAllText(scratch["job"], $"""
            # The device's server lives among these mounts, and would keep them.
            trap 'umount {scratch["mount"]} || :; $LINCOW detach --quiet {scratch["o.cow"]} || :' EXIT
            set -x
            mount -t tmpfs /dev/root {scratch["before"]}
            device=$($LINCOW attach {scratch["o.cow"]} 2>/dev/null)
            mkfs.{type} -q $device
            mount $device {scratch["mount"]}
            mount -t tmpfs /dev/none/at-all {scratch["behind"]}
            timeout 60 $LINCOW detach $device --wait 0 2>&1 && exit 3
            timeout 60 $LINCOW reset {scratch["o.cow"]} 2>&1 && exit 4
            umount {scratch["mount"]}
            timeout 60 $LINCOW reset {scratch["o.cow"]} --quiet
            timeout 60 $LINCOW detach $device --wait 30 --quiet
            """);
        var result = Tool.Run("unshare", ["--mount", "--propagation", "private", "sh", "-ec", $". {scratch["job"]}"],
            new(attachments.Environment) { ["LINCOW"] = Cli.Binary });
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.Equal(2, result.Output.Split($"is still in use: mounted on {scratch["mount"]}").Length - 1);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void A_name_that_is_several_takes_nothing_away_and_a_name_that_was_given_is_found()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        foreach (var directory in new[] { "a", "b", "c" })
        {
            Directory.CreateDirectory(scratch[directory]);
            Cli.Ok("create", scratch[directory + "/x.cow"], "--origin", "zero:1M");
        }
        var first = attachments.Attach(scratch["a/x.cow"]);
        var second = attachments.Attach(scratch["b/x.cow"]);
        var named = attachments.Attach(scratch["c/x.cow"], "--name", "red");
        Assert.Equal(3, attachments.Status("x").Count);
        Assert.Equal(named, Assert.Single(attachments.Status("red")).Device);
        var refused = attachments.Fails("detach", "x");
        Assert.All(new[] { $"{first} ({scratch["a/x.cow"]})", $"{second} ({scratch["b/x.cow"]})", $"{named} ({scratch["c/x.cow"]})" },
            choice => Assert.Contains(choice, refused));
        Assert.Equal(3, attachments.Status().Count);
        attachments.Ok("detach", "red");
        attachments.Ok("detach", scratch["b/x.cow"]);
        // One is left, so its name means one.
        attachments.Ok("detach", "x");
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void A_reset_is_for_the_overlay_at_that_path_and_not_for_another_that_has_it_as_a_name()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["x"], "--origin", "zero:1M");
        Cli.Ok("create", scratch["x.cow"], "--origin", "zero:1M");
        var run = new Dictionary<string, string> { ["LINCOW_RUN_DIR"] = scratch["run"] };
        // Its name is the path, from there, of an overlay that a server of another run directory has.
        using var other = LincowServer.Start([scratch["x.cow"], "--nbd", "unix:" + scratch.NewSocket()], environment: run);
        using var own = LincowServer.Start([scratch["x"], "--nbd", "unix:" + scratch.NewSocket()],
            environment: new() { ["LINCOW_RUN_DIR"] = scratch["run2"] });
        Nbd.QemuIo(other.Uri, "write -P 7 0 4096", "flush");
        var refused = Tool.Run("sh", ["-c", $"cd {scratch.Directory}; exec {Cli.Binary} reset x"], run);
        Assert.Contains("knows of none", Cli.Error(refused, Cli.Failed), StringComparison.Ordinal);
        Nbd.QemuIo(other.Uri, "read -P 7 0 4096");
    }

    [Fact]
    public void SIGTERM_detaches_and_the_overlay_is_clean()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        Scratch.WriteAt(attachments.Attach(scratch["o.cow"]), 0, Scratch.RandomBytes(4096, 3));
        var server = attachments.Status()[0].Pid;
        Tool.Ok("kill", "-TERM", server.ToString(CultureInfo.InvariantCulture));
        var time = Stopwatch.StartNew();
        while (Directory.Exists($"/proc/{server}"))
            Assert.True(time.Elapsed < Tool.Timeout, "it still runs after SIGTERM");
        attachments.AssertNothingLeft();
        Assert.Equal((true, 1L), (Cli.Info(scratch["o.cow"]).Clean, Cli.Info(scratch["o.cow"]).Chunks.Data));
    }

    [Fact]
    public void Thirty_two_overlays_of_one_origin_are_attached_at_once()
    {
        const int count = 32;
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var origin = scratch.Random("origin.img", 4 << 20);
        var before = Scratch.Sha256(origin);
        var devices = new List<string>();
        for (var i = 0; i < count; i++)
        {
            Cli.Ok("create", scratch[$"o{i}.cow"], "--origin", origin);
            devices.Add(attachments.Attach(scratch[$"o{i}.cow"]));
        }
        Assert.Equal(count, devices.Distinct().Count());
        Assert.Equal(count, attachments.Status().Count);
        for (var i = 0; i < count; i++)
            Scratch.WriteAt(devices[i], 4096 * i, Scratch.RandomBytes(100_000, i + 100));
        devices.ForEach(device => Tool.Ok("sync", device));
        for (var i = 0; i < count; i++)
        {
            var expected = Scratch.RandomBytes(4 << 20, 1);
            Scratch.RandomBytes(100_000, i + 100).CopyTo(expected, 4096 * i);
            Assert.True(expected.AsSpan().SequenceEqual(Scratch.ReadAt(devices[i], 0, expected.Length)),
                $"overlay {i} shows something else");
        }
        for (var i = 0; i < count; i++)
            attachments.Ok("detach", devices[i]);
        attachments.AssertNothingLeft();
        Assert.Equal(before, Scratch.Sha256(origin));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Requests_come_over_io_uring_where_the_kernel_offers_it(bool isOffered)
    {
        const int count = 2000;
        using var attachments = new Attachments();
        using var setting = new FuseRingSetting(isOffered);
        var scratch = attachments.Scratch;
        var origin = scratch.Random("origin.img", count * 512);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        attachments.Attach(scratch["o.cow"]);
        var status = Assert.Single(attachments.Status());
        var before = FuseRingSetting.WriteCalls(status.Pid);
        for (var i = 0; i < count; i++)
            Assert.Equal(Scratch.ReadAt(origin, i * 512, 512), Scratch.ReadAt(status.File!, i * 512, 512));
        var calls = FuseRingSetting.WriteCalls(status.Pid) - before;
        Assert.True(isOffered ? calls < count / 2 : calls >= count, $"{calls} calls for {count} reads");
        attachments.Ok("detach", "o");
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Discards_give_space_back()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:64M");
        var device = attachments.Attach(scratch["o.cow"]);
        Scratch.WriteAt(device, 0, Scratch.RandomBytes(32 << 20, 3));
        Tool.Ok("sync", device);
        Assert.InRange(Scratch.DiskUsage(scratch["o.cow"]), 32 << 20, 40 << 20);
        Tool.Ok("blkdiscard", "--offset", "1M", "--length", "30M", device);
        Tool.Ok("sync", device);
        Assert.InRange(Scratch.DiskUsage(scratch["o.cow"]), 2 << 20, 4 << 20);
        Assert.Equal(new byte[30 << 20], Scratch.ReadAt(device, 1 << 20, 30 << 20));
        Assert.Equal(Scratch.RandomBytes(32 << 20, 3)[..(1 << 20)], Scratch.ReadAt(device, 0, 1 << 20));
        attachments.Ok("detach", device);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Run_gives_its_command_a_block_device()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        var device = attachments.Ok("run", scratch["o.cow"], "--", "sh", "-c",
            "test -b $LINCOW_DEVICE && head -c 4096 /dev/urandom >$LINCOW_DEVICE && echo $LINCOW_DEVICE").Trim();
        Assert.StartsWith("/dev/loop", device);
        Assert.Equal("\n", attachments.Ok("run", scratch["o.cow"], "--no-device", "--", "sh", "-c", "echo $LINCOW_DEVICE"));
        Assert.Equal((true, 1L), (Cli.Info(scratch["o.cow"]).Clean, Cli.Info(scratch["o.cow"]).Chunks.Data));
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Without_root_it_is_a_file()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var home = new UserHome(scratch);
        File.WriteAllText(scratch["as-nobody"], """
            cd
            trap '$LINCOW detach --quiet o.cow || :' EXIT
            $LINCOW create o.cow --origin zero:4M --quiet
            file=$($LINCOW attach o.cow)
            echo $file $(stat -c '%s %u %a' $file)
            head -c 100000 /dev/zero | tr '\0' x | dd of=$file bs=4k seek=3 conv=notrunc,fsync status=none
            dd if=$file bs=4k skip=3 status=none | tr -cd x | wc -c
            exec 3<$file
            $LINCOW reset o.cow 2>&1 | grep -c "o.img: is still in use: process $$"
            exec 3<&-
            $LINCOW reset o.cow --quiet
            tr -cd x <$file | wc -c
            $LINCOW detach $file
            ls $LINCOW_RUN_DIR
            grep -F $LINCOW_RUN_DIR/ /proc/self/mountinfo || :
            """.Replace("cd\n", $"cd {home.Path}\n", StringComparison.Ordinal));
        var result = home.Run($"exec {UserHome.AsUser} sh -ec '. {scratch["as-nobody"]}'");
        Assert.Equal([$"{home.Path}/run/o.img 4194304 65534 600", "100000", "1", "0", $"detached {home.Path}/run/o.img", ""],
            result.Output.Split('\n').Where(line => !line.Contains(scratch["fuse"], StringComparison.Ordinal)));
    }

    [Fact]
    public void Who_has_the_file_behind_the_device_open_keeps_a_reset_from_happening()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        var device = attachments.Attach(scratch["o.cow"], "--via", "fuse");
        Scratch.WriteAt(device, 0, [7]);
        Tool.Ok("sync", device);
        var file = attachments.Status()[0].File!;
        using (File.Open(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
        {
            Assert.Contains($"{file}: is still in use: process {Environment.ProcessId}", attachments.Fails("reset", scratch["o.cow"]));
            Assert.Equal(7, Scratch.ReadAt(device, 0, 1)[0]);
            attachments.Ok("reset", scratch["o.cow"], "--force");
            Assert.Equal(0, Scratch.ReadAt(device, 0, 1)[0]);
        }
        Scratch.WriteAt(device, 0, [8]);
        Tool.Ok("sync", device);
        attachments.Ok("reset", scratch["o.cow"]);
        Assert.Equal(0, Scratch.ReadAt(device, 0, 1)[0]);
        attachments.Ok("detach", device);
        attachments.AssertNothingLeft();
    }

    private static void AwaitHolder(string device, int process)
    {
        var time = Stopwatch.StartNew();
        while (!Directory.EnumerateFiles($"/proc/{process}/fd").Any(descriptor => new FileInfo(descriptor).LinkTarget == device)
            || File.ReadAllText($"/proc/{process}/comm").Trim() != "sleep")
            Assert.True(time.Elapsed < Tool.Timeout, "the holder doesn't open the device");
    }
}
