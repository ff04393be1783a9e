using Lincow.Bench.Running;

namespace Lincow.Bench.Subjects;

/// <summary>
/// Those who serve a virtual machine's disk over vhost-user: lincow, and QEMU's storage daemon. <see cref="Workspace.Socket"/> is theirs.
/// </summary>
internal static class GuestSubjects
{
    public const string LincowGuest = "lincow vhost-user", QemuRaw = "qsd raw vhost-user", QemuCow = "qsd qcow2 vhost-user";

    public static IEnumerable<Subject> List(string lincow) =>
    [
        new(LincowGuest, Role.Lincow, work => [lincow, "serve", work.Overlay, "--vhost-user", work.Socket])
        {
            Create = work => [lincow, "create", work.Overlay, "--origin", work.Origin, "--quiet", "--force"],
        },
        new(QemuRaw, Role.Raw, work => Qemu(work, "raw", work.RawCopy)),
        new(QemuCow, Role.Peer, work => Qemu(work, "qcow2", work.Overlay))
        {
            Create = work => ["qemu-img", "create", "-q", "-f", "qcow2", "-b", work.Origin, "-F", "raw", work.Overlay],
        },
    ];

    private static string[] Qemu(Workspace work, string format, string file) =>
    [
        "qemu-storage-daemon", "--blockdev", $"driver=file,node-name=file,filename={file},aio=io_uring", "--blockdev",
            $"driver={format},node-name=disk,file=file",
        "--export", $"type=vhost-user-blk,id=e,node-name=disk,addr.type=unix,addr.path={work.Socket},writable=on",
    ];
}
