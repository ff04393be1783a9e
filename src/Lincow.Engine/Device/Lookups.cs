using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Requests that the map and the origin's extents alone answer. They go over any number of runs, so they may pause; each says whether it is at its
/// end, with 0 or a negative errno in the request.
/// </summary>
internal sealed class Lookups(LayerStack stack, TurnWork turns)
{
    /// <summary>Fills the request's buffer with the extents of its range.</summary>
    public unsafe bool TryFillExtents(BlockRequest request)
    {
        var extents = new Span<BlockExtent>((void*)request.Buffer, request.ExtentCount);
        ref var count = ref request.FilledExtents;
        var mark = turns.Mark;
        while (request.Cursor < request.End)
        {
            if (turns.MustPause(request, mark))
                return false;
            var chunk = stack.Geometry.ChunkAt(request.Cursor);
            if (stack.Overlay.IsDamaged(chunk, chunk + 1))
            {
                request.Error = count > 0 ? 0 : -Errno.IO;
                break;
            }
            var run = stack.RunAt(request.Cursor, request.End);
            if (count > 0 && extents[count - 1].Source == run.Source)
                extents[count - 1] = extents[count - 1] with { ByteLength = extents[count - 1].ByteLength + run.ByteLength };
            else if (count == extents.Length)
                break;
            else
                extents[count++] = run;
            request.Cursor += run.ByteLength;
            turns.Spend(1);
        }
        request.ExtentCount = count;
        return true;
    }

    /// <summary>Says to the storages that a range will be read soon.</summary>
    public bool TryReadAhead(BlockRequest request)
    {
        var mark = turns.Mark;
        while (request.Cursor < request.End)
        {
            if (turns.MustPause(request, mark))
                return false;
            var run = stack.RunAt(request.Cursor, request.End);
            var units = 1;
            if (run.Source == RunSource.Data && stack.Overlay.KnowsZeroes)
            {
                stack.Data.WillNeed(stack.Overlay.Locate(request, request.Cursor, request.Cursor + run.ByteLength).DataOffset, run.ByteLength);
                units = TurnWork.UnitsPerCall;
            }
            else if (run.Source == RunSource.Origin)
            {
                stack.Origin.Blob.WillNeed(request.Cursor, run.ByteLength);
                units = TurnWork.UnitsPerCall;
            }
            request.Cursor += run.ByteLength;
            turns.Spend(units);
        }
        return true;
    }
}
