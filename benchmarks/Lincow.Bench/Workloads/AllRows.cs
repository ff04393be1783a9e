using Lincow.Bench.Running;
using static Lincow.Bench.Subjects.AllSubjects;

namespace Lincow.Bench.Workloads;

/// <summary>Every workload, in the order of the report, and what lincow has to reach in it.</summary>
internal static class AllRows
{
    private static readonly string[] CowServers =
        [Reference, Separate, None, PlainCalls, NbdkitCow64, NbdkitCow4, Qcow2, Qcow2Uring, Qcow2Small, Qcow2Extended, Qcow2DataFile];

    private static readonly string[] Everybody = [.. CowServers, RawNbdkit, RawQemu, Null];

    /// <summary>One client with several connections is a question about lincow; one of each kind shows what is usual.</summary>
    private static readonly string[] OneOfEach = [Reference, NbdkitCow4, Qcow2, RawNbdkit, RawQemu, Null];

    private static readonly string[] Uncached =
        [None, SeparateNone, SnapshotStoreNone, RawQemuNone, Qcow2None, Qcow2DataFileNone, Reference, RawNbdkit];

    private static readonly string[] LincowAlone = [Reference];

    private static readonly Row FreshWrite =
        Fio("fresh-write", "4K random write, fresh overlay, QD32", new("randwrite", "4k", 32) { Repeats = false }) with
        {
            Targets = [BestPeerBy(1.4)],
        };

    private static readonly Row AllocatedWrite = Fio("allocated-write", "4K random write, allocated, QD32", new("randwrite", "4k", 32)) with
    {
        Targets = [BestPeerBy(1.2)],
    };

    private static readonly Row Read = Fio("read", "4K random read, untouched, QD32", new("randread", "4k", 32)) with
    {
        Targets = [BestPeerBy(1.2), Times(0.85, Null)],
    };

    private static readonly Row AllocatedRead = Fio("allocated-read", "4K random read, allocated, QD32", new("randread", "4k", 32)) with
    {
        Targets = [BestPeerBy(1.2), Times(0.85, Null)],
    };

    private static readonly Row ReadDepth1 =
        Fio("read-qd1", "4K read, allocated, QD1", new("randread", "4k", 1)) with { Targets = [BestPeerBy(1.2)] };

    private static readonly Row WriteDepth1 =
        Fio("write-qd1", "4K write, allocated, QD1", new("randwrite", "4k", 1)) with { Targets = [BestPeerBy(1.2)] };

    private static readonly Row Mixed =
        Fio("mixed-64k", "64K random read and write, fresh, QD16", new("randrw", "64k", 16)) with { Targets = [BestPeerBy(1.1)] };

    private static readonly Row SequentialRead =
        Megabytes("seq-read", "1M sequential read, allocated, QD8", new("read", "1m", 8)) with { Targets = [BestPeerBy(1.1)] };

    private static readonly Row SequentialFreshWrite =
        Megabytes("seq-write-fresh", "1M sequential write, fresh, QD8", new("write", "1m", 8) { Repeats = false }) with
        {
            Targets = [BestPeerBy(1.1)],
        };

    private static readonly Row SequentialWrite =
        Megabytes("seq-write", "1M sequential write, allocated, QD8", new("write", "1m", 8)) with { Targets = [BestPeerBy(1.1)] };

    private static readonly Row FlushAllocated =
        Fio("flush-allocated", "4K write + flush each, allocated", new("randwrite", "4k", 1) { Flush = true, Size = "256m" }) with
        {
            Targets = [Times(1.0, RawQemu)],
        };

    private static readonly Row FlushFresh =
        Fio("flush-fresh", "4K write + flush each, fresh", new("randwrite", "4k", 1) { Flush = true, Repeats = false }) with
        {
            Subjects = [.. Everybody, SnapshotStore],
            Targets = [Times(1.5, "qcow2 *"), Times(0.6, RawQemu)],
        };

    private static readonly Row SixteenAllocated =
        Fio("flush16-allocated", "16 flushing writers, allocated", SixteenWriters(repeats: true)) with
        {
            Targets = [VersusRow(3, FlushAllocated)],
        };

    private static readonly Row SixteenFresh = Fio("flush16-fresh", "16 flushing writers, fresh", SixteenWriters(repeats: false)) with
    {
        Targets = [VersusRow(3, FlushFresh)],
    };

    private static readonly Row UncachedRead =
        new("uncached-read", "1M sequential read after a random fill, uncached", Figure.MegabytesPerSecond)
        {
            Subjects = Uncached,
            QuickSubjects = [None, RawQemuNone, Qcow2None],
            Candidate = None,
            RawSubjects = RawQemuNone,
            Targets = [Times(0.95, RawQemuNone)],
        };

