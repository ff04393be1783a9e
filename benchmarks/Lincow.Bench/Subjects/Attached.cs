using Lincow.Bench.Running;

namespace Lincow.Bench.Subjects;

/// <summary>A file or block device that a subject has become. Dispose takes it away, and whatever serves it.</summary>
internal sealed class Attached(string path, Action detach) : IDisposable
{
    public string Path => path;

    public void Dispose() => detach();
}

/// <summary>
/// Those who become a file or block device: lincow, QEMU's storage daemon with its FUSE export, and the kernel's loop driver by itself.
/// </summary>
internal static class AttachSubjects
{
    public const string LincowFile = "lincow file", LincowDevice = "lincow attach", QemuRaw = "qsd raw", QemuCow = "qsd qcow2",
        QemuRawLoop = "qsd raw loop", QemuCowLoop = "qsd qcow2 loop",
        RawLoop = "raw loop";

    private static readonly TimeSpan MountLimit = TimeSpan.FromSeconds(30);

    public static IEnumerable<Subject> List(string lincow) =>
    [
        Lincow(LincowFile, lincow, isFile: true),
        Lincow(LincowDevice, lincow, isFile: false),
        Qemu(QemuRaw, isLoop: false, isCow: false),
        Qemu(QemuCow, isLoop: false, isCow: true),
        Qemu(QemuRawLoop, isLoop: true, isCow: false),
        Qemu(QemuCowLoop, isLoop: true, isCow: true),
        new(RawLoop, Role.Raw, _ => [])
        {
            Attach = (work, stop) =>
            {
                var device = Loop(work.RawCopy, isDirect: false, stop);
                return new Attached(device, () => Detach(device));
            },
        },
    ];

    private static Subject Lincow(string name, string lincow, bool isFile) => new(name, Role.Lincow, _ => [])
    {
        Create = work => [lincow, "create", work.Overlay, "--origin", work.Origin, "--quiet", "--force"],
        Attach = (work, stop) =>
        {
            Environment.SetEnvironmentVariable("LINCOW_RUN_DIR", work["run"]);
            var device = Tool.Run(lincow, ["attach", work.Overlay], stop).Trim().Split('\n')[^1];
            return new Attached(isFile ? Path.Combine(work["run"], Path.GetFileName(work.Overlay) + ".img") : device,
                () => Tool.Run(lincow, ["detach", device, "--quiet"], CancellationToken.None));
        },
    };

    private static Subject Qemu(string name, bool isLoop, bool isCow) => new(name, isCow ? Role.Peer : Role.Raw, _ => [])
    {
        Create = isCow ? work => ["qemu-img", "create", "-q", "-f", "qcow2", "-b", work.Origin, "-F", "raw", work.Overlay] : null,
        Attach = (work, stop) =>
        {
            var mount = work["qsd.img"];
            File.Create(mount).Dispose();
            var server = ServerProcess.Start(
            [
                "qemu-storage-daemon", "--blockdev",
                    $"driver=file,node-name=file,filename={(isCow ? work.Overlay : work.RawCopy)},aio=io_uring",
                "--blockdev", $"driver={(isCow ? "qcow2" : "raw")},node-name=disk,file=file", "--export",
                    $"type=fuse,id=e,node-name=disk,mountpoint={mount},writable=on",
            ], new Dictionary<string, string>());
            string? device = null;
            void End()
            {
                if (device is not null)
                    Detach(device);
                server.Stop();
                server.Dispose();
                File.Delete(mount);
            }

            try
            {
                for (var end = DateTime.UtcNow + MountLimit; new FileInfo(mount).Length != Workspace.DeviceBytes; Thread.Sleep(5))
                {
                    if (DateTime.UtcNow > end || !server.IsRunning)
                        throw new BenchException("qemu-storage-daemon does not export its file");
                }
                device = isLoop ? Loop(mount, isDirect: true, stop) : null;
                return new Attached(device ?? mount, End);
            }
            catch
            {
                End();
                throw;
            }
        },
    };

    private static string Loop(string file, bool isDirect, CancellationToken stop) =>
        Tool.Run("losetup", ["--find", "--show", $"--direct-io={(isDirect ? "on" : "off")}", file], stop).Trim();

    private static void Detach(string device)
    {
        Tool.Run("losetup", ["--detach", device], CancellationToken.None);
        // The kernel lets go of the file a moment later.
        for (var tries = 0; tries < 1000 && File.Exists($"/sys/block/{Path.GetFileName(device)}/loop/backing_file"); tries++)
            Thread.Sleep(5);
    }
}
