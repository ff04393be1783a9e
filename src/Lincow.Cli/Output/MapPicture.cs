using System.Globalization;
using System.Security;
using System.Text;
using Lincow.Operations;

namespace Lincow.Cli.Output;

/// <summary>
/// Where each range of the device lies in the store, as an SVG: the device from left to right, the store from bottom to top. A linear store
/// is a diagonal, one that keeps things in the order in which they came is a cloud. What reads as zeroes is a mark below.
///
/// The plot is a grid of cells. Neighbouring cells of a row are one piece, so the file's size is bounded by the grid (half a megabyte),
/// however large the device is and however many ranges it has. Text is the viewer's, and so are its colours on a light or a dark page.
/// </summary>
internal sealed class MapPicture
{
    /// <summary>Cells in a row and in a column.</summary>
    private const int Cells = 320;

    private const int CellSize = 3, Plot = Cells * CellSize, Left = 110, Top = 64, Right = 50, Bottom = 120, StripTop = Top + Plot + 6,
        StripHeight = 8;

    /// <summary>Fewer, and an axis says little; more, and the sizes below it run into each other.</summary>
    private const int MaxTicks = 8;

    // Without variables and other inventions of browsers, for viewers and editors that know less.
    private const string Style = """
        text { font: 14px system-ui, sans-serif; fill: #24292f; }
        .title { font-size: 18px; font-weight: 600; }
        .grid { stroke: #d0d7de; } .axis { stroke: #24292f; } path { fill: none; }
        rect.data { fill: #1f5fbf; } path.data { stroke: #1f5fbf; }
        rect.zero { fill: #c4690c; } path.zero { stroke: #c4690c; }
        @media (prefers-color-scheme: dark) {
        text { fill: #d1d7e0; } .grid { stroke: #3d444d; } .axis { stroke: #d1d7e0; }
        rect.data { fill: #6cb0ff; } path.data { stroke: #6cb0ff; }
        rect.zero { fill: #f0a050; } path.zero { stroke: #f0a050; }
        }
        """;

    private readonly bool[] _data = new bool[Cells * Cells], _zero = new bool[Cells];
    private readonly string _name;
    private long _deviceBytes, _storeBytes, _dataBytes, _ranges, _zeroBytes;

    private MapPicture(string name) => _name = name;

    /// <summary>Draws an overlay's map into a file. Throws <see cref="CommandException"/>.</summary>
    public static void Draw(OverlayOptions options, string path)
    {
        RequireSvg(path);
        var picture = new MapPicture(Printable.Text(Path.GetFileName(options.Overlay ?? "")));
        OverlayMap.ForEach(options, picture.Measure);
        OverlayMap.ForEach(options, picture.Mark);
        File.WriteAllText(path, picture.Write());
    }

    // A slip of the hand must not cost anybody an image of another kind.
    private static void RequireSvg(string path)
    {
        if (Path.GetExtension(path) is { Length: > 0 } ending && !ending.Equals(".svg", StringComparison.OrdinalIgnoreCase))
            throw new UsageException($"--image: the picture is an SVG, not a {ending[1..].ToUpperInvariant()}. Give it a path that "
                + "ends in .svg");
        if (!File.Exists(path))
            return;
        var head = new byte[5];
        using var file = File.OpenRead(path);
        var read = file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        if (read > 0 && !head.AsSpan(0, read).StartsWith("<svg"u8) && !head.AsSpan(0, read).SequenceEqual("<?xml"u8))
            throw new CommandException($"{path}: exists and is no SVG, so it is not replaced. Give --image another path");
    }

    private void Measure(MapRange range)
    {
        _deviceBytes = range.Start + range.Length;
        if (range.Depth > 0)
            return;
        if (!range.Data)
        {
            _zeroBytes += range.Length;
            return;
        }
        _ranges++;
        _dataBytes += range.Length;
        _storeBytes = Math.Max(_storeBytes, range.Offset!.Value + range.Length);
    }

    private void Mark(MapRange range)
    {
        if (range.Depth > 0)
            return;
        var (first, last) = (Cell(range.Start, _deviceBytes), Cell(range.Start + range.Length - 1, _deviceBytes));
        if (!range.Data)
        {
            _zero.AsSpan(first, last - first + 1).Fill(true);
            return;
        }
        for (var x = first; x <= last; x++)
        {
            // The bytes of this range that lie in this column.
            var from = Math.Clamp(Start(x) - range.Start, 0, range.Length - 1);
            var end = Math.Clamp(Start(x + 1) - range.Start, from + 1, range.Length);
            var (low, high) = (Cell(range.Offset!.Value + from, _storeBytes), Cell(range.Offset.Value + end - 1, _storeBytes));
            for (var y = low; y <= high; y++)
                _data[(Cells - 1 - y) * Cells + x] = true;
        }
    }

