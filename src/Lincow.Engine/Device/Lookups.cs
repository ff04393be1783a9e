using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Requests that what is known of places answers alone. They go over any number of runs, so they may pause; each says whether it is at its
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
            var run = stack.Look(request, request.Cursor, request.End);
            if (run.ByteLength == 0 && request.Error == 0)
                return false;
            if (run.ByteLength == 0)
            {
                // What is known before the lost part is an answer.
                request.Error = count > 0 ? 0 : request.Error;
                break;
            }
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

    /// <summary>Tells the blobs that a range will be read soon.</summary>
    public bool TryReadAhead(BlockRequest request)
    {
        var mark = turns.Mark;
        while (request.Cursor < request.End)
        {
            if (turns.MustPause(request, mark))
                return false;
            var run = stack.Look(request, request.Cursor, request.End);
            // A hint isn't worth a look at a list.
            if (run.ByteLength > 0 && (run.Source == RunSource.Origin || (run.Source == RunSource.Data && stack.KnowsZeroes)))
            {
                var place = stack.Resolve(request, request.Cursor, request.Cursor + run.ByteLength);
                run = run with { ByteLength = place.ByteLength };
                place.Blob?.WillNeed(place.BlobOffset, place.ByteLength);
                turns.Spend(TurnWork.UnitsPerCall);
            }
            if (run.ByteLength == 0)
                return request.Error < 0;
            request.Cursor += run.ByteLength;
            turns.Spend(1);
        }
        return true;
    }
}
