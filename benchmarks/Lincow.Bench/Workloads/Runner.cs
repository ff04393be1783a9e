using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// Runs the stages. Rounds are interleaved: every subject is measured once before any is measured again, and each round begins with another
/// subject, so that a machine that gets slower or faster meanwhile does so for all.
/// </summary>
internal static class Runner
{
    public static Results Run(Workspace work, BenchSettings settings, AllSubjects subjects, string lincow, IReadOnlyList<Row> shown,
        CancellationToken stop)
    {
        var results = new Results();
        var context = new StageContext(work, settings, subjects, results, lincow, stop);
        // A row that is computed, or held against another one, needs that one's cells.
        var wanted = shown.Concat(shown.SelectMany(Needs)).ToHashSet();
        for (var round = 1; round <= settings.Rounds; round++)
        {
            context.Round = round;
            var first = (round - 1) * subjects.List.Count / settings.Rounds;
            var order = subjects.List.Skip(first).Concat(subjects.List.Take(first)).ToList();
            foreach (var stage in AllRows.Stages)
            {
                var rows = stage.Rows.Where(wanted.Contains).ToList();
                if (rows.Count == 0 || (stage.RunsOnce && round > 1))
                    continue;
                if (stage.IsSlow && settings.Quick)
                    rows.ForEach(row => context.Skip(row, "left out of a quick run"));
                else
                    stage.Run(context, rows, order);
            }
        }
        foreach (var row in shown.Where(row => row.DerivedFrom is not null))
            results.Derive(row, AllRows.Rows.First(source => source.Id == row.DerivedFrom));
        return results;
    }

    private static IEnumerable<Row> Needs(Row row) =>
        AllRows.Rows.Where(other => other.Id == row.DerivedFrom
            || row.Targets.Any(target => target.Against == Against.Row && target.Other == other.Id));
}
