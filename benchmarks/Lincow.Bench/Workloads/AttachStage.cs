using System.Diagnostics;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>fio on files and block devices, all of whose blocks were written before.</summary>
internal sealed class AttachStage : Stage
{
    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        var work = context.Work;
        work.Reset(usesRawCopy: subject.Role == Role.Raw);
        subject.MakeOverlay(work, context.Stop);
        using var attached = subject.Attach!(work, context.Stop);
        if (subject.IsCopyOnWrite)
        {
            FioRun.Run(new FioJob("write", "1m", 8) { IsUnlimited = true }, attached.Path, 0, context.Stop);
            work.Sync();
        }
        foreach (var row in rows)
        {
            if (row != rows[0])
                work.Sync();
            context.Guard([row], subject, () =>
            {
                var result = FioRun.Run(row.Job!, attached.Path, context.Settings.Seconds, context.Stop);
                context.Record(row, subject, SampleOf(row, result));
            });
        }
    }

    public static Sample SampleOf(Row row, FioResult result) =>
        new(row.Figure == Figure.MegabytesPerSecond ? result.MegabytesPerSecond : result.Iops)
        {
            Iops = result.Iops,
            MegabytesPerSecond = result.MegabytesPerSecond,
            P50 = result.P50,
            P99 = result.P99,
            P999 = result.P999,
            Requests = result.Requests,
        };
}

/// <summary>How long attaching takes, to the device's name on standard output.</summary>
internal sealed class AttachTimeStage : Stage
{
    private const int Repetitions = 20;

    public override bool RunsOnce => true;

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        context.Work.Reset(usesRawCopy: false);
        subject.MakeOverlay(context.Work, context.Stop);
        // The first turn is not kept: it reads programs from disk.
        for (var turn = 0; turn <= Repetitions; turn++)
        {
            var start = Stopwatch.GetTimestamp();
            using var attached = subject.Attach!(context.Work, context.Stop);
            if (turn > 0)
                context.Record(rows[0], subject, new Sample(Stopwatch.GetElapsedTime(start).TotalMilliseconds), isQuiet: true);
        }
        context.SayMedians(rows[0]);
    }
}
