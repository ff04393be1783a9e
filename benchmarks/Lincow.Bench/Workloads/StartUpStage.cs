using System.Diagnostics;
using System.Globalization;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// From nothing to the first byte read: the overlay is made, the server started, the first read answered. Repeated often, turn by turn.
/// </summary>
internal sealed class StartUpStage : Stage
{
    private const int Repetitions = 20, ReadBytes = 4096;

    /// <summary>The parts of the whole for a subject that has two commands.</summary>
    public required Row CreatePart { get; init; }

    public required Row ServePart { get; init; }

    public override bool RunsOnce => true;

    public override void Run(StageContext context, IReadOnlyList<Row> rows, IReadOnlyList<Subject> order)
    {
        context.Work.Reset(usesRawCopy: false);
        // The first turn is not kept: it reads programs from disk and compiles the client.
        var able = order.Where(subject => rows.Any(row => context.TakesPart(row, subject))).ToList();
        for (var turn = 0; turn <= Repetitions; turn++)
        {
            // Who failed once is not asked again.
            able.RemoveAll(subject =>
            {
                var own = rows.Where(row => context.TakesPart(row, subject)).ToList();
                return !context.Guard(own, subject, () => Once(context, own, subject, isKept: turn > 0));
            });
            able.Reverse();
        }
        foreach (var row in rows)
            context.SayMedians(row);
        context.Note(string.Create(CultureInfo.InvariantCulture,
            $"start-up: running a program that does nothing takes {OwnShare(context):0.0} ms from here, once for each command; the "
                + $"figures include it"));
    }

    /// <summary>
    /// What the system and this client take for a command, whatever the command does: the median of as many runs of true, in milliseconds.
    /// </summary>
    private static double OwnShare(StageContext context)
    {
        var times = new double[Repetitions];
        for (var i = 0; i < times.Length; i++)
        {
            var start = Stopwatch.GetTimestamp();
            Tool.Run("true", [], context.Stop);
            times[i] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }
        Array.Sort(times);
        return times[Repetitions / 2];
    }

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject) =>
        Once(context, rows, subject, isKept: true);

    private void Once(StageContext context, IReadOnlyList<Row> rows, Subject subject, bool isKept)
    {
        var work = context.Work;
        File.Delete(work.Overlay);
        File.Delete(work.Socket);
        var buffer = new byte[ReadBytes];
        var start = Stopwatch.GetTimestamp();
        subject.MakeOverlay(work, context.Stop);
        var made = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        using var server = subject.Start(work);
        using (var probe = server.Connect(work.Socket, context.Stop))
            probe.Read(0, buffer);
        var total = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        server.Stop();
        if (!isKept)
            return;
        foreach (var row in rows)
            context.Record(row, subject, new Sample(row == CreatePart ? made : row == ServePart ? total - made : total), isQuiet: true);
    }
}
