using System.Text.Json;
using System.Text.Json.Serialization;
using Lincow.Bench.Workloads;

namespace Lincow.Bench.Reporting;

/// <summary>bench-results.json: every sample of every cell, and what was made of them.</summary>
internal sealed record JsonReport(string Date, MachineFacts Machine, BenchSettings Settings, IReadOnlyList<JsonRow> Rows,
    IReadOnlyList<string> Notes)
{
    public static string Write(DateTimeOffset date, MachineFacts machine, BenchSettings settings, IReadOnlyList<RowSummary> rows,
        IReadOnlyList<string> notes) =>
        JsonSerializer.Serialize(new JsonReport(date.ToString("O"), machine, settings, [.. rows.Select(Row)], notes),
            JsonReportContext.Default.JsonReport);

    private static JsonRow Row(RowSummary row) =>
        new(row.Row.Id, row.Row.Title, row.Row.Unit, row.Row.HigherIsBetter, row.Row.Candidate, row.BestPeer?.Subject.Name,
        Finite(row.VersusPeer), Finite(row.VersusRaw), row.Targets, [.. row.Cells.Select(Cell)]);

    private static JsonCell Cell(Cell cell) => cell.HasFigure
        ? new(cell.Subject.Name, cell.Subject.Role.ToString().ToLowerInvariant(), cell.Median, cell.Min, cell.Max,
            cell.MedianOf(sample => sample.P50), cell.MedianOf(sample => sample.P99),
            cell.MedianOf(sample => sample.P999), cell.MedianOf(sample => sample.ServerCpuSeconds), cell.Failure, cell.Samples)
        : new(cell.Subject.Name, cell.Subject.Role.ToString().ToLowerInvariant(), null, null, null, null, null, null, null, cell.Failure,
            []);

    /// <summary>JSON has no word for infinity, which a count of zero leads to.</summary>
    private static double? Finite(double? value) => value is { } known && double.IsFinite(known) ? known : null;
}

/// <summary>A row of <see cref="JsonReport"/>.</summary>
internal sealed record JsonRow(string Id, string Title, string Unit, bool HigherIsBetter, string Candidate, string? BestPeer,
    double? TimesBestPeer, double? TimesBestRaw,
    IReadOnlyList<TargetOutcome> Targets, IReadOnlyList<JsonCell> Cells);

/// <summary>A cell of <see cref="JsonReport"/>: medians, then the samples in the order of the rounds.</summary>
internal sealed record JsonCell(string Subject, string Role, double? Median, double? Min, double? Max, double? P50, double? P99,
    double? P999, double? ServerCpuSeconds, string? Failure,
    IReadOnlyList<Sample> Samples);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(JsonReport))]
internal sealed partial class JsonReportContext : JsonSerializerContext;
