using System.Globalization;
using System.IO.Enumeration;
using Lincow.Bench.Subjects;
using Lincow.Bench.Workloads;

namespace Lincow.Bench.Reporting;

/// <summary>A target and what came of it. Without the figures that it needs, neither is known.</summary>
internal sealed record TargetOutcome(string Text, double Factor, double? Actual, bool? IsReached)
{
    public string Verdict => IsReached switch { true => "reached", false => "missed", null => "not measured" };
}

/// <summary>A row as the report shows it: lincow beside the best of each kind.</summary>
internal sealed record RowSummary(Row Row, IReadOnlyList<Cell> Cells, Cell? Lincow, Cell? BestPeer, Cell? BestRaw, Cell? Ceiling,
    IReadOnlyList<TargetOutcome> Targets)
{
    /// <summary>How many times better lincow is than the best peer.</summary>
    public double? VersusPeer => Versus(BestPeer);

    public double? VersusRaw => Versus(BestRaw);

    public static RowSummary Of(Row row, Results results)
    {
        var cells = results.Of(row);
        var lincow = results.Of(row, row.Candidate);
        var peers = Peers(row, cells);
        var raw = OfRole(cells, Role.Raw).Where(cell => FileSystemName.MatchesSimpleExpression(row.RawSubjects, cell.Subject.Name));
        return new RowSummary(row, cells, lincow, Best(row, peers), Best(row, raw), Best(row, OfRole(cells, Role.Ceiling)),
            [.. row.Targets.Select(target => Judge(row, target, lincow, peers, cells, results))]);
    }

    public double? Versus(Cell? other) =>
        Lincow is { HasFigure: true } && other is { HasFigure: true } ? Row.TimesBetter(Lincow.Median, other.Median) : null;

    /// <summary>The best of some cells; null if none has a figure.</summary>
    public static Cell? Best(Row row, IEnumerable<Cell> cells)
    {
        var measured = cells.Where(cell => cell.HasFigure);
        return row.HigherIsBetter ? measured.MaxBy(cell => cell.Median) : measured.MinBy(cell => cell.Median);
    }

    /// <summary>Who is held against lincow: other copy-on-write servers, without those that don't do what the row asks.</summary>
    public static IEnumerable<Cell> Peers(Row row, IEnumerable<Cell> cells) =>
        OfRole(cells, Role.Peer).Where(cell => !(row.NeedsRealFlush && cell.Subject.IgnoresFlush));

    private static IEnumerable<Cell> OfRole(IEnumerable<Cell> cells, Role role) => cells.Where(cell => cell.Subject.Role == role);

    private static TargetOutcome Judge(Row row, Target target, Cell? lincow, IEnumerable<Cell> peers, IEnumerable<Cell> cells,
        Results results)
    {
        if (target.Against == Against.Limit)
            return new TargetOutcome($"at most {row.Format(target.Factor)} {row.Unit}", target.Factor, lincow?.Median, lincow is null ? null
                : lincow.Median <= target.Factor);
        var (whom, other) = target.Against switch
        {
            Against.BestPeer => ("best peer", Best(row, peers)),
            Against.Subjects =>
                (target.Other!.TrimEnd('*', ' '),
                Best(row, cells.Where(cell => FileSystemName.MatchesSimpleExpression(target.Other, cell.Subject.Name)))),
            _ => RowAsTarget(target.Other!, row.Candidate, results),
        };
        var text = string.Create(CultureInfo.InvariantCulture, $"{target.Factor:0.0#}x {whom}");
        double? actual = lincow is null || other is null ? null : row.TimesBetter(lincow.Median, other.Median);
        return new TargetOutcome(text, target.Factor, actual, actual is null ? null : actual >= target.Factor);
    }

    private static (string, Cell?) RowAsTarget(string id, string subject, Results results)
    {
        var row = AllRows.Rows.First(row => row.Id == id);
        return ($"the row {id}", results.Of(row, subject));
    }
}
