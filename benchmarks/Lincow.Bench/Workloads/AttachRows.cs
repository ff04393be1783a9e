using Lincow.Bench.Running;
using static Lincow.Bench.Subjects.AttachSubjects;

namespace Lincow.Bench.Workloads;

/// <summary>Rows about files and block devices of this machine, instead of NBD.</summary>
internal static class AttachRows
{
    private static readonly (string Id, string Title, FioJob Job)[] Jobs =
    [
        ("read", "4K random read, QD32", new("randread", "4k", 32)),
        ("read-qd1", "4K random read, QD1", new("randread", "4k", 1)),
        ("read-psync", "4K random read, psync", new("randread", "4k", 1) { FileEngine = "psync" }),
        ("seq-read", "1M sequential read, QD8", new("read", "1m", 8)),
        ("write", "4K random write, QD32", new("randwrite", "4k", 32)),
        ("write-qd1", "4K random write, QD1", new("randwrite", "4k", 1)),
        ("write-psync", "4K random write, psync", new("randwrite", "4k", 1) { FileEngine = "psync" }),
        ("seq-write", "1M sequential write, QD8", new("write", "1m", 8)),
    ];

    public static IReadOnlyList<Row> File { get; } =
        [.. Jobs.Select(job => Make("file-" + job.Id, "FUSE file: " + job.Title, job.Job, LincowFile, [LincowFile, QemuRaw, QemuCow]))];

    public static IReadOnlyList<Row> Device { get; } = [.. Jobs.Select(job =>
        Make("loop-" + job.Id, "loop device: " + job.Title, job.Job, LincowDevice, [LincowDevice, QemuRawLoop, QemuCowLoop, RawLoop]))];

    public static Row Time { get; } = new("attach", "attach: to the device's name", Figure.Milliseconds)
    {
        Subjects = [LincowDevice],
        QuickSubjects = [LincowDevice],
        Candidate = LincowDevice,
        Targets = [new Target(Against.Limit, 50)],
    };

    private static Row Make(string id, string title, FioJob job, string lincow, string[] subjects) =>
        new(id, title, job.BlockSize == "1m" ? Figure.MegabytesPerSecond : Figure.RequestsPerSecond)
        {
            Job = job,
            Subjects = subjects,
            QuickSubjects = subjects,
            Candidate = lincow,
            RawSubjects = RawLoop,
            Targets = [new Target(Against.Subjects, 1.0, "qsd *")],
        };
}
