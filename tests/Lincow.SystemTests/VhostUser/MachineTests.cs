using System.Security.Cryptography;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.VhostUser;

/// <summary>
/// Linux's own driver on the device: in QEMU (Debian 13's kernel, either kind of ring, servers killed amid writes, boots from the disk) and
/// in User-mode Linux. File systems are made, written, checked, and still there later; reset brings the origin back.
/// </summary>
public class MachineTests
{
    private const int DiskBytes = 64 << 20;

    /// <summary>
    /// Two disks, one with packed rings and one with two split queues; each has a server, and the servers are killed in turns.
    /// </summary>
    [Fact]
    public void File_systems_in_QEMU_survive_kills_of_their_servers()
    {
        using var scratch = new Scratch();
        PrepareGuest();
        var share = Directory.CreateDirectory(scratch["share"]).FullName;
        string[] origins = [scratch.Random("vda.img", DiskBytes, seed: 3), scratch.Random("vdb.img", DiskBytes, seed: 5)];
        string[] sockets = [scratch.NewSocket(), scratch.NewSocket()];
        string[][] served = [[scratch["vda.cow"], "--vhost-user", sockets[0]], [scratch["vdb.cow"], "--vhost-user", sockets[1]]];
        for (var i = 0; i < 2; i++)
            Cli.Ok("create", served[i][0], "--origin", origins[i]);
        File.WriteAllText(scratch["share/job"], $"""
            set -ex
            for disk in vda vdb; do
                [ "$(cat /sys/block/$disk/size) $(cat /sys/block/$disk/serial)" = "{DiskBytes / 512} $disk" ]
                [ "$(cat /sys/block/$disk/queue/write_cache)" = "write back" ]
                # What is answered has to outlive a kill for the guest to go on.
                echo "write through" >/sys/block/$disk/cache_type
                cmp -n 262144 /dev/$disk /run/share/$disk.head
                mkfs.ext4 -q /dev/$disk
                mkdir /tmp/$disk; mount -o discard /dev/$disk /tmp/$disk
            done
            # VIRTIO_F_RING_PACKED
            [ "$(cut -c35 /sys/block/vda/device/features) $(cut -c35 /sys/block/vdb/device/features)" = "1 0" ]
            touch /run/share/writing
            for i in $(seq 14); do
                for disk in vda vdb; do head -c 700000 /dev/urandom >/tmp/$disk/$i; sync /tmp/$disk/$i; touch /run/share/$disk.$i; done
                sleep 0.1
            done
            for disk in vda vdb; do
                rm /tmp/$disk/7 /tmp/$disk/8; fstrim /tmp/$disk
                (cd /tmp/$disk; sha256sum [0-9]*) >/tmp/sums
                umount /tmp/$disk
                echo 3 >/proc/sys/vm/drop_caches
                e2fsck -f -n /dev/$disk
                mount /dev/$disk /tmp/$disk
                [ $(wc -l </tmp/sums) = 12 ]
                (cd /tmp/$disk; sha256sum -c --quiet /tmp/sums)
                umount /tmp/$disk
            done
            """);
        for (var i = 0; i < 2; i++)
            File.WriteAllBytes(scratch[$"share/vd{"ab"[i]}.head"], Scratch.ReadAt(origins[i], 0, 1 << 20));
        var servers = served.Select(arguments => LincowServer.Start(arguments)).ToArray();
        try
        {
            ToolResult? result = null;
            var guest = new Thread(() => result = Boot(share, [], $"{sockets[0]},packed=on", $"{sockets[1]},num-queues=2"));
            guest.Start();
            Assert.True(SpinWait.SpinUntil(() => File.Exists(scratch["share/writing"]) || !guest.IsAlive, TimeSpan.FromSeconds(90)));
            for (var kill = 0; kill < 4 && guest.IsAlive; kill++)
            {
                Thread.Sleep(400);
                servers[kill % 2].Kill();
                servers[kill % 2].Dispose();
                servers[kill % 2] = LincowServer.Start(served[kill % 2]);
                // QEMU before 9.1 doesn't connect again when its server dies while they shake hands, so the guest has to go on first.
                var written = Written();
                SpinWait.SpinUntil(() => Written() >= written + 2 || !guest.IsAlive, TimeSpan.FromSeconds(60));
            }
            guest.Join();
            Assert.True(result?.ExitCode == 0, $"{result}\n{servers[0].Errors}\n{servers[1].Errors}");
            foreach (var server in servers)
            {
                server.Stop();
                Assert.Equal("", server.Errors.Trim());
            }
        }
        finally
        {
            foreach (var server in servers)
                server.Dispose();
        }
        AssertResetBringsBack(scratch, served[0][0], origins[0]);
        AssertResetBringsBack(scratch, served[1][0], origins[1]);

        int Written() => Directory.GetFiles(share, "vd?.?*").Count(file => !file.EndsWith(".head", StringComparison.Ordinal));
    }

