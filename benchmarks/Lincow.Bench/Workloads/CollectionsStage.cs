using System.Text.Json;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// Garbage collections while lincow serves. Nobody sees them from outside, so lincow counts them itself: with LINCOW_DEBUG_GC=PATH it
/// leaves a JSON document there at its end.
/// </summary>
internal sealed class CollectionsStage : Stage
{
    private static readonly string[] Counters = ["gen1", "gen2", "allocatedBytes", "requests"];

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        var (work, row, report) = (context.Work, rows[0], context.Work["gc.json"]);
        work.Reset(usesRawCopy: false);
        subject.MakeOverlay(work, context.Stop);
        using var server = subject.Start(work, new Dictionary<string, string> { ["LINCOW_DEBUG_GC"] = report });
        server.Connect(work.Socket, context.Stop).Dispose();
        var sample = FioStage.Measure(row, server, () =>
            FioRun.Run(row.Job!, FioRun.Uri(work.Socket), context.Settings.Seconds, context.Stop));
        server.Stop();
        if (!File.Exists(report))
        {
            context.Skip(row, "this lincow doesn't count its collections");
            return;
        }
        using var document = JsonDocument.Parse(File.ReadAllText(report));
        var more = new SortedDictionary<string, double>();
        foreach (var counter in Counters)
        {
            if (document.RootElement.TryGetProperty(counter, out var value))
                more[counter] = value.GetDouble();
        }
        context.Record(row, subject, sample with { Value = document.RootElement.GetProperty("gen0").GetDouble(), More = more });
    }
}
