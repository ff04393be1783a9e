using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// Rows that are measured together, because they begin with the same state. Preparing a gigabyte takes longer than measuring, so the rows
/// of a stage share one server, one after the other, readers first.
/// </summary>
internal abstract class Stage
{
    public required IReadOnlyList<Row> Rows { get; init; }

    /// <summary>Repeats for itself, or is too long to be repeated.</summary>
    public virtual bool RunsOnce => false;

    /// <summary>Left out of a quick run.</summary>
    public bool IsSlow { get; init; }

    /// <summary>Measures the rows for each subject in this order. A subject that fails must not stop the others.</summary>
    public virtual void Run(StageContext context, IReadOnlyList<Row> rows, IReadOnlyList<Subject> order)
    {
        foreach (var subject in order)
        {
            var own = rows.Where(row => context.TakesPart(row, subject)).ToList();
            if (own.Count > 0)
                context.Guard(own, subject, () => RunSubject(context, own, subject));
        }
    }

    protected abstract void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject);
}

/// <summary>What a stage works with, and where it leaves what it measured.</summary>
internal sealed class StageContext(Workspace work, BenchSettings settings, AllSubjects subjects, Results results, string lincow,
    CancellationToken stop)
{
    private readonly List<(Row, Subject)> _done = [];

    public Workspace Work => work;

    public BenchSettings Settings => settings;

    public AllSubjects Subjects => subjects;

    /// <summary>Path of the lincow binary, for commands that are no subject's.</summary>
    public string Lincow => lincow;

    public CancellationToken Stop => stop;

    /// <summary>For progress: round 2 of 3.</summary>
    public int Round { get; set; } = 1;

    public bool TakesPart(Row row, Subject subject) => settings.Takes(row, subject);

    public void Record(Row row, Subject subject, Sample sample, bool isQuiet = false)
    {
        _done.Add((row, subject));
        results.Add(row, subject, sample);
        if (!isQuiet)
            Say(row, subject, $"{row.Format(sample.Value)} {row.Unit}{Details(sample)}");
    }

    /// <summary>Leaves a row out, with a sentence that says why.</summary>
    public void Skip(Row row, string why)
    {
        results.Note($"{row.Title}: {why}");
        Progress($"{row.Title}: {why}");
    }

    public void Note(string sentence) => results.Note(sentence);

    /// <summary>
    /// What fails in here is recorded as the failure of those of its rows that were not measured yet. May be nested. False if it failed.
    /// </summary>
    public bool Guard(IReadOnlyList<Row> rows, Subject subject, Action action)
    {
        var doneBefore = _done.Count;
        try
        {
            action();
            return true;
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // Whatever it was, it is that subject's; an interrupted run doesn't blame anybody.
            stop.ThrowIfCancellationRequested();
            var left = rows.Where(row => !_done.Skip(doneBefore).Contains((row, subject))).ToList();
            foreach (var row in left)
            {
                _done.Add((row, subject));
                results.AddFailure(row, subject, e.Message);
                Say(row, subject, "failed: " + e.Message);
            }
            if (left.Count == 0)
                results.Note($"{subject.Name}, after '{rows[^1].Title}': {e.Message}");
            return false;
        }
    }

    public void Progress(string text) => Console.Error.WriteLine(settings.Rounds > 1 ? $"round {Round}/{settings.Rounds}  {text}" : text);

    /// <summary>For stages that repeat too often to report each sample.</summary>
    public void SayMedians(Row row)
    {
        foreach (var cell in results.Of(row).Where(cell => cell.HasFigure))
        {
            var range = $"{row.Format(cell.Min)} to {row.Format(cell.Max)}";
            Say(row, cell.Subject, $"{row.Format(cell.Median)} {row.Unit}  (median of {cell.Samples.Count}, {range})");
        }
    }

    private void Say(Row row, Subject subject, string text) => Progress($"{row.Title,-61} {subject.Name,-20} {text}");

    private static string Details(Sample sample)
    {
        var text = sample.P99 is { } p99
            ? $"  (p50 {sample.P50:0} us, p99 {p99:0} us" + (sample.ServerCpuSeconds is { } cpu ? $", CPU {cpu:0.00} s)" : ")") : "";
        return sample.More is { } more ? $"{text}  ({string.Join(", ", more.Select(pair => $"{pair.Key} {pair.Value:0.##}"))})" : text;
    }
}
