using System.Globalization;
using Lincow.Operations;

namespace Lincow.Cli.Picture;

/// <summary>
/// Where each range of the device lies in the store: the device from left to right, the store from bottom to top. A linear store is a diagonal, one that
/// keeps things in the order in which they came is a cloud. What is zero is a mark below.
/// </summary>
internal sealed class MapPicture
{
    private const int Plot = 960, Left = 100, Top = 60, Right = 40, Bottom = 80, Dot = 2, ZeroStrip = 6;
    private const byte Ink = 1, Grid = 2, Data = 3, Zero = 4;

    private readonly Canvas _canvas = new(Left + Plot + Right, Top + Plot + Bottom, [0xffffff, 0x202020, 0xe4e4e4, 0x1f5fbf, 0xe08a1e]);
    private readonly SessionOptions _options;
    private long _deviceBytes, _storeBytes, _dataBytes, _ranges;

    private MapPicture(SessionOptions options) => _options = options;

    /// <summary>Draws an overlay's map into a file. Throws <see cref="LincowException"/>.</summary>
    public static void Draw(SessionOptions options, string path)
    {
        RequireReplaceable(path);
        var picture = new MapPicture(options);
        OverlayMap.ForEach(options, picture.Measure);
        picture.DrawAxes();
        OverlayMap.ForEach(options, picture.DrawRange);
        using var file = File.Create(path);
        picture._canvas.Save(file);
    }

    // A slip of the hand must not cost anybody an image of another kind.
    private static void RequireReplaceable(string path)
    {
        if (!File.Exists(path))
            return;
        var head = new byte[4];
        using var file = File.OpenRead(path);
        if (file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) > 0 && !head.AsSpan(1).SequenceEqual("PNG"u8))
            throw new LincowException($"{path}: exists and is no PNG, so it is not replaced. Give --image another path");
    }

    private void Measure(MapRange range)
    {
        _deviceBytes = range.Start + range.Length;
        if (range.Depth > 0 || !range.Data)
            return;
        _ranges++;
        _dataBytes += range.Length;
        _storeBytes = Math.Max(_storeBytes, range.Offset!.Value + range.Length);
    }

    private void DrawRange(MapRange range)
    {
        if (range.Depth > 0)
            return;
        var (first, last) = (X(range.Start), X(range.Start + range.Length - 1));
        if (!range.Data)
        {
            _canvas.Fill(first, Top + Plot + 2, last - first + Dot, ZeroStrip, Zero);
            return;
        }
        for (var x = first; x <= last; x++)
        {
            // The store's bytes for this column of the picture.
            var into = Math.Max((long)((Int128)_deviceBytes * (x - Left) / Plot) - range.Start, 0);
            var beyond = Math.Min(Math.Max((long)((Int128)_deviceBytes * (x + 1 - Left) / Plot) - range.Start, into), range.Length - 1);
            var (bottom, top) = (Y(range.Offset!.Value + into), Y(range.Offset.Value + beyond));
            _canvas.Fill(x, top, Dot, bottom - top + Dot, Data);
        }
    }

    private void DrawAxes()
    {
        for (var i = 0; i <= 8; i++)
        {
            var at = Plot * i / 8;
            _canvas.Fill(Left + at, Top, 1, Plot, Grid);
            _canvas.Fill(Left, Top + at, Plot, 1, Grid);
        }
        _canvas.Fill(Left - 1, Top, 1, Plot + 1, Ink);
        _canvas.Fill(Left - 1, Top + Plot, Plot + 1, 1, Ink);
        var name = Path.GetFileName(_options.Overlay ?? "");
        _canvas.Write(Left, 14, $"{name}: {SizeText.Format(_dataBytes)} in {_ranges.ToString(CultureInfo.InvariantCulture)} range{(_ranges == 1 ? "" : "s")}", Ink, scale: 2);
        _canvas.Write(Left, 38, "each place of the device: where it lies in the store. below: what is zero", Ink);
        _canvas.Write(Left, Top + Plot + 16, "0", Ink);
        WriteUpTo("device " + SizeText.Format(_deviceBytes), Left + Plot, Top + Plot + 16);
        WriteUpTo("0", Left - 8, Top + Plot - 8);
        WriteUpTo("store", Left - 8, Top);
        WriteUpTo(SizeText.Format(_storeBytes), Left - 8, Top + 12);

        void WriteUpTo(string text, int x, int y) => _canvas.Write(x - Canvas.TextWidth(text), y, text, Ink);
    }

    private int X(long deviceByte) => Left + Place(deviceByte, _deviceBytes);

    private int Y(long storeByte) => Top + Plot - Dot - Place(storeByte, _storeBytes);

    // Somebody may be writing to it meanwhile.
    private static int Place(long at, long whole) => whole == 0 ? 0 : (int)Int128.Min((Int128)at * Plot / whole, Plot - Dot);
}
