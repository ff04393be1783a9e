using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// fio in a guest whose disk is a subject's, all of whose blocks were written before. The guest is User-mode Linux: Linux's own drivers, in
/// a plain process, so it needs no virtualization and emulates no processor. Its system calls are slow, and as slow for each subject.
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
        var share = Directory.CreateDirectory(work["uml"]).FullName;
        File.WriteAllLines(Path.Combine(share, "job"), Script(rows, context.Settings.Seconds));
        var limit = Allowance + rows.Count * TimeSpan.FromSeconds(context.Settings.Seconds + 5);
        var output = Tool.Run("env", ["GUEST_MEMORY=256M", $"GUEST_SECONDS={limit.TotalSeconds:0}", Guest.UserModeLinux, share,
            "vhost-user:" + work.Socket], limit + Allowance, context.Stop);
        foreach (var row in rows)
        {
            context.Guard([row], subject, () =>
            {
                var result = Path.Combine(share, row.Id + ".json");
                if (!File.Exists(result))
                    throw new BenchException("the guest didn't come so far: " + Tool.OneLine(output));
                context.Record(row, subject, AttachStage.SampleOf(row, FioRun.Parse(File.ReadAllText(result))));
            });
        }
        server.Stop();
        Directory.Delete(share, recursive: true);
    }

    private static IEnumerable<string> Script(IReadOnlyList<Row> rows, double seconds)
    {
        yield return "cd /tmp";
        yield return Fio(new FioJob("write", "1m", 8) { IsUnlimited = true, FileEngine = "libaio" }, 0) + " >/dev/null";
        foreach (var row in rows)
        {
            yield return "sync";
            yield return $"{Fio(row.Job!, seconds)} >/run/share/{row.Id}.json";
        }
    }

    private static string Fio(FioJob job, double seconds) =>
        $"fio {string.Join(' ', job.Arguments("/dev/vda", seconds))} --thread --eta=never --output-format=json";
}
