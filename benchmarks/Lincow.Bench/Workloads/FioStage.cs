using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>Rows that are one fio run each, on a server of a fresh overlay or of one whose first part was written before.</summary>
internal sealed class FioStage : Stage
{
    /// <summary>What is written in order and flushed before the first row, in fio's words; null for an untouched overlay.</summary>
    public string? Allocate { get; init; }

    /// <summary>One run of fio against a running server, with what the server took for it.</summary>
    public static Sample Measure(Row row, ServerProcess server, Func<FioResult> run)
    {
        var before = server.CpuSeconds;
        var result = run();
        return new Sample(row.Figure == Figure.MegabytesPerSecond ? result.MegabytesPerSecond : result.Iops)
        {
            Iops = result.Iops,
            MegabytesPerSecond = result.MegabytesPerSecond,
            P50 = result.P50,
            P99 = result.P99,
            P999 = result.P999,
            ServerCpuSeconds = Math.Round(server.CpuSeconds - before, 3),
            Requests = result.Requests,
            ServerPeakKiB = server.PeakKiB,
        };
    }

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        var work = context.Work;
        work.Reset(usesRawCopy: subject.Role == Role.Raw);
        subject.MakeOverlay(work, context.Stop);
        using var server = subject.Start(work);
        server.Connect(work.Socket, context.Stop).Dispose();
        var uri = FioRun.Uri(work.Socket);
        // A raw copy has all its blocks, and a server that stores nothing has none to write.
        if (Allocate is not null && subject.IsCopyOnWrite)
        {
            FioRun.Run(new FioJob("write", "1m", 8) { Size = Allocate, IsUnlimited = true }, uri, 0, context.Stop);
            work.Sync();
        }
        foreach (var row in rows)
        {
            if (row != rows[0])
                work.Sync();
            context.Guard([row], subject, () =>
                context.Record(row, subject, Measure(row, server, () =>
                    FioRun.Run(row.Job!, uri, context.Settings.Seconds, context.Stop))));
        }
        server.Stop();
    }
}