    private string Write()
    {
        var title = $"{_name}: {SizeText.Format(_dataBytes)} in {Count(_ranges, "range")}";
        var svg = new StringBuilder();
        const int width = Left + Plot + Right, height = Top + Plot + Bottom;
        Line(svg, $"""
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"
                aria-labelledby="title desc">
            """);
        Line(svg, $"""<title id="title">{Escape(title)}</title>""");
        Line(svg, $"""
            <desc id="desc">A device of {SizeText.Format(_deviceBytes)} from left to right,
                its store of {SizeText.Format(_storeBytes)} from bottom to top: a mark where a
            place of the device lies in the store. {Escape(SizeText.Format(_zeroBytes))} that read as zeroes are marked in a strip below.
                The rest is the origin's.</desc>
            """);
        Line(svg, $"<style>\n{Style}\n</style>");
        Line(svg, $"""<text class="title" x="{Left}" y="26">{Escape(title)}</text>""");
        WriteAxes(svg);
        // In cells, so that the numbers are short: a line of the thickness of a cell through the middle of its row.
        Line(svg, $"""<path class="data" shape-rendering="crispEdges" transform="translate({Left} {Top
            + CellSize / 2.0}) scale({CellSize})" d="{Rows(_data)}"/>""");
        Line(svg, $"""<path class="zero" shape-rendering="crispEdges" transform="translate({Left} {StripTop
            + StripHeight / 2.0}) scale({CellSize} {StripHeight})" d="{Rows(_zero)}"/>""");
        WriteLegend(svg);
        return svg.Append("</svg>\n").ToString();
    }

    private void WriteAxes(StringBuilder svg)
    {
        foreach (var at in Ticks(_deviceBytes))
        {
            var x = Left + Place(at, _deviceBytes);
            Line(svg, $"""<line class="grid" x1="{x}" y1="{Top}" x2="{x}" y2="{Top + Plot}"/>""");
            Line(svg, $"""<text x="{x}" y="{StripTop + StripHeight + 20}" text-anchor="middle">{SizeText.Format(at)}</text>""");
        }
        foreach (var at in Ticks(_storeBytes))
        {
            var y = Top + Plot - Place(at, _storeBytes);
            Line(svg, $"""<line class="grid" x1="{Left}" y1="{y}" x2="{Left + Plot}" y2="{y}"/>""");
            Line(svg, $"""<text x="{Left - 10}" y="{y + 5}" text-anchor="end">{SizeText.Format(at)}</text>""");
        }
        Line(svg, $"""<line class="axis" x1="{Left}" y1="{Top}" x2="{Left}" y2="{Top + Plot}"/>""");
        Line(svg, $"""<line class="axis" x1="{Left}" y1="{Top + Plot}" x2="{Left + Plot}" y2="{Top + Plot}"/>""");
        Line(svg, $"""<text x="{Left + Plot / 2}" y="{StripTop + StripHeight
            + 48}" text-anchor="middle">offset in the device, {SizeText.Format(_deviceBytes)}</text>""");
        Line(svg, $"""<text transform="translate(20 {Top
            + Plot / 2}) rotate(-90)" text-anchor="middle">offset in the store, {SizeText.Format(_storeBytes)}</text>""");
    }

    private void WriteLegend(StringBuilder svg)
    {
        var y = Top + Plot + Bottom - 18;
        Line(svg, $"""<rect class="data" x="{Left}" y="{y - 11}" width="12" height="12"/>""");
        Line(svg, $"""<text x="{Left + 20}" y="{y}">in the overlay: {SizeText.Format(_dataBytes)}</text>""");
        Line(svg, $"""<rect class="zero" x="{Left + 300}" y="{y - 11}" width="12" height="12"/>""");
        Line(svg, $"""<text x="{Left + 320}" y="{y}">reads as zeroes: {SizeText.Format(_zeroBytes)}</text>""");
        Line(svg, $"""<text x="{Left + 620}" y="{y}">no mark: in the origin</text>""");
    }

    /// <summary>A path that goes over each row's marked cells; those that touch are one piece.</summary>
    private static string Rows(bool[] cells)
    {
        var path = new StringBuilder();
        for (var start = 0; start < cells.Length; start++)
        {
            var end = start;
            while (end < cells.Length && cells[end] && end / Cells == start / Cells)
                end++;
            if (end == start)
                continue;
            path.Append(CultureInfo.InvariantCulture, $"M{start % Cells} {start / Cells}h{end - start}");
            start = end - 1;
        }
        return path.ToString();
    }

    /// <summary>Multiples of a power of two, as few as are told apart, from 0 to the end.</summary>
    private static IEnumerable<long> Ticks(long whole)
    {
        var step = 1L;
        while (whole / step > MaxTicks)
            step *= 2;
        // As a count, because the last multiple of a whole near 2^63 has no successor.
        for (var i = 0; i <= whole / step; i++)
            yield return i * step;
    }

    /// <summary>The first byte of the device in a column.</summary>
    private long Start(int column) => (long)(((Int128)_deviceBytes * column + Cells - 1) / Cells);

    // Somebody may be writing to the overlay meanwhile, so a range may lie beyond what was measured.
    private static int Cell(long at, long whole) => whole == 0 ? 0 : (int)Int128.Min((Int128)at * Cells / whole, Cells - 1);

    private static int Place(long at, long whole) => whole == 0 ? 0 : (int)((Int128)at * Plot / whole);

    private static string Count(long count, string what) => count.ToString(CultureInfo.InvariantCulture) + " " + what
        + (count == 1 ? "" : "s");

    private static string Escape(string text) => SecurityElement.Escape(text);

    private static void Line(StringBuilder svg, FormattableString text) => svg.Append(text.ToString(CultureInfo.InvariantCulture))
        .Append('\n');
}
