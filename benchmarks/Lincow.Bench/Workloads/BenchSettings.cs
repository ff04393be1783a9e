using System.IO.Enumeration;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>What a run was asked for.</summary>
internal sealed record BenchSettings(bool Quick, int Rounds, double Seconds, string? RowPattern, string? SubjectPattern)
{
    /// <summary>The rows that were asked for: by names with * and ?, or by words of titles where no name fits.</summary>
    public IReadOnlyList<Row> Choose(IReadOnlyList<Row> rows)
    {
        if (RowPattern is null)
            return rows;
        var chosen = new HashSet<Row>();
        foreach (var pattern in RowPattern.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var named = rows.Where(row => FileSystemName.MatchesSimpleExpression(pattern, row.Id)).ToList();
            chosen.UnionWith(named.Count > 0 ? named : rows.Where(row => row.Title.Contains(pattern, StringComparison.OrdinalIgnoreCase)));
        }
        return [.. rows.Where(chosen.Contains)];
    }

    /// <summary>Whether this subject takes part in this row. Those that were asked for do so also in a quick run.</summary>
    public bool Takes(Row row, Subject subject) =>
        row.Subjects.Contains(subject.Name) && (SubjectPattern is null
            ? !Quick || row.QuickSubjects.Contains(subject.Name)
            : SubjectPattern.Split(',', StringSplitOptions.TrimEntries)
                .Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, subject.Name)));
}
