using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Lincow.Origins;
using Lincow.Requests;

namespace Lincow.Operations;

/// <summary>Lists where each range of an overlay's device comes from.</summary>
internal static class OverlayMap
{
    private const int RangesAhead = 1024;

    /// <summary>
    /// Calls back for each range in order. Works while the overlay is served, as of the last flush. Throws <see cref="LincowException"/>.
    /// </summary>
    /// <param name="options">The overlay, its map and its origin.</param>
    /// <param name="visit">Called on this thread.</param>
    /// <param name="stop">Ends it between two ranges.</param>
    public static void ForEach(OverlayOptions options, Action<MapRange> visit, CancellationToken stop = default)
    {
        using var reader = new OverlayReader(options with { Peek = true });
        foreach (var extent in reader.Extents())
        {
            for (long done = 0; done < extent.ByteLength;)
            {
                stop.ThrowIfCancellationRequested();
                var range = Range(reader.Session, extent.Start + done, extent.ByteLength - done, extent.Source);
                visit(range);
                done += range.Length;
            }
        }
    }

    /// <summary>
    /// As <see cref="ForEach"/>, for who takes the ranges as they come. They are looked for no further ahead than
    /// <see cref="RangesAhead"/>.
    /// </summary>
    /// <param name="options">The overlay, its map and its origin.</param>
    /// <param name="stop">Ends it between two ranges.</param>
    public static async IAsyncEnumerable<MapRange> ReadAsync(OverlayOptions options,
        [EnumeratorCancellation] CancellationToken stop = default)
    {
        var ranges = Channel.CreateBounded<MapRange>(new BoundedChannelOptions(RangesAhead) { SingleReader = true, SingleWriter = true });
        // Who stops reading ends the search, too.
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        var search = Operation.Start(() =>
        {
            Exception? failure = null;
            try
            {
                ForEach(options, range => ranges.Writer.WriteAsync(range, ended.Token).AsTask().GetAwaiter().GetResult(), ended.Token);
            }
            catch (Exception e)
            {
                failure = e;
            }
            ranges.Writer.Complete(failure);
            return failure is null;
        }, CancellationToken.None);
        try
        {
            await foreach (var range in ranges.Reader.ReadAllAsync(stop).ConfigureAwait(false))
                yield return range;
        }
        finally
        {
            await ended.CancelAsync().ConfigureAwait(false);
            await search.ConfigureAwait(false);
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
                return new MapRange(start, length, 1, true, false, true, start, OriginReference.Parse(session.Origin.Uri).Place);
            default:
                return new MapRange(start, length, 1, start < session.Origin.SizeBytes, true, false, null, null);
        }
    }
}
