using Lincow.Bench.Running;

namespace Lincow.Bench.Subjects;

/// <summary>
/// Everybody who takes part. All get the same origin, the same disk and the same client; peers are served as their manuals recommend.
/// </summary>
internal sealed class AllSubjects
{
    public const string Reference = "lincow", Separate = "lincow separate", None = "lincow none", SeparateNone = "lincow separate none",
        PlainCalls = "lincow posix", Transient = "lincow transient", OneCommand = "lincow table", SnapshotStore = "lincow snapshot",
            SnapshotStoreNone = "lincow snapshot none";

    public const string NbdkitCow64 = "nbdkit cow 64K", NbdkitCow4 = "nbdkit cow 4K";

    public const string Qcow2 = "qcow2 default", Qcow2Uring = "qcow2 io_uring", Qcow2Small = "qcow2 4K clusters",
        Qcow2Extended = "qcow2 extended L2",
        Qcow2DataFile = "qcow2 data file", Qcow2None = "qcow2 none", Qcow2DataFileNone = "qcow2 data file none";

    public const string RawNbdkit = "raw nbdkit", RawQemu = "raw qemu", RawQemuNone = "raw qemu none", Null = "nbdkit null";

    /// <summary>Those of a quick run, unless a row says otherwise.</summary>
    public static readonly IReadOnlyList<string> Quick = [Reference, NbdkitCow4, Qcow2, RawQemu, Null];

    /// <summary>
    /// qemu-nbd lets in one client at a time by default; the row of flushing writers has sixteen and the probe is one more.
    /// </summary>
    private const string QemuClients = "32";

    private readonly string _lincow;

    public AllSubjects(string lincow)
    {
        _lincow = lincow;
        List =
        [
            Lincow(Reference),
            Lincow(Separate, separate: true),
            Lincow(None, cache: "none"),
            Lincow(SeparateNone, separate: true, cache: "none"),
            Lincow(SnapshotStore, store: "snapshot"),
            Lincow(SnapshotStoreNone, cache: "none", store: "snapshot"),
            Lincow(PlainCalls) with { Environment = _ => new Dictionary<string, string> { ["LINCOW_IO"] = "posix" } },
            new(Transient, Role.Lincow, work =>
                [_lincow, "serve", "--origin", work.Origin, "--overlay", work.Directory, "--nbd", "unix:" + work.Socket]),
            // serve makes the overlay that its table names.
            new(OneCommand, Role.Lincow, work =>
                [_lincow, "serve", "--table", $"0 {Workspace.DeviceBytes / 512} cow {work.Origin} {work.Overlay} P 8", "--nbd",
                "unix:" + work.Socket]),
            NbdkitCow(NbdkitCow64, 65536),
            NbdkitCow(NbdkitCow4, 4096),
            Qemu(Qcow2),
            Qemu(Qcow2Uring, serve: ["--aio=io_uring"]),
            Qemu(Qcow2Small, create: _ => "cluster_size=4096"),
            Qemu(Qcow2Extended, create: _ => "extended_l2=on"),
            Qemu(Qcow2DataFile, create: DataFile) with { DataFile = work => work.OverlayData },
            Qemu(Qcow2None, serve: ["--cache=none", "--aio=native"]),
            Qemu(Qcow2DataFileNone, create: DataFile, serve: ["--cache=none", "--aio=native"]) with { DataFile = work => work.OverlayData },
            new(RawNbdkit, Role.Raw, work => [.. Nbdkit(work), "file", work.RawCopy]) { DataFile = work => work.RawCopy },
            RawFile(RawQemu),
            RawFile(RawQemuNone, "--cache=none", "--aio=native"),
            new(Null, Role.Ceiling, work => [.. Nbdkit(work), "null", $"size={Workspace.DeviceBytes}"]),
            .. AttachSubjects.List(lincow),
            .. KernelSubjects.InUserModeLinux,
            .. KernelSubjects.Emulated,
            .. GuestSubjects.List(lincow),
        ];
    }

    public IReadOnlyList<Subject> List { get; }

    public Subject this[string name] => List.First(subject => subject.Name == name);

    private Subject Lincow(string name, bool separate = false, string cache = "writeback", string store = "linear") =>
        new(name, Role.Lincow, work => [_lincow, "serve", work.Overlay, "--cache", cache, "--nbd", "unix:" + work.Socket])
        {
            Create = work =>
                [_lincow, "create", work.Overlay, "--origin", work.Origin, "--store", store, "--quiet", "--force", .. separate
                ? new[] { "--map", work.OverlayMap } : []],
            DataFile = work => work.Overlay,
        };

    // The filter's overlay is a file without a name in $TMPDIR, which has to be on the same disk as everybody else's.
    private static Subject NbdkitCow(string name, int blockBytes) =>
        new(name, Role.Peer, work => [.. Nbdkit(work), "--filter=cow", "file", work.Origin, $"cow-block-size={blockBytes}"])
        {
            Environment = work => new Dictionary<string, string> { ["TMPDIR"] = work.Directory },
            IgnoresFlush = true,
        };

    private static Subject Qemu(string name, Func<Workspace, string>? create = null, string[]? serve = null) =>
        new(name, Role.Peer, work => [.. QemuNbd(work), "-f", "qcow2", .. serve ?? [], work.Overlay])
        {
            Create = work =>
                ["qemu-img", "create", "-q", "-f", "qcow2", "-b", work.Origin, "-F", "raw", .. create is null ? Array.Empty<string>()
                : ["-o", create(work)], work.Overlay],
            DataFile = work => work.Overlay,
        };

    private static string DataFile(Workspace work) => $"data_file={work.OverlayData}";

    private static Subject RawFile(string name, params string[] options) =>
        new(name, Role.Raw, work => [.. QemuNbd(work), "-f", "raw", .. options, work.RawCopy]) { DataFile = work => work.RawCopy };

    private static string[] Nbdkit(Workspace work) => ["nbdkit", "-f", "-U", work.Socket];

    private static string[] QemuNbd(Workspace work) => ["qemu-nbd", "-t", "-k", work.Socket, "-e", QemuClients];
}
