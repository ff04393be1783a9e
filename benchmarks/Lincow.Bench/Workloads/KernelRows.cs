using static Lincow.Bench.Subjects.KernelSubjects;

namespace Lincow.Bench.Workloads;

/// <summary>The kernel's own copy-on-write beside lincow, in User-mode Linux, where both have the same disks, the same client and the same kernel.</summary>
internal static class KernelRows
{
    private static readonly string[] Subjects = [LincowNone, LincowWriteback, Snapshot4, Snapshot64, Clone, RawNbd, Raw];

    public static Row Fill { get; } = Make("kernel-fill", "kernel: 4K random fill, QD32", Figure.RequestsPerSecond);

    public static Row FlushFresh { get; } = Make("kernel-flush-fresh", "kernel: 4K write + flush each, fresh", Figure.RequestsPerSecond);

    public static Row Metadata { get; } = Make("kernel-metadata", "kernel: metadata after the fill", Figure.Mebibytes);

    public static Row Open { get; } = Make("kernel-open", "kernel: open after the fill, caches empty, to first read", Figure.Milliseconds);

    public static Row Read { get; } = Make("kernel-read", "kernel: 1M sequential read after the fill, caches empty", Figure.MegabytesPerSecond);

    public static Row Flush { get; } = Make("kernel-flush", "kernel: 4K write + flush each, allocated", Figure.RequestsPerSecond);

    public static IReadOnlyList<Row> All { get; } = [Fill, Read, FlushFresh, Flush, Metadata, Open];

    private static Row Make(string id, string title, Figure figure) => new(id, title, figure)
    {
        Subjects = Subjects,
        QuickSubjects = Subjects,
        Candidate = LincowNone,
        RawSubjects = Raw,
    };
}