    private static readonly Row FillExtents = new("fill-extents", "extents of the overlay's file after that fill", Figure.Count)
    {
        Subjects = Uncached,
        QuickSubjects = UncachedRead.QuickSubjects,
        Candidate = None,
    };

    /// <summary>
    /// What the store adds to the data, and what it costs to find its way about in it again: with the rows above, docs/why-linear.md.
    /// </summary>
    private static readonly Row FillMetadata = new("fill-metadata", "metadata on disk after that fill", Figure.Mebibytes)
    {
        Subjects = [None, SnapshotStoreNone, Qcow2None, Qcow2Small],
        QuickSubjects = UncachedRead.QuickSubjects,
        Candidate = None,
    };

    private static readonly Row FillOpen = new("fill-open", "open after that fill, caches empty: serve to first read", Figure.Milliseconds)
    {
        Subjects = FillMetadata.Subjects,
        QuickSubjects = UncachedRead.QuickSubjects,
        Candidate = None,
    };

    private static readonly Row CpuFreshWrite = Cpu("cpu-fresh-write", "server CPU per million 4K writes, fresh", FreshWrite);

    private static readonly Row CpuAllocatedWrite =
        Cpu("cpu-allocated-write", "server CPU per million 4K writes, allocated", AllocatedWrite);

    private static readonly Row CpuRead = Cpu("cpu-read", "server CPU per million 4K reads, untouched", Read);

    private static readonly Row StartUp = Milliseconds("start", "create, serve, first read", [Reference, Qcow2], AtMost(10));

    private static readonly Row StartUpCreate = Milliseconds("start-create", "  of that: create", [Reference, Qcow2]);

    private static readonly Row StartUpServe = Milliseconds("start-serve", "  of that: serve to first read", [Reference, Qcow2]);

    private static readonly Row StartUpTable =
        Milliseconds("start-table", "one command (serve --table): made, served, first read", [OneCommand], AtMost(10)) with
        {
            Candidate = OneCommand,
            QuickSubjects = [OneCommand],
        };

    private static readonly Row StartUpTransient =
        Milliseconds("start-transient", "transient overlay: serve to first read", [Transient, NbdkitCow64, NbdkitCow4], AtMost(10)) with
        {
            Candidate = Transient,
            QuickSubjects = [Transient, NbdkitCow4],
        };

    private static readonly Row FourRead =
        Fio("read-4-connections", "4K random read, allocated, 4 connections of QD8", FourConnections("randread")) with
        {
            Subjects = OneOfEach,
            QuickSubjects = LincowAlone,
            Targets = [VersusRow(0.95, AllocatedRead)],
        };

    private static readonly Row FourWrite =
        Fio("write-4-connections", "4K random write, allocated, 4 connections of QD8", FourConnections("randwrite")) with
        {
            Subjects = OneOfEach,
            QuickSubjects = LincowAlone,
            Targets = [VersusRow(0.95, AllocatedWrite)],
        };

    private static readonly Row SixtyFourOne =
        new("jobs-64", "4K random read, 64 clients of QD4, one device", Figure.RequestsPerSecond) { Subjects = LincowAlone };

    private static readonly Row SixtyFourDevices =
        new("devices-64", "4K random read, 64 clients of QD4, 64 devices in one process", Figure.RequestsPerSecond)
        {
            Subjects = LincowAlone,
            Targets = [VersusRow(0.95, SixtyFourOne)],
        };

    private static readonly Row MemoryFresh = Mebibytes("memory-1t", "memory: 1 TiB, one read", 25);

    private static readonly Row MemoryOnePercent = Mebibytes("memory-1t-1pct", "memory: 1 TiB, 1 % of its chunks written at random", 100);

    private static readonly Row OpenOnePercent =
        Milliseconds("open-1t-1pct", "open: 1 TiB with 1 % written, serve to first read", LincowAlone);

    private static readonly Row OpenLarge = Milliseconds("open-8t", "open: 8 TiB, serve to first read", LincowAlone, AtMost(50));

    private static readonly Row Collections = new("gc", "gen-0 collections during 4K random reads and writes", Figure.Count)
    {
        Subjects = LincowAlone,
        Job = new FioJob("randrw", "4k", 32),
        Targets = [AtMost(0)],
    };

