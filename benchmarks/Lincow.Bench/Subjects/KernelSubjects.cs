namespace Lincow.Bench.Subjects;

/// <summary>Block devices inside User-mode Linux: the kernel's copy-on-write targets, lincow on the kernel's NBD client, and a disk by itself. What each is made of says Kernel/job.</summary>
internal static class KernelSubjects
{
    public const string LincowNone = "uml lincow none", LincowWriteback = "uml lincow", Snapshot4 = "uml dm-snapshot 4K", Snapshot64 = "uml dm-snapshot 64K", Clone = "uml dm-clone 4K",
        Raw = "uml raw disk", RawNbd = "uml nbdkit raw";

    public static IEnumerable<Subject> List { get; } =
    [
        new(LincowNone, Role.Lincow, _ => []) { GuestName = "lincow-none" },
        new(LincowWriteback, Role.Lincow, _ => []) { GuestName = "lincow-writeback" },
        new(Snapshot4, Role.Peer, _ => []) { GuestName = "snapshot-8" },
        new(Snapshot64, Role.Peer, _ => []) { GuestName = "snapshot-128" },
        new(Clone, Role.Peer, _ => []) { GuestName = "clone" },
        new(Raw, Role.Raw, _ => []) { GuestName = "raw" },
        // What a process costs there, whatever it does: the disk as it is, through the kernel's NBD client.
        new(RawNbd, Role.Raw, _ => []) { GuestName = "nbdkit" },
    ];
}
