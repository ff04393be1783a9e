using System.Globalization;
using System.Security;
using System.Text;
using Lincow.Bench.Workloads;

namespace Lincow.Bench.Reporting;

/// <summary>
/// The chart: for each row, lincow and the best of each family as bars, lincow being 1. Longer is better in every row. No background, and
/// colours that can be read on a light and on a dark page.
/// </summary>
internal static class SvgChart
{
    private const int Width = 960, BarLeft = 200, BarsWidth = 560, RatioRight = 850, FigureRight = 940, BarHeight = 13, BarPitch = 16,
        GroupGap = 30, Top = 64;

    /// <summary>Bars end here. One server that is far better must not make all the others a few pixels long.</summary>
    private const double LongestRatio = 2.5;

    private const string TextColour = "#767676", LineColour = "#9a9a9a";

    public static string Draw(IReadOnlyList<RowSummary> rows)
    {
        var shown = rows.Where(row => Bars(row).Count > 1).ToList();
        var height = Top + shown.Sum(row => Bars(row).Count * BarPitch + GroupGap);
        var svg = new StringBuilder();
        Line(svg, $"""
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {Width} {height}" width="{Width}" height="{height}"
            font-family="system-ui, sans-serif" font-size="12" fill="{TextColour}">
            """);
        Line(svg, $"""<title>lincow beside its peers; lincow = 1, longer is better</title>""");
        Line(svg, $"""<text x="10" y="20" font-size="15" font-weight="600">lincow beside its peers</text>""");
        Line(svg, $"""
            <text x="10" y="38">Relative to lincow (= 1, the dashed line). Longer is better in every row.
            On the right: relative, then absolute.</text>
            """);
        var y = Top;
        foreach (var row in shown)
        {
            var bars = Bars(row);
            var unit = row.Row.Unit.Length > 0 ? $" ({row.Row.Unit})" : "";
            Line(svg, $"""<text x="10" y="{y + 2}" font-weight="600">{Escape(row.Row.Title)}{Escape(unit)}</text>""");
            var one = X(1);
            var end = y + 8 + bars.Count * BarPitch;
            Line(svg, $"""<line x1="{one}" y1="{y + 8}" x2="{one}" y2="{end}" stroke="{LineColour}" stroke-dasharray="3 3"/>""");
            foreach (var (cell, colour) in bars)
            {
                var relative = 1 / row.Versus(cell)!.Value;
                var isCut = relative > LongestRatio;
                var width = Math.Max(1, X(Math.Min(relative, LongestRatio)) - BarLeft);
                Line(svg, $"""<text x="{BarLeft - 8}" y="{y + 20}" text-anchor="end">{Escape(cell.Subject.Name)}</text>""");
                Line(svg, $"""<rect x="{BarLeft}" y="{y + 10}" width="{width:0.#}" height="{BarHeight}" rx="2" fill="{colour}"/>""");
                Line(svg, $"""<text x="{FigureRight}" y="{y + 20}" text-anchor="end">{row.Row.Format(cell.Median)}</text>""");
                Line(svg, $"""<text x="{RatioRight}" y="{y + 20}" text-anchor="end">{(isCut ? "\u2192 " : "")}{relative:0.00}</text>""");
                y += BarPitch;
            }
            y += GroupGap;
        }
        svg.Append("</svg>\n");
        return svg.ToString();
    }

    private static double X(double ratio) => BarLeft + ratio / LongestRatio * BarsWidth;

    /// <summary>lincow, the best of each family of peers, the best raw server and the ceiling.</summary>
    private static List<(Cell Cell, string Colour)> Bars(RowSummary row)
    {
        if (row.Lincow is not { HasFigure: true, Median: > 0 })
            return [];
        var peers = RowSummary.Peers(row.Row, row.Cells).ToList();
        (Cell?, string)[] bars =
        [
            (row.Lincow, "#2f81f7"),
            (RowSummary.Best(row.Row, peers.Where(cell => cell.Subject.Name.StartsWith("nbdkit", StringComparison.Ordinal))), "#d9822b"),
            (RowSummary.Best(row.Row, peers.Where(cell => cell.Subject.Name.StartsWith("qcow2", StringComparison.Ordinal))), "#b58900"),
            (row.BestRaw, "#8a8f98"),
            (row.Ceiling, "#b4b8be"),
        ];
        return [.. bars.Where(bar => bar.Item1 is { Median: > 0 }).Select(bar => (bar.Item1!, bar.Item2))];
    }

    private static string Escape(string text) => SecurityElement.Escape(text);

    private static void Line(StringBuilder svg, FormattableString text) =>
        svg.Append(text.ToString(CultureInfo.InvariantCulture)).Append('\n');
}
