using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// The kernel's own copy-on-write beside lincow, in a guest, where both have the same disks, the same fio and the same kernel.
/// </summary>
internal sealed class KernelRows
{
    private readonly IReadOnlyList<Subject> _subjects;
    private readonly string _id, _title;

    private KernelRows(string id, string title, IReadOnlyList<Subject> subjects)
    {
        (_id, _title, _subjects) = (id, title, subjects);
        Fill = Make("fill", "4K random fill, QD32", Figure.RequestsPerSecond);
        Read = Make("read", "1M sequential read after the fill, caches empty", Figure.MegabytesPerSecond);
        FlushFresh = Make("flush-fresh", "4K write + flush each, fresh", Figure.RequestsPerSecond);
        Flush = Make("flush", "4K write + flush each, allocated", Figure.RequestsPerSecond);
        Metadata = Make("metadata", "metadata after the fill", Figure.Mebibytes);
        Open = Make("open", "open after the fill, caches empty, to first read", Figure.Milliseconds);
    }

    /// <summary>Computing is native, system calls are dear: all of lincow there is over the kernel's NBD client.</summary>
    public static KernelRows UserModeLinux { get; } = new("kernel", "kernel", KernelSubjects.InUserModeLinux)
    {
        Program = () => Guest.UserModeLinux,
        Disk = "/dev/ubd",
        Limit = TimeSpan.FromMinutes(3),
    };

    /// <summary>A newer kernel with ublk. Computing is emulated, which is as slow for all, and slowest for who computes most.</summary>
    public static KernelRows Emulated { get; } = new("driver", "emulated", KernelSubjects.Emulated)
    {
        Program = () => Guest.Emulated,
        Disk = "/dev/vd",
        Limit = TimeSpan.FromMinutes(6),
    };

    public Row Fill { get; }

    public Row FlushFresh { get; }

    public Row Metadata { get; }

    public Row Open { get; }

    public Row Read { get; }

    public Row Flush { get; }

    public IReadOnlyList<Row> All => [Fill, Read, FlushFresh, Flush, Metadata, Open];

    /// <summary>What boots the guest.</summary>
    public required Func<string> Program { get; init; }

    /// <summary>What its disks are called, but for their letter.</summary>
    public required string Disk { get; init; }

    /// <summary>How long one life of it may take.</summary>
    public required TimeSpan Limit { get; init; }

    private Row Make(string id, string title, Figure figure)
    {
        var names = _subjects.Select(subject => subject.Name).ToList();
        return new($"{_id}-{id}", $"{_title}: {title}", figure)
        {
            Subjects = names,
            QuickSubjects = names,
            Candidate = names[0],
            RawSubjects = names[^1],
        };
    }
}
