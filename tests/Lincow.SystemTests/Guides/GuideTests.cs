using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Guides;

/// <summary>What the guides tell people to type does what they say.</summary>
public class GuideTests
{
    [Fact]
    public void Forensics_shows_what_the_journal_holds_and_leaves_the_image_alone()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var evidence = MakeImageWithDirtyJournal(attachments);
        var before = Scratch.Sha256(evidence);
        // Without the journal, the last file isn't there.
        Directory.CreateDirectory(scratch["plain"]);
        Tool.Ok("mount", "-o", "ro,noload", evidence, scratch["plain"]);
        Assert.False(File.Exists(Path.Combine(scratch["plain"], "last")),
            "the journal of the evidence is not dirty, so this shows nothing");
        Tool.Ok("umount", scratch["plain"]);

        var output = Bash(attachments, string.Join("test ! -e case || cat case/last\n", new Guide("forensics.md").Blocks));

        Assert.Contains("written last", output);
        Assert.Contains("evidence.img: OK", output);
        Assert.Contains("case.cow", output);
        Assert.Equal(before, Scratch.Sha256(evidence));
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Many_machines_have_each_a_disk_of_their_own_and_get_it_back_as_it_was()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        Tool.Find("qemu-io");
        var golden = scratch.Sparse("golden.img", 32 << 20);
        Scratch.WriteAt(golden, 0, Enumerable.Repeat((byte)99, 1 << 20).ToArray());
        var before = Scratch.Sha256(golden);
        var blocks = new Guide("ci-and-sandboxes.md").Blocks;

        var output = Bash(attachments, $$"""
            use() { qemu-io -f raw -c "$2" "nbd+unix:///vm$1?socket=$PWD/vms.sock"; }
            {{blocks[0]}}
            for n in $machines; do use $n "write -P $n 0 64k"; done
            for n in $machines; do use $n "read -P $n 0 64k"; done
            {{blocks[1]}}
            for n in $machines; do use $n "read -P 99 0 1M"; done
            {{string.Concat(blocks.Skip(2))}}
            """);

        Assert.DoesNotContain("Pattern verification failed", output);
        Assert.Contains("vm20", output);
        Assert.Contains("TYPE=\"ext4\"", output);
        Assert.Equal(before, Scratch.Sha256(golden));
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void Raid_recovery_gets_the_files_back_and_leaves_the_members_alone()
    {
        using var scratch = new Scratch();
        var members = MakeDegradedArray(scratch);
        var before = members.Select(Scratch.Sha256).ToList();
        var blocks = RaidBlocks();

        var output = UserModeLinux.Run(scratch, $"""
            modprobe -a raid456 ext4 fuse loop
            members="/dev/ubda /dev/ubdb /dev/ubdc"
            overlays=/tmp/raid
            {blocks[1]}
            if mdadm --assemble --run /dev/md0 $devices; then echo "it starts without force, so this shows nothing"; exit 1; fi
            mdadm --stop /dev/md0 || true
            {blocks[2]}
            cat $overlays/mnt/last
            {string.Concat(blocks.Skip(3))}
            """, members);

        Assert.Contains("written last", output);
        Assert.Equal(before, members.Select(Scratch.Sha256));
    }

