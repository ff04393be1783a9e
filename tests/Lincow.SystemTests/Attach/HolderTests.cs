using System.Diagnostics;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary>
/// Who holds a device in a way that no mount table and no descriptor of that name shows: named, waited for, never overridden.
/// </summary>
public class HolderTests
{
    /// <summary>
    /// Each holder of a device attached by NBD and by FUSE, under a kernel that has both. "held NAME WORDS": detach ends at once, names it,
    /// and the device is still there; "free": when nobody has it any more it goes.
    /// </summary>
    [Fact]
    public void Holders_that_are_hard_to_see_keep_the_device_and_are_named()
    {
        using var scratch = new Scratch();
        foreach (var tool in new[] { "dmsetup", "mkfs.ext4", "mkswap", "python3" })
            Tool.Find(tool);
        UserModeLinux.Run(scratch, """
            cd /tmp
            modprobe -qa nbd loop fuse ext4 dm-mod
            truncate -s 16M o.img; mkfs.ext4 -q -F o.img; mkdir m
            fresh() {
                n=$((${n:-0} + 1)); lincow create w$n.cow --origin o.img --quiet
                dev=$(lincow attach w$n.cow --via $way 2>/dev/null)
            }
            held() {
                if timeout 20 lincow detach $dev --wait 0 >out 2>&1; then echo "$way: $1: was detached"; exit 1; fi
                grep -qE -- "$2" out || { echo "$way: $1: not named: $(cat out)"; exit 1; }
                lincow status $dev --json | grep -q '"device": "/dev' || { echo "$way: $1: the device went all the same"; exit 1; }
            }
            free() {
                [ "$(head -c 512 $dev | wc -c)" = 512 ] || { echo "$way: $1: the device went with its holder"; exit 1; }
                timeout 30 lincow detach w$n.cow --wait 10 --quiet || { echo "$way: after $1"; exit 1; }
            }
            for way in nbd fuse; do
                fresh; mount $dev m; (cd m && exec sleep 300) & p=$!
                until [ "$(readlink /proc/$p/cwd)" = /tmp/m ]; do :; done; umount -l m
                held "lazily unmounted" "process $p .*sleep"
                kill $p; wait $p || :; free "lazily unmounted"
                fresh; mount $dev m; unshare -m sleep 300 & p=$!
                until [ "$(cat /proc/$p/comm)" = sleep ]; do :; done; umount m
                held "mounted in another namespace" "mounted on /tmp/m where process $p"
                kill $p; wait $p || :; free "mounted in another namespace"
                fresh; mount $dev m; touch m/x; touch /run/x; mount --bind m/x /run/x; umount m
                held "a bound file" "mounted on /run/x"
                umount /run/x; free "a bound file"
                fresh; mknod n b $(stat -c '0x%t 0x%T' $dev); exec 6<n
                held "open by another node" "process $$"
                exec 6<&-; rm n; free "open by another node"
                fresh; echo "0 1024 linear $dev 0" | dmsetup create front; dmsetup mknodes
                held "a device-mapper device" "/dev/mapper/front"
                dmsetup remove front; free "a device-mapper device"
                fresh; losetup /dev/loop7 $dev
                held "a loop device" "/dev/loop7"
                losetup -d /dev/loop7; free "a loop device"
                fresh; mkswap $dev >/dev/null 2>&1; swapon $dev
                held swap swap
                swapoff $dev; free swap
                fresh; mkfifo go
                python3 -c "
            import os, socket, sys
            a, b = socket.socketpair()
            f = os.open('$dev', os.O_RDONLY)
            socket.send_fds(a, [b'x'], [f])
            os.close(f)
            open('sent', 'w').close()
            open('go').read()" & p=$!
                until [ -e sent ]; do :; done
                held "a descriptor in a socket's queue" "process $p .*python3.*socket"
                : >go; wait $p; rm go sent; free "a descriptor in a socket's queue"
                fresh; python3 -c "
            import mmap, os
            f = os.open('$dev', os.O_RDONLY)
            m = mmap.mmap(f, 4096, prot=mmap.PROT_READ); os.close(f)
            open('mapped', 'w').close()
            import time; time.sleep(300)" & p=$!
                until [ -e mapped ]; do :; done
                held "mapped" "process $p .*python3"
                kill $p; wait $p || :; rm mapped; free "mapped"
            done
            """);
    }

    [Fact]
    public void A_copy_of_the_mount_in_another_namespace_keeps_nothing()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        var device = attachments.Attach(scratch["o.cow"], "--via", "fuse");
        // Any container that begins now has it.
        using var other = Surroundings.Start(new ProcessStartInfo("unshare", ["--mount", "--propagation", "private", "sleep", "600"]));
        try
        {
            var time = Stopwatch.StartNew();
            while (File.ReadAllText($"/proc/{other.Id}/comm").Trim() != "sleep")
                Assert.True(time.Elapsed < Tool.Timeout);
            Assert.Contains(scratch["run"], File.ReadAllText($"/proc/{other.Id}/mountinfo"));
            attachments.Ok("detach", device);
            attachments.AssertNothingLeft();
        }
        finally
        {
            other.Kill();
            other.WaitForExit();
        }
    }

    [Fact]
    public void Who_is_told_that_it_is_in_use_finds_it_there_when_the_holder_has_gone()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:4M");
        var device = attachments.Attach(scratch["o.cow"], "--via", "fuse");
        var file = attachments.Status()[0].File!;
        // By a node of another name; what is found of it by that is named, and what the driver knows counts anyway.
        using (new FileStream(device, FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
            Assert.Contains($"process {Environment.ProcessId}", attachments.Fails("detach", device, "--wait", "0"));
        Assert.Contains(file, Tool.Ok("losetup", "--list", "--noheadings", "--output", "BACK-FILE", device));
        using (new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
            Assert.Contains($"process {Environment.ProcessId}", attachments.Fails("detach", device, "--wait", "0"));
        attachments.Ok("detach", device);
        attachments.AssertNothingLeft();
    }
}
