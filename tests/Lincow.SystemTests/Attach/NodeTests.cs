using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary>Device nodes, their partitions, and what sticks to their numbers.</summary>
public class NodeTests
{
    [Fact]
    public void A_loop_device_that_was_set_read_only_once_is_writable_for_who_gets_it_next()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        scratch.Sparse("other.img", 1 << 20);
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        // Others take loop devices meanwhile, so it is the same one only now and then.
        for (var attempt = 0; attempt < 50; attempt++)
        {
            var first = Tool.Ok("losetup", "--find", "--show", scratch["other.img"]).Trim();
            Tool.Ok("blockdev", "--setro", first);
            Tool.Ok("losetup", "--detach", first);
            var device = attachments.Attach(scratch["o.cow"], "--via", "fuse");
            try
            {
                if (device != first)
                    continue;
                Assert.Equal("0", Tool.Ok("blockdev", "--getro", device).Trim());
                Scratch.WriteAt(device, 0, [1]);
                Tool.Ok("sync", device);
                return;
            }
            finally
            {
                attachments.Ok("detach", device);
                Tool.Run("blockdev", "--setrw", first);
            }
        }
        Assert.Skip("somebody else took the loop device each time");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void In_a_dev_of_its_own_the_node_is_made_or_the_reason_is_said(bool mayMakeNodes)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var origin = scratch.Random("origin.img", 1 << 20);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        Directory.CreateDirectory(scratch["dev"]);
        File.WriteAllText(scratch["job"], $$"""
            cd {{scratch.Directory}}
            mount -t tmpfs dev dev
            for n in null:1:3 zero:1:5 urandom:1:9 fuse:10:229 loop-control:10:237; do
                IFS=: read -r name major minor <<<$n; mknod -m 666 dev/$name c $major $minor
            done
            mount --bind dev /dev
            [ {{mayMakeNodes}} = True ] || drop="setpriv --bounding-set -mknod --inh-caps -mknod"
            device=$($drop $LINCOW attach o.cow | tail -n 1)
            [ -z "$device" ] && exit 3
            head -c 1M $device | cmp - {{origin}}
            $LINCOW detach o.cow --quiet
            ls /dev | grep '^loop[0-9]' && exit 4
            exit 0
            """);
        var result = Tool.Run("unshare", ["--mount", "--propagation", "private", "bash", "-c", $"set -e; . {scratch["job"]}"],
            new(attachments.Environment) { ["LINCOW"] = Cli.Binary });
        Assert.True(result.ExitCode == (mayMakeNodes ? 0 : 3), result.ToString());
        if (!mayMakeNodes)
            Assert.Contains("A container needs the host's /dev", result.Errors);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void A_command_finds_the_partitions_of_its_device_by_every_way()
    {
        using var scratch = new Scratch();
        foreach (var tool in new[] { "mkfs.ext4", "sfdisk" })
            Tool.Find(tool);
        UserModeLinux.Run(scratch, """
            cd /tmp; mkdir m
            modprobe -qa nbd loop fuse ext4
            for table in gpt dos; do
                rm -f o.img
                truncate -s 32M o.img; mkfs.ext4 -q -F -E offset=1048576 o.img 30M
                printf 'label: %s\n2048,61440\n' $table | sfdisk -q o.img
                for way in nbd fuse; do
                    lincow run --via $way --origin o.img -- sh -c 'mount ${LINCOW_DEVICE}p1 m && touch m/x && umount m'
                done
            done
            """);
    }

    /// <summary>The kernel here may know no partition tables; lincow reads them then, and tells it. Else the kernel does.</summary>
    [Theory]
    [InlineData("gpt")]
    [InlineData("dos")]
    public void Partitions_are_devices_whatever_the_kernel_was_built_with(string table)
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var origin = scratch.Random("origin.img", 16 << 20);
        File.WriteAllText(scratch["table"], $"label: {table}\n2048,4096\n8192,16384\n");
        Tool.Ok("sh", "-c", $"sfdisk -q --wipe never {origin} <{scratch["table"]}");
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        var device = attachments.Attach(scratch["o.cow"], "--via", "fuse", "--partitions");
        Assert.Equal(Scratch.ReadAt(origin, 2048 * 512, 4096 * 512), Scratch.ReadAt(device + "p1", 0, 4096 * 512));
        Assert.Equal(Scratch.ReadAt(origin, 8192 * 512, 4096), Scratch.ReadAt(device + "p2", 0, 4096));
        // A partition in use is the device in use.
        using (File.OpenRead(device + "p2"))
            Assert.Contains($"process {Environment.ProcessId}", attachments.Fails("detach", device, "--wait", "0"));
        attachments.Ok("detach", device);
        Assert.False(File.Exists(device + "p1"));
        Assert.Equal(["p1", "p2"], attachments.Ok("run", scratch["o.cow"], "--via", "fuse", "--", "sh", "-c",
            "for part in p1 p2; do [ -b $LINCOW_DEVICE$part ] && echo $part; done").TrimEnd().Split('\n'));
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void A_device_without_a_partition_table_is_attached_and_says_so()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        var result = attachments.Run("attach", scratch["o.cow"], "--via", "fuse", "--partitions");
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("has no partition table", result.Errors);
        attachments.Ok("detach", "o");
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void The_server_of_the_root_file_system_is_marked_for_systemds_shutdown()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        attachments.Attach(scratch["o.cow"], "--survive-shutdown");
        Assert.Equal((byte)'@', CommandLine(attachments.Status()[0].Pid)[0]);
        attachments.Ok("detach", "o");
        attachments.Attach(scratch["o.cow"]);
        Assert.NotEqual((byte)'@', CommandLine(attachments.Status()[0].Pid)[0]);
        attachments.Ok("detach", "o");
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Root_can_use_a_users_file_when_the_user_lets_it_and_hears_how_otherwise()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var home = new UserHome(scratch);
        File.WriteAllText(scratch["fuse.conf"], "user_allow_other\n");
        var result = home.Run($$"""
            mount --bind {{scratch["fuse.conf"]}} /etc/fuse.conf
            cd {{home.Path}}
            user="{{UserHome.AsUser}}"
            trap '$user $LINCOW detach --quiet o.cow || :' EXIT
            $user $LINCOW create o.cow --origin zero:1M --quiet
            file=$($user $LINCOW attach o.cow)
            if head -c 1 $file 2>/dev/null; then echo "root can read it without being let"; exit 1; fi
            $user $LINCOW detach o.cow --quiet
            file=$($user $LINCOW attach o.cow --allow-root)
            head -c 1M $file | cmp - <(head -c 1M /dev/zero)
            if setpriv --reuid=65533 --regid=65533 --clear-groups head -c 1 $file 2>/dev/null; then echo "others can, too"; exit 1; fi
            """);
        Assert.Equal(1, result.Errors.Split("with --allow-root root can, too").Length - 1);
    }

    private static byte[] CommandLine(int process) =>
        File.ReadAllBytes(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/cmdline"));
}