    /// <summary>
    /// With udevd, whose rules hand every member of an array to mdadm. Without lincow's rule they take the overlays, which shows that the
    /// machine is one.
    /// </summary>
    [Theory]
    [InlineData("fuse")]
    [InlineData("nbd")]
    public void Raid_recovery_works_where_udev_takes_every_member_of_an_array(string way)
    {
        using var scratch = new Scratch();
        Tool.Find("udevadm");
        var members = MakeDegradedArray(scratch);
        var before = members.Select(Scratch.Sha256).ToList();
        var blocks = RaidBlocks();
        File.Copy(Cli.InRepository("packaging/59-lincow.rules"), UserModeLinux.Share(scratch) + "/59-lincow.rules");

        var output = UserModeLinux.Run(scratch, $"""
            modprobe -a raid456 ext4 fuse loop {(way == "nbd" ? "nbd" : "")}
            mkdir -p /run/udev/rules.d
            /lib/systemd/systemd-udevd --daemon
            udevadm trigger; udevadm settle
            stop() {"{"} for md in $(grep -o '^md[0-9]*' /proc/mdstat); do mdadm -q --stop /dev/$md; done; {"}"}
            stop
            members="/dev/ubda /dev/ubdb /dev/ubdc"
            overlays=/tmp/raid
            {blocks[1]}
            udevadm settle
            grep -q '^md' /proc/mdstat || {"{"} echo "udev takes nothing here, so this shows nothing"; exit 1; {"}"}
            stop
            for device in $devices; do lincow detach $device --wait 10; done
            rm -r $overlays
            cp /run/share/59-lincow.rules /run/udev/rules.d/ && udevadm control --reload
            {blocks[1]}
            udevadm settle
            if grep '^md' /proc/mdstat; then echo "an array was made of overlays"; exit 1; fi
            for device in $devices; do udevadm info -q property $device | grep -x UDISKS_IGNORE=1; done
            {blocks[2]}
            cat $overlays/mnt/last
            {string.Concat(blocks.Skip(3))}
            """, members);

        Assert.Contains("written last", output);
        Assert.Equal(before, members.Select(Scratch.Sha256));
    }

    // One member falls out, then the power fails while the array is being written.
    private static string[] MakeDegradedArray(Scratch scratch)
    {
        Tool.Find("mdadm");
        string[] members = [scratch.Sparse("a.img", 32 << 20), scratch.Sparse("b.img", 32 << 20), scratch.Sparse("c.img", 32 << 20)];
        UserModeLinux.Run(scratch, """
            modprobe -a raid456 ext4
            mdadm --create /dev/md0 --run --level=5 --raid-devices=3 --assume-clean --bitmap=none /dev/ubda /dev/ubdb /dev/ubdc
            echo 0 > /sys/block/md0/md/safe_mode_delay
            mkfs.ext4 -q /dev/md0
            mkdir /tmp/mnt
            mount /dev/md0 /tmp/mnt
            mdadm /dev/md0 --fail /dev/ubdc
            echo written last > /tmp/mnt/last
            sync -f /tmp/mnt
            echo 0 > /run/share/status
            sync -f /run/share
            echo c > /proc/sysrq-trigger
            """, members);
        return members;
    }

    private static List<string> RaidBlocks()
    {
        var blocks = new Guide("raid-recovery.md").Blocks;
        // The one block that a reader has to fill in.
        Assert.StartsWith("members=", blocks[0]);
        return [.. blocks];
    }

    private static string Bash(Attachments attachments, string script)
    {
        var scratch = attachments.Scratch;
        Directory.CreateDirectory(scratch["bin"]);
        File.CreateSymbolicLink(scratch["bin/lincow"], Cli.Binary);
        File.WriteAllText(scratch["script"], $"set -euo pipefail\ncd {scratch.Directory}\nPATH=$PWD/bin:$PATH\n{script}");
        var result = Tool.Run("bash", [scratch["script"]], attachments.Environment);
        Assert.True(result.ExitCode == 0, result.ToString());
        return result.Output;
    }

    // As the disk of a machine whose power fails right after an fsync.
    private static string MakeImageWithDirtyJournal(Attachments attachments)
    {
        var scratch = attachments.Scratch;
        var disk = scratch.Sparse("disk.img", 64 << 20);
        Tool.Ok("mkfs.ext4", "-q", disk);
        var mount = attachments.Mount(disk, "live");
        using (var file = File.Create(Path.Combine(mount, "last")))
        {
            file.Write("written last\n"u8);
            file.Flush(flushToDisk: true);
        }
        File.Copy(disk, scratch["evidence.img"]);
        Tool.Ok("umount", mount);
        Assert.Contains("needs_recovery", Tool.Ok("dumpe2fs", "-h", scratch["evidence.img"]));
        return scratch["evidence.img"];
    }
}
