using Lincow.Requests;

namespace Lincow.Operations;

/// <summary>
/// A range of the device and where it comes from: the fields of <c>qemu-img map --output=json</c>.
/// </summary>
/// <param name="Start">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Depth">0: the overlay; 1: the origin.</param>
/// <param name="Present">Some layer holds or zeroes the range; false for what is nowhere.</param>
/// <param name="Zero">Reads as zeroes.</param>
/// <param name="Data">Bytes are stored for it.</param>
/// <param name="Offset">Where, in <paramref name="Filename"/>; null without data.</param>
/// <param name="Filename">The file that stores it.</param>
public sealed record MapRange(long Start, long Length, int Depth, bool Present, bool Zero, bool Data, long? Offset, string? Filename);

/// <summary>Lists where each range of an overlay's device comes from.</summary>
public static class OverlayMap
{
    /// <summary>Calls back for each range in order. Works while the overlay is served, as of the last flush. Throws <see cref="LincowException"/>.</summary>
    public static void ForEach(SessionOptions options, Action<MapRange> visit)
    {
        using var reader = new OverlayReader(options with { Peek = true });
        foreach (var extent in reader.Extents())
        {
            for (long done = 0; done < extent.ByteLength;)
            {
                var range = Range(reader.Session, extent.Start + done, extent.ByteLength - done, extent.Source);
                visit(range);
                done += range.Length;
            }
        }
    }

    private static MapRange Range(OverlaySession session, long start, long length, RunSource source)
    {
        var stack = session.Device.Stack;
        switch (source)
        {
            case RunSource.Data:
                var place = stack.Top.LocateNow(start, start + length);
                return new MapRange(start, place.ByteLength, 0, true, false, true, place.DataOffset, stack.Data.Name);
            case RunSource.Zero:
                return new MapRange(start, length, 0, true, true, false, null, null);
            case RunSource.Origin:
                return new MapRange(start, length, 1, true, false, true, start, stack.Origin.Uri);
            default:
                return new MapRange(start, length, 1, start < stack.Origin.SizeBytes, true, false, null, null);
        }
    }
}
