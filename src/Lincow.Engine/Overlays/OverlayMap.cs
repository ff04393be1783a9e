using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linear;
using Lincow.Linux;

namespace Lincow.Overlays;

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
    private const int ExtentsAtOnce = 4096;

    /// <summary>Calls back for each range in order. Works while the overlay is served, as of the last flush. Throws <see cref="LincowException"/>.</summary>
    public static void ForEach(SessionOptions options, Action<MapRange> visit)
    {
        using var loop = new PosixLoop();
        var session = OverlaySession.Open(options with { ReadOnly = true, Peek = true }, loop);
        var memory = loop.Buffers.Rent(ExtentsAtOnce * Marshal.SizeOf<BlockExtent>());
        try
        {
            var request = new ExtentRequest(memory.Address);
            var device = session.Device;
            var pending = new BlockExtent(0, default);
            long cursor = 0;
            while (cursor < device.SizeBytes)
            {
                foreach (var extent in request.Fetch(device, loop, cursor, ExtentsAtOnce))
                {
                    // What one fetch cuts in two is one range.
                    if (pending.ByteLength > 0 && extent.Source == pending.Source)
                    {
                        pending = pending with { ByteLength = pending.ByteLength + extent.ByteLength };
                    }
                    else
                    {
                        Visit();
                        pending = extent;
                    }
                    cursor += extent.ByteLength;
                }
            }
            Visit();

            void Visit()
            {
                for (long start = cursor - pending.ByteLength, done = 0; start + done < cursor;)
                {
                    var range = Range(session, start + done, pending.ByteLength - done, pending.Source);
                    visit(range);
                    done += range.Length;
                }
            }
        }
        finally
        {
            loop.Buffers.Return(memory);
            session.Close();
        }
    }

    private static MapRange Range(OverlaySession session, long start, long length, RunSource source)
    {
        var stack = session.Device.Stack;
        switch (source)
        {
            case RunSource.Data:
                var place = stack.Overlay.LocateNow(start, start + length);
                return new MapRange(start, place.ByteLength, 0, true, false, true, place.DataOffset, stack.Data.Name);
            case RunSource.Zero:
                return new MapRange(start, length, 0, true, true, false, null, null);
            case RunSource.Origin:
                return new MapRange(start, length, 1, true, false, true, start, stack.Origin.Uri);
            default:
                return new MapRange(start, length, 1, start < stack.Origin.SizeBytes, true, false, null, null);
        }
    }

    private sealed class ExtentRequest(nint buffer) : BlockRequest
    {
        private int? _result;

        public ReadOnlySpan<BlockExtent> Fetch(CowDevice device, IoLoop loop, long byteOffset, int capacity)
        {
            (Operation, Buffer, ExtentCount, ByteOffset, _result) = (BlockOperation.Extents, buffer, capacity, byteOffset, null);
            // A window of map pages at a time keeps memory small on large devices.
            ByteLength = Math.Min(device.SizeBytes - byteOffset, 1024L * MapFormat.ChunksPerPage << device.Geometry.ChunkShift);
            device.Submit(this);
            while (_result is null)
                loop.RunOnce();
            if (_result < 0)
                throw new LincowException($"the map at device byte {byteOffset} can't be read: {Errno.Describe(-_result.Value)}. Run 'lincow check'");
            unsafe
            {
                return new ReadOnlySpan<BlockExtent>((void*)Buffer, ExtentCount);
            }
        }

        protected internal override void OnCompleted(int result) => _result = result;
    }
}
