using Lincow.Bench.Running;
using static Lincow.Bench.Subjects.GuestSubjects;

namespace Lincow.Bench.Workloads;

/// <summary>Rows about a virtual machine's disk: fio in a guest, over vhost-user.</summary>
internal static class GuestRows
{
    public static IReadOnlyList<Row> All { get; } =
    [
        Make("read", "4K random read, QD32", new("randread", "4k", 32)),
        Make("read-qd1", "4K random read, QD1", new("randread", "4k", 1)),
        Make("seq-read", "1M sequential read, QD8", new("read", "1m", 8)),
        Make("write", "4K random write, QD32", new("randwrite", "4k", 32)),
        Make("write-qd1", "4K random write, QD1", new("randwrite", "4k", 1)),
        Make("seq-write", "1M sequential write, QD8", new("write", "1m", 8)),
    ];

    private static Row Make(string id, string title, FioJob job) =>
        new("guest-" + id, "in a guest: " + title, job.BlockSize == "1m" ? Figure.MegabytesPerSecond : Figure.RequestsPerSecond)
        {
            Job = job with { FileEngine = "libaio" },
            Subjects = [LincowGuest, QemuRaw, QemuCow],
            QuickSubjects = [LincowGuest, QemuRaw, QemuCow],
            Candidate = LincowGuest,
            RawSubjects = QemuRaw,
            Targets = [new Target(Against.Subjects, 1.0, "qsd *")],
        };
}
