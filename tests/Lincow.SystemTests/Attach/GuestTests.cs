using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Attach;

/// <summary>
/// The ways of <c>attach</c> under a kernel that has them all, Debian 13's, in a guest: tests/guest/attach-way, attach-auto and
/// attach-memory say what is checked.
/// </summary>
public class GuestTests
{
    private const long DiskBytes = 512L << 20;

    /// <summary>A guest with less memory spends its time on its own programs.</summary>
    private const int FewMegabytes = 256;

    [Fact]
    public void Devices_of_drivers_survive_kills_of_their_server_and_leave_nothing_behind()
    {
        var seed = Seeds.Pick(3);
        using var scratch = new Scratch();
        foreach (var tool in new[] { "mkfs.ext4", "blkdiscard", "fstrim", "python3" })
            Tool.Find(tool);
        var said = Guest.Run(scratch, new GuestShape(Seconds: 340, Processors: 2), ["attach-way", "attach-auto", "device-load.py"], $"""
            for way in ublk nbd; do bash ./attach-way /tmp/lincow /dev/vda $way {seed}; done
            bash ./attach-auto /tmp/lincow /dev/vda
            """, scratch.Sparse("disk.img", DiskBytes));
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {said}");
    }

    [Fact]
    public void More_can_be_dirty_than_there_is_memory()
    {
        using var scratch = new Scratch();
        var said = Guest.Run(scratch, new GuestShape(Seconds: 280, Megabytes: FewMegabytes), ["attach-memory"],
            "bash ./attach-memory /tmp/lincow /dev/vda ublk:none nbd:writeback",
            scratch.Sparse("disk.img", DiskBytes));
        TestContext.Current.TestOutputHelper?.WriteLine(said);
    }
}
