using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>What was measured of one subject in one row: a sample for each round, or the message of why there is none.</summary>
internal sealed record Cell(Subject Subject)
{
    public List<Sample> Samples { get; init; } = [];

    public string? Failure { get; set; }

    public bool HasFigure => Samples.Count > 0;

    public double Median => MedianOf(sample => sample.Value) ?? throw new InvalidOperationException("an empty cell has no median");

    public double Min => Samples.Min(sample => sample.Value);

    public double Max => Samples.Max(sample => sample.Value);

    /// <summary>The median over the rounds of one of the figures; null if it wasn't measured.</summary>
    public double? MedianOf(Func<Sample, double?> figure)
    {
        var values = Samples.Select(figure).OfType<double>().Order().ToList();
        return values.Count == 0 ? null : values.Count % 2 == 1 ? values[values.Count / 2]
            : (values[values.Count / 2 - 1] + values[values.Count / 2]) / 2;
    }
}

/// <summary>All cells of a run.</summary>
internal sealed class Results
{
    private readonly Dictionary<string, List<Cell>> _cells = [];
    private readonly List<string> _notes = [];

    /// <summary>What the reader of the figures has to know.</summary>
    public IReadOnlyList<string> Notes => _notes;

    public void Add(Row row, Subject subject, Sample sample) => Cell(row, subject).Samples.Add(sample);

    public void AddFailure(Row row, Subject subject, string message) => Cell(row, subject).Failure = message;

    public void Note(string sentence)
    {
        if (!_notes.Contains(sentence))
            _notes.Add(sentence);
    }

    /// <summary>The cells of a row, in the order of its subjects.</summary>
    public IReadOnlyList<Cell> Of(Row row) =>
        _cells.TryGetValue(row.Id, out var cells) ? [.. cells.OrderBy(cell => row.Subjects.ToList().IndexOf(cell.Subject.Name))] : [];

    public Cell? Of(Row row, string subject) =>
        _cells.GetValueOrDefault(row.Id)?.Find(cell => cell.Subject.Name == subject && cell.HasFigure);

    /// <summary>Fills a row that is computed from another one: what the server's CPU costs a million requests.</summary>
    public void Derive(Row row, Row source)
    {
        foreach (var cell in Of(source))
        {
            foreach (var sample in cell.Samples.Where(sample => sample is { ServerCpuSeconds: not null, Requests: > 0 }))
                Add(row, cell.Subject,
                    new Sample(sample.ServerCpuSeconds!.Value / sample.Requests!.Value * 1e6)
                    {
                        ServerCpuSeconds = sample.ServerCpuSeconds,
                        Requests = sample.Requests
                    });
        }
    }

    private Cell Cell(Row row, Subject subject)
    {
        if (!_cells.TryGetValue(row.Id, out var cells))
            _cells.Add(row.Id, cells = []);
        if (cells.Find(cell => cell.Subject == subject) is { } known)
            return known;
        cells.Add(new Cell(subject));
        return cells[^1];
    }
}
