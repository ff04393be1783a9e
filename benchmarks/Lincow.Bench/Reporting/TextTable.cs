using System.Text;
using Spectre.Console;

namespace Lincow.Bench.Reporting;

/// <summary>A table that can be shown on a terminal, written to a pipe, or put into a document.</summary>
internal sealed class TextTable(params string[] headers)
{
    private readonly List<string[]> _rows = [];

    public void Add(params string[] cells) => _rows.Add(cells);

    /// <summary>Columns aligned with spaces. Nothing is cut off, however wide it gets.</summary>
    public string ToText()
    {
        var widths = headers.Select((header, column) => _rows.Select(row => row[column].Length).Append(header.Length).Max()).ToArray();
        var text = new StringBuilder();
        foreach (var row in _rows.Prepend([.. widths.Select(width => new string('-', width))]).Prepend(headers))
            text.AppendLine(string.Join("  ",
                row.Select((cell, column) => IsNumber(column) ? cell.PadLeft(widths[column]) : cell.PadRight(widths[column]))).TrimEnd());
        return text.ToString();
    }

    public string ToMarkdown()
    {
        var text = new StringBuilder();
        text.AppendLine(Line(headers));
        text.AppendLine(Line(headers.Select((_, column) => IsNumber(column) ? "---:" : "---")));
        foreach (var row in _rows)
            text.AppendLine(Line(row.Select(cell => cell.Replace("|", "\\|", StringComparison.Ordinal))));
        return text.ToString();
    }

    public Table ToTerminal()
    {
        var table = new Table { Border = TableBorder.Rounded };
        for (var column = 0; column < headers.Length; column++)
            table.AddColumn(
                new TableColumn(Markup.Escape(headers[column])) { Alignment = IsNumber(column) ? Justify.Right : Justify.Left });
        foreach (var row in _rows)
            table.AddRow(row.Select(cell => new Markup(Coloured(cell))).ToArray());
        return table;
    }

    private static string Line(IEnumerable<string> cells) => $"| {string.Join(" | ", cells)} |";

    /// <summary>A column of figures is one whose cells begin with a digit, or are empty.</summary>
    private bool IsNumber(int column) =>
        _rows.All(row => row[column].Length == 0 || row[column] == "-" || char.IsAsciiDigit(row[column][0])) && column > 0;

    private static string Coloured(string cell) => cell switch
    {
        _ when cell.Contains("missed", StringComparison.Ordinal) => $"[red]{Markup.Escape(cell)}[/]",
        _ when cell.StartsWith("reached", StringComparison.Ordinal) => $"[green]{Markup.Escape(cell)}[/]",
        _ => Markup.Escape(cell),
    };
}