    /// <summary>In the order of the report; derived rows included.</summary>
    public static IReadOnlyList<Row> Rows { get; } =
    [
        FreshWrite, AllocatedWrite, Read, AllocatedRead, ReadDepth1, WriteDepth1, Mixed, SequentialRead, SequentialFreshWrite,
            SequentialWrite,
        FlushAllocated, FlushFresh, SixteenAllocated, SixteenFresh, UncachedRead, FillExtents, FillMetadata, FillOpen, CpuFreshWrite,
            CpuAllocatedWrite, CpuRead,
        StartUp, StartUpCreate, StartUpServe, StartUpTable, StartUpTransient, FourRead, FourWrite, SixtyFourOne, SixtyFourDevices,
        MemoryFresh, MemoryOnePercent, OpenOnePercent, OpenLarge, Collections,
        AttachRows.Time, .. AttachRows.File, .. AttachRows.Device, .. GuestRows.All, .. KernelRows.UserModeLinux.All,
            .. KernelRows.Emulated.All,
    ];

    /// <summary>In the order of measuring. Within a stage readers come first, so that they meet no dirty pages of a predecessor.</summary>
    public static IReadOnlyList<Stage> Stages { get; } =
    [
        new FioStage { Rows = [FreshWrite] },
        new FioStage { Rows = [Read] },
        new FioStage { Rows = [AllocatedRead, FourRead, ReadDepth1, SequentialRead, WriteDepth1, AllocatedWrite, FourWrite,
            SequentialWrite], Allocate = "1g" },
        new FioStage { Rows = [Mixed] },
        new FioStage { Rows = [SequentialFreshWrite] },
        new FioStage { Rows = [FlushAllocated, SixteenAllocated], Allocate = "256m" },
        new FioStage { Rows = [FlushFresh] },
        new FioStage { Rows = [SixteenFresh] },
        new UncachedStage { Rows = [UncachedRead, FillExtents, FillMetadata, FillOpen], Read = UncachedRead, Extents = FillExtents,
            Metadata = FillMetadata, Open = FillOpen },
        new StartUpStage { Rows = [StartUp, StartUpCreate, StartUpServe, StartUpTable, StartUpTransient], CreatePart = StartUpCreate,
            ServePart = StartUpServe },
        new DevicesStage { Rows = [SixtyFourOne, SixtyFourDevices], One = SixtyFourOne, Many = SixtyFourDevices, IsSlow = true },
        new CollectionsStage { Rows = [Collections] },
        new MemoryStage { Rows = [MemoryFresh, MemoryOnePercent, OpenOnePercent, OpenLarge], Fresh = MemoryFresh,
            OnePercent = MemoryOnePercent, OpenOnePercent = OpenOnePercent, OpenLarge = OpenLarge },
        new AttachTimeStage { Rows = [AttachRows.Time] },
        new AttachStage { Rows = AttachRows.File },
        new AttachStage { Rows = AttachRows.Device },
        KernelStage.Of(KernelRows.UserModeLinux),
        KernelStage.Of(KernelRows.Emulated),
        new GuestStage { Rows = GuestRows.All },
    ];

    private static Row Fio(string id, string title, FioJob job) =>
        new(id, title, Figure.RequestsPerSecond) { Job = job, Subjects = Everybody };

    private static Row Megabytes(string id, string title, FioJob job) =>
        new(id, title, Figure.MegabytesPerSecond) { Job = job, Subjects = Everybody };

    private static Row Cpu(string id, string title, Row source) => new(id, title, Figure.CpuSecondsPerMillion)
    {
        Subjects = source.Subjects,
        DerivedFrom = source.Id,
        Targets = [Times(2, "nbdkit cow *")],
    };

    private static Row Milliseconds(string id, string title, string[] subjects, params Target[] targets) =>
        new(id, title, Figure.Milliseconds) { Subjects = subjects, Targets = targets };

    private static Row Mebibytes(string id, string title, double limit) =>
        new(id, title, Figure.Mebibytes) { Subjects = LincowAlone, Targets = [AtMost(limit)] };

    private static FioJob SixteenWriters(bool repeats) =>
        new("randwrite", "4k", 1) { Jobs = 16, Flush = true, Size = "16m", OffsetIncrement = "16m", Repeats = repeats };

    private static FioJob FourConnections(string pattern) => new(pattern, "4k", 8) { Jobs = 4 };

    private static Target BestPeerBy(double factor) => new(Against.BestPeer, factor);

    private static Target Times(double factor, string subjects) => new(Against.Subjects, factor, subjects);

    private static Target VersusRow(double factor, Row row) => new(Against.Row, factor, row.Id);

    private static Target AtMost(double limit) => new(Against.Limit, limit);
}
