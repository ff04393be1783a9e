using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// fio in a guest whose disk is a subject's, all of whose blocks were written before. The guest is User-mode Linux: Linux's own drivers, in a plain
/// process, so it needs no virtualization and emulates no processor. Its system calls are slow, and as slow for each subject.
/// </summary>
internal sealed class GuestStage : Stage
{
    private static readonly TimeSpan Allowance = TimeSpan.FromMinutes(4);

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        var work = context.Work;
        work.Reset(usesRawCopy: subject.Role == Role.Raw);
        subject.MakeOverlay(work, context.Stop);
        using var server = subject.Start(work);
        for (var end = DateTime.UtcNow + Allowance; !File.Exists(work.Socket); Thread.Sleep(5))
        {
            if (DateTime.UtcNow > end || !server.IsRunning)
                throw new BenchException($"{subject.Name} doesn't listen");
        }
        File.WriteAllLines(work["init"], Script(work, rows, context.Settings.Seconds));
        File.SetUnixFileMode(work["init"], UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        // Its memory is a file, and belongs in memory. SIGTERM means nothing to it.
        var limit = Allowance + rows.Count * TimeSpan.FromSeconds(context.Settings.Seconds + 5);
        var console = Tool.Run("env", ["TMPDIR=/dev/shm", "timeout", "-s", "KILL", $"{limit.TotalSeconds:0}", "linux.uml", "mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
            "init=" + work["init"], $"virtio_uml.device={work.Socket}:2", "con=null", "con0=null,fd:1", "ssl=null", "quiet"], limit, context.Stop);
        foreach (var row in rows)
        {
            context.Guard([row], subject, () =>
            {
                if (!File.Exists(work[row.Id + ".json"]))
                    throw new BenchException("the guest didn't come so far: " + Tool.OneLine(console));
                context.Record(row, subject, AttachStage.SampleOf(row, FioRun.Parse(File.ReadAllText(work[row.Id + ".json"]))));
            });
        }
        server.Stop();
    }

    /// <summary>The guest's first process. Its files are the host's, read-only but for the bench's directory.</summary>
    private static IEnumerable<string> Script(Workspace work, IReadOnlyList<Row> rows, double seconds)
    {
        yield return "#!/bin/bash";
        yield return "export PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        yield return "mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp";
        yield return $"mount -t hostfs none /mnt -o '{work.Directory}'";
        yield return "insmod /usr/lib/uml/modules/$(uname -r)/kernel/drivers/block/virtio_blk.ko";
        yield return "cd /tmp";
        yield return Fio(new FioJob("write", "1m", 8) { IsUnlimited = true, FileEngine = "libaio" }, 0) + " >/dev/null";
        foreach (var row in rows)
        {
            yield return "sync";
            yield return $"{Fio(row.Job!, seconds)} >/mnt/{row.Id}.json";
        }
        yield return "echo o >/proc/sysrq-trigger; sleep 60";
    }

    private static string Fio(FioJob job, double seconds) => $"fio {string.Join(' ', job.Arguments("/dev/vda", seconds))} --thread --eta=never --output-format=json";
}
