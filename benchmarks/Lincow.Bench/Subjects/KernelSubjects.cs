namespace Lincow.Bench.Subjects;

/// <summary>
/// Block devices inside a guest: the kernel's copy-on-write targets, lincow, and a disk by itself, which comes last. What each is made of
/// says Kernel/job.
/// </summary>
internal static class KernelSubjects
{
    public static IReadOnlyList<Subject> InUserModeLinux { get; } =
    [
        Make("uml lincow none", Role.Lincow, "lincow-none"),
        Make("uml lincow", Role.Lincow, "lincow-writeback"),
        Make("uml dm-snapshot 4K", Role.Peer, "snapshot-8"),
        Make("uml dm-snapshot 64K", Role.Peer, "snapshot-128"),
        Make("uml dm-clone 4K", Role.Peer, "clone"),
        // What a process costs there, whatever it does: the disk as it is, through the kernel's NBD client.
        Make("uml nbdkit raw", Role.Raw, "nbdkit"),
        Make("uml raw disk", Role.Raw, "raw"),
    ];

    public static IReadOnlyList<Subject> Emulated { get; } =
    [
        Make("emu lincow ublk", Role.Lincow, "ublk-none"),
        Make("emu lincow nbd", Role.Lincow, "nbd-none"),
        Make("emu dm-snapshot 4K", Role.Peer, "snapshot-8"),
        Make("emu dm-snapshot 64K", Role.Peer, "snapshot-128"),
        Make("emu qemu-nbd qcow2", Role.Peer, "qcow2"),
        Make("emu qemu-nbd raw", Role.Raw, "qemu-raw"),
        Make("emu raw disk", Role.Raw, "raw"),
    ];

    private static Subject Make(string name, Role role, string guestName) => new(name, role, _ => []) { GuestName = guestName };
}
