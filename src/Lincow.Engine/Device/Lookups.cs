using Lincow.Layers;
using Lincow.Linux;

namespace Lincow.Device;

/// <summary>Requests that the map alone answers: 0 or a negative errno.</summary>
internal static class Lookups
{
    /// <summary>Fills the request's buffer with the extents of its range.</summary>
    public static unsafe int FillExtents(LayerStack stack, BlockRequest request)
    {
        var extents = new Span<BlockExtent>((void*)request.Buffer, request.ExtentCount);
        var cursor = request.ByteOffset;
        var count = 0;
        while (cursor < request.End)
        {
            var chunk = stack.Geometry.ChunkAt(cursor);
            if (stack.Overlay.IsDamaged(chunk, chunk + 1))
                return count > 0 ? Done() : -Errno.IO;
            var run = stack.RunAt(cursor, request.End);
            if (count > 0 && extents[count - 1].Source == run.Source)
                extents[count - 1] = extents[count - 1] with { ByteLength = extents[count - 1].ByteLength + run.ByteLength };
            else if (count == extents.Length)
                break;
            else
                extents[count++] = run;
            cursor += run.ByteLength;
        }
        return Done();

        int Done()
        {
            request.ExtentCount = count;
            return 0;
        }
    }

    /// <summary>Says to the storages that a range will be read soon.</summary>
    public static int ReadAhead(LayerStack stack, BlockRequest request)
    {
        var cursor = request.ByteOffset;
        while (cursor < request.End)
        {
            var run = stack.RunAt(cursor, request.End);
            if (run.Source == RunSource.Data && stack.Overlay.KnowsZeroes)
                stack.Data.WillNeed(stack.Overlay.Locate(request, cursor, cursor + run.ByteLength).DataOffset, run.ByteLength);
            else if (run.Source == RunSource.Origin)
                stack.Origin.Storage.WillNeed(cursor, run.ByteLength);
            cursor += run.ByteLength;
        }
        return 0;
    }
}
