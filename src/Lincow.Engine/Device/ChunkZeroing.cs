using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Zeroing and discards where chunks can be zero without holding zeroes: whole chunks are marked, map page by map page, and their space is
/// given back; parts of chunks are the <see cref="EdgeWriter"/>'s. Also gives back what an earlier generation left behind.
/// </summary>
internal sealed class ChunkZeroing(RunTransfers transfers, LayerStack stack, EdgeWriter edges, TurnWork turns)
{
    private readonly Geometry _geometry = stack.Geometry;

    /// <summary>Goes on with a zeroing or a discard; true when it is done.</summary>
    public bool Step(BlockRequest request)
    {
        var mark = turns.Mark;
        while (request.CanGoOn)
        {
            if (turns.MustPause(request, mark))
                return false;
            turns.Spend(1);
            if (request.Stage == RequestStage.Next && request.Cursor >= request.LockEnd)
            {
                if (request.HeadBecomesData)
                    stack.Record(request, _geometry.ChunkAt(request.LockStart), _geometry.ChunkAt(request.LockStart) + 1);
                // mutation: trimmed-tail-not-marked
                if (request.TailBecomesData)
                    stack.Record(request, _geometry.ChunkAt(request.LockEnd - 1), _geometry.ChunkAt(request.LockEnd - 1) + 1);
                return true;
            }
            if (request.Stage == RequestStage.Next && request.Cursor >= request.BodyStart && request.Cursor < request.BodyEnd)
            {
                if (!TryZeroWholeChunks(request))
                    return false;
            }
            else
            {
                edges.Step(request);
            }
        }
        return request is { Outstanding: 0, IsWaiting: false };
    }

    /// <summary>Zeroes whole chunks up to the end of a map page. False when the page has to be read first.</summary>
    private bool TryZeroWholeChunks(BlockRequest request)
    {
        var first = _geometry.ChunkAt(request.Cursor);
        if (!stack.TryLoad(first, first + 1, request))
            return false;
        var end = LayerStack.EndOfZero(first, _geometry.ChunkFrom(request.BodyEnd));
        var byteEnd = Math.Min(_geometry.StartOf(end), request.BodyEnd);
        if (stack.IsLost(first, end))
        {
            request.Error = -Errno.IO;
            return true;
        }
        if ((request.Flags & BlockFlags.NoHole) != 0)
        {
            var (place, length) = (stack.PlaceFor(request, request.Cursor, byteEnd).DataOffset, byteEnd - request.Cursor);
            stack.Data.Reserve(place, length, transfers.TakeOperation(request, FileCall.Reserve, stack.Data, place, length));
        }
        else
        {
            if (stack.TryFindHeld(first, end, out var dataFirst, out var dataEnd, out var runs))
                StartPunch(request, dataFirst, dataEnd);
            turns.Spend(runs);
        }
        // mutation: trim-not-marked, real-trim-not-marked
        stack.Zero(first, end);
        request.Cursor = byteEnd;
        return true;
    }

    private void StartPunch(BlockRequest request, ChunkIndex first, ChunkIndex end)
    {
        var (start, byteEnd) = (_geometry.StartOf(first), _geometry.EndOf(end + -1));
        var place = stack.PlaceFor(request, start, byteEnd).DataOffset;
        stack.Data.PunchHole(place, byteEnd - start,
            transfers.TakeOperation(request, FileCall.PunchHole, stack.Data, place, byteEnd - start));
    }

    /// <summary>Gives back the space of chunks in the range that the overlay doesn't hold: what an earlier generation left there.</summary>
    public bool StepReclaim(BlockRequest request)
    {
        // A window costs its look at the file, too.
        turns.Spend(TurnWork.UnitsPerCall);
        var mark = turns.Mark;
        while (request.Cursor < request.LockEnd && request.Outstanding < RunTransfers.MaxOperationsPerRequest)
        {
            if (turns.MustPause(request, mark))
                return false;
            var first = _geometry.ChunkAt(request.Cursor);
            // A request waits in one queue at a time: first for its operations, then for the page.
            if (!stack.IsLoaded(first) && (request.Outstanding > 0 || !stack.TryLoad(first, first + 1, request)))
                return false;
            var (isHeld, count) = stack.HeldAt(first, _geometry.ChunkFrom(request.LockEnd));
            // mutation: reclaim-takes-data
            if (!isHeld && !stack.IsLost(first, first + 1))
                StartPunch(request, first, first + count);
            request.Cursor = _geometry.StartOf(first + count);
            turns.Spend(1);
        }
        return request.Outstanding == 0 && request.Cursor >= request.LockEnd;
    }
}