    [Fact]
    public void A_machine_boots_from_an_overlay_writes_to_it_and_is_reverted()
    {
        using var scratch = new Scratch();
        PrepareGuest();
        var (share, root, socket) = (Directory.CreateDirectory(scratch["share"]).FullName,
            Directory.CreateDirectory(scratch["root"]).FullName, scratch.NewSocket());
        foreach (var directory in new[] { "bin", "dev", "proc", "share" })
            Directory.CreateDirectory(Path.Combine(root, directory));
        File.Copy(Tool.Find("busybox"), Path.Combine(root, "bin/busybox"));
        File.WriteAllText(Path.Combine(root, "init"), """
            #!/bin/busybox sh
            echo boot >>/boots
            busybox sync
            busybox wc -l </boots >/share/output
            echo 0 >/share/status
            busybox umount /share
            busybox mount -o remount,ro /
            busybox poweroff -f
            """);
        File.SetUnixFileMode(Path.Combine(root, "init"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        Tool.Ok("mke2fs", "-q", "-t", "ext4", "-d", root, scratch["origin.img"], "24M");
        var origin = Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(scratch["origin.img"])));
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch["origin.img"]);
        foreach (var (boots, options) in new[] { ("1", "packed=on"), ("2", "num-queues=4"), ("1", "queue-size=256") })
        {
            if (options == "queue-size=256")
                Cli.Ok("reset", scratch["o.cow"]);
            using var server = LincowServer.Start([scratch["o.cow"], "--vhost-user", socket]);
            var result = Boot(share, new() { ["GUEST_ROOT"] = "/dev/vda" }, $"{socket},{options}");
            Assert.Equal((0, boots), (result.ExitCode, result.Output.Trim()));
            server.Stop();
            Assert.Equal("", server.Errors.Trim());
            Cli.Check(scratch["o.cow"]);
        }
        Assert.Equal(origin, Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(scratch["origin.img"]))));
    }

    [Fact]
    public void A_file_system_in_User_mode_Linux_is_there_after_a_reboot()
    {
        using var scratch = new Scratch();
        Tool.RequireRoot();
        var origin = scratch.Random("origin.img", DiskBytes, seed: 4);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        var socket = scratch.NewSocket();
        using (var server = LincowServer.Start([scratch["o.cow"], "--vhost-user", socket]))
        {
            UserModeLinux.Run(scratch, $"""
                [ "$(cat /sys/block/vda/size)" = {DiskBytes / 512} ]
                mkfs.ext4 -q /dev/vda
                mkdir /tmp/m; mount /dev/vda /tmp/m
                for i in 1 2 3; do head -c 3000000 /dev/urandom >/tmp/m/$i; done
                cp /tmp/m/1 /tmp/m/gone; sync; rm /tmp/m/gone; fstrim /tmp/m
                cd /tmp/m; sha256sum 1 2 3 >sums; sync; cd /
                umount /tmp/m
                """, "vhost-user:" + socket);
            UserModeLinux.Run(scratch, """
                e2fsck -f -n /dev/vda
                mkdir /tmp/m; mount /dev/vda /tmp/m
                cd /tmp/m; sha256sum -c --quiet sums; cd /
                umount /tmp/m
                """, "vhost-user:" + socket);
            server.Stop();
            Assert.Equal("", server.Errors.Trim());
        }
        AssertResetBringsBack(scratch, scratch["o.cow"], origin);
    }

    private static void AssertResetBringsBack(Scratch scratch, string overlay, string origin)
    {
        Assert.True(Cli.Info(overlay).Chunks.Data > 0);
        Cli.Check(overlay);
        Cli.Ok("reset", overlay);
        using var server = LincowServer.Start(scratch, overlay);
        Tool.Ok("qemu-img", "compare", "-f", "raw", "-F", "raw", origin, server.Uri);
        server.Stop();
    }

    private static ToolResult Boot(string share, Dictionary<string, string> environment, params string[] disks) =>
        Tool.Run(Cli.InRepository("tests/guest/run"), [share, .. disks.Select(disk => "vhost-user:" + disk)], environment,
            TimeSpan.FromMinutes(4));

    private static void PrepareGuest()
    {
        foreach (var tool in new[] { "qemu-system-x86_64", "busybox", "cpio", "depmod", "xz" })
            Tool.Find(tool);
        var prepared = Tool.Run(Cli.InRepository("tests/guest/prepare"), [], [], TimeSpan.FromMinutes(4));
        if (prepared.ExitCode != 0)
            Tool.Missing($"the guest's kernel can't be had: {prepared.Errors}");
    }
}
