using System.Globalization;
using System.Text;
using Lincow.Bench.Subjects;
using Lincow.Bench.Workloads;
using Spectre.Console;

namespace Lincow.Bench.Reporting;

/// <summary>The tables: one line for each workload, and everything about each workload.</summary>
internal sealed class Report(IReadOnlyList<RowSummary> rows, MachineFacts machine, IReadOnlyList<string> notes)
{
    /// <summary>Columns of characters below which the whole summary would be broken up beyond reading.</summary>
    private const int WideTerminal = 200;

    private const string Legend =
        "Figures are medians over the rounds. Ratios say how many times better lincow is, whichever way better is; 'raw' is the best "
            + "server of a private copy without " +
        "copy-on-write, 'ceiling' a server that stores nothing. Latencies are microseconds: p50 / p99 / p99.9, of the flush where each "
            + "write is followed by one. " +
        "nbdkit's cow filter answers flushes without syncing anything, so it is no peer in rows with flushes.";

    /// <summary>On a terminal a table with lines, otherwise text that a pipe can carry.</summary>
    public void WriteToConsole()
    {
        Console.Out.WriteLine();
        Write(Summary(isNarrow: !Console.IsOutputRedirected && AnsiConsole.Profile.Width < WideTerminal));
        foreach (var row in rows.Where(row => row.Cells.Count > 0))
        {
            Console.Out.WriteLine($"\n{row.Row.Title}");
            Write(Full(row));
        }
        Console.Out.WriteLine($"\n{Legend}");
        foreach (var note in notes)
            Console.Out.WriteLine("- " + note);
        Console.Out.WriteLine($"\n{Tally()}");
    }

    public string ToMarkdown()
    {
        var text = new StringBuilder();
        text.AppendLine($"{machine.Cpu}, {machine.Cores} cores, {machine.MemoryMiB} MiB, Linux {machine.Kernel}, {machine.FileSystem}.");
        text.AppendLine($"lincow {machine.LincowCommit}; {machine.Nbdkit}; {machine.Qemu}; {machine.Fio}; libnbd {machine.Libnbd}.\n");
        text.AppendLine(Summary(isNarrow: false).ToMarkdown());
        text.AppendLine(Legend + "\n");
        foreach (var note in notes)
            text.AppendLine("- " + note);
        text.AppendLine($"\n{Tally()}\n");
        foreach (var row in rows.Where(row => row.Cells.Count > 0))
            text.AppendLine($"### {row.Row.Title}\n").AppendLine(Full(row).ToMarkdown());
        return text.ToString();
    }

    private static void Write(TextTable table)
    {
        if (Console.IsOutputRedirected)
            Console.Out.Write(table.ToText());
        else
            AnsiConsole.Write(table.ToTerminal());
    }

    private string Tally()
    {
        var outcomes = rows.SelectMany(row => row.Targets).ToList();
        return $"{outcomes.Count(outcome => outcome.IsReached == true)} targets reached, "
            + $"{outcomes.Count(outcome => outcome.IsReached == false)} missed, " +
            $"{outcomes.Count(outcome => outcome.IsReached is null)} not measured";
    }

    /// <summary>One line for each workload. The narrow one does without what the full tables repeat.</summary>
    private TextTable Summary(bool isNarrow)
    {
        string[] middle = isNarrow ? [] : ["raw", "x raw", "ceiling", "lincow latency", "peer latency"];
        var table = new TextTable(["workload", "unit", "lincow", "best peer", "by", "x peer", .. middle, "target", "actual", "verdict"]);
        foreach (var row in rows)
        {
            // A row without a target has one line, one with two has two.
            for (var i = 0; i < Math.Max(1, row.Targets.Count); i++)
            {
                var target = i < row.Targets.Count ? row.Targets[i] : null;
                string[] outcome = [target?.Text ?? "", target is null ? "" : Actual(target), target?.Verdict ?? ""];
                if (i > 0)
                    table.Add(["", "", "", "", "", "", .. middle.Select(_ => ""), .. outcome]);
                else
                    table.Add([row.Row.Title, row.Row.Unit, Figure(row, row.Lincow), Figure(row, row.BestPeer),
                        row.BestPeer?.Subject.Name ?? "", Ratio(row.VersusPeer),
                        .. isNarrow ? [] : Middle(row), .. outcome]);
            }
        }
        return table;
    }

    private static string[] Middle(RowSummary row) =>
        [Figure(row, row.BestRaw), Ratio(row.VersusRaw), Figure(row, row.Ceiling), Latency(row.Lincow), Latency(row.BestPeer)];

    private static TextTable Full(RowSummary row)
    {
        var unit = row.Row.Unit.Length > 0 ? row.Row.Unit : "count";
        var table = new TextTable("subject", unit, "min", "max", $"x {row.Row.Candidate}", "p50 us", "p99 us", "p99.9 us", "server CPU s",
            "requests", "peak MiB", "remarks");
        foreach (var cell in row.Cells)
        {
            if (!cell.HasFigure)
            {
                table.Add(cell.Subject.Name, "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "failed: " + cell.Failure);
                continue;
            }
            var relative = row.Versus(cell) is { } versus ? 1 / versus : (double?)null;
            table.Add(cell.Subject.Name, row.Row.Format(cell.Median), row.Row.Format(cell.Min), row.Row.Format(cell.Max), Ratio(relative),
                Number(cell.MedianOf(sample => sample.P50)), Number(cell.MedianOf(sample => sample.P99)),
                    Number(cell.MedianOf(sample => sample.P999)),
                Number(cell.MedianOf(sample => sample.ServerCpuSeconds), "0.00"), Number(cell.MedianOf(sample => sample.Requests)),
                Number(cell.MedianOf(sample => sample.ServerPeakKiB / 1024.0), "0.0"), Remarks(row, cell));
        }
        return table;
    }

    private static string Remarks(RowSummary row, Cell cell)
    {
        List<string> remarks = [];
        if (row.Row.NeedsRealFlush && cell.Subject.IgnoresFlush)
            remarks.Add("ignores flushes: no peer here");
        if (row.Row.NeedsRealFlush && cell.Subject.Role == Role.Ceiling)
            remarks.Add("nothing to sync");
        if (cell.Failure is { } failure)
            remarks.Add("failed once: " + failure);
        if (cell.Samples[^1].More is { } more)
            remarks.AddRange(more.Keys.Select(name =>
                $"{name} {Number(cell.MedianOf(sample => sample.More?.GetValueOrDefault(name)), "0.##")}"));
        return string.Join(", ", remarks);
    }

    private static string Figure(RowSummary row, Cell? cell) => cell is { HasFigure: true } ? row.Row.Format(cell.Median) : "-";

    private static string Ratio(double? value) => Number(value, "0.00");

    /// <summary>More digits where two would make a miss look like the target.</summary>
    private static string Actual(TargetOutcome outcome) =>
        Number(outcome.Actual, outcome.IsReached == false && Math.Abs(outcome.Actual!.Value - outcome.Factor) < 0.005 ? "0.0000" : "0.00");

    private static string Latency(Cell? cell) =>
        cell?.MedianOf(sample => sample.P99) is { } p99 && p99 > 0
            ? $"{Number(cell.MedianOf(sample => sample.P50))} / {Number(p99)} / {Number(cell.MedianOf(sample => sample.P999))}" : "-";

    private static string Number(double? value, string format = "0") =>
        value is { } known ? known.ToString(format, CultureInfo.InvariantCulture) : "-";
}
