using System.Runtime.InteropServices;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// The unaligned parts of writes and zeroings. The device is written in units: a whole chunk where the overlay doesn't hold the chunk yet
/// (copy-up), else the blobs' alignment, which is a single byte for buffered I/O. A request's first and last unit may be covered in part:
///
///     units     |-------|-------|-------|-------|
///     request        [=====================]
///     locked    [ head ][    body       ][ tail ]
///
/// Head and tail are read as they are now, merged with the request's bytes in a scratch buffer and written whole, piece by piece; the body
/// goes straight from the request's buffer, or, for zeroes, to the map. Where a unit can't be read, what the request is about to cover
/// isn't needed: so a write of just the bad sectors of a disk heals them, as it does on the disk itself.
/// </summary>
internal sealed unsafe class EdgeWriter(RunTransfers transfers, LayerStack stack, BufferPool buffers)
{
    /// <summary>How much of an edge is merged at once: bounds the scratch buffer when chunks are large.</summary>
    private const int PieceBytes = 256 << 10;

    private readonly Geometry _geometry = stack.Geometry;

    /// <summary>
    /// Sets the range to lock and the body. The map pages of both edges are loaded. False when the request has to wait until it is known
    /// what an edge holds.
    /// </summary>
    public bool TryPlan(BlockRequest request)
    {
        if (!request.IsWrite)
        {
            var unit = request.Operation == BlockOperation.Read ? stack.AlignmentBytes : _geometry.ChunkBytes;
            request.LockStart = Down(request.ByteOffset, unit);
            request.LockEnd = Math.Min(Down(request.End + unit - 1, unit), _geometry.DeviceBytes);
            request.BodyStart = request.BodyEnd = request.LockEnd;
            return true;
        }
        var isZeroing = request.Operation != BlockOperation.Write;
        var (start, end) = (request.ByteOffset, request.End);
        var headUnit = UnitAt(request, start);
        var tailUnit = UnitAt(request, end - 1);
        request.LockStart = Down(start, headUnit);
        // mutation: copy-up-too-short
        request.LockEnd = Math.Min(Down(end + tailUnit - 1, tailUnit), _geometry.DeviceBytes);
        if (isZeroing)
        {
            PlanZeroing(request);
            return !request.IsWaiting;
        }
        request.BodyStart = request.LockStart == start ? start : Math.Min(request.LockStart + headUnit, request.LockEnd);
        request.BodyEnd = request.LockEnd == end ? end : Down(end - 1, tailUnit);
        // Direct I/O needs aligned memory too: with an unaligned start, every byte of the body would be off.
        if (Down(start, stack.AlignmentBytes) != start)
            request.BodyStart = request.LockEnd;
        if (request.BodyEnd <= request.BodyStart)
            request.BodyStart = request.BodyEnd = request.LockEnd;
        return !request.IsWaiting;
    }

    /// <summary>Takes the next step with the edge piece at the cursor: choose it, read what it holds now, merge and write it.</summary>
    public void Step(BlockRequest request)
    {
        switch (request.Stage)
        {
            case RequestStage.Next:
                BeginPiece(request);
                break;
            case RequestStage.Fill:
                if (TryFill(request))
                    request.Stage = RequestStage.Merge;
                break;
            case RequestStage.Merge:
                Merge(request);
                request.Cursor = request.PieceStart;
                request.Stage = RequestStage.Store;
                goto default;
            default:
                if (transfers.TryWrite(request, request.Scratch.Address - (nint)request.PieceStart, request.PieceEnd))
                    request.Stage = RequestStage.Next;
                break;
        }
    }

    /// <summary>What the request has come to can't be read as a whole: has it read only what it won't cover, if that is less.</summary>
    public static bool TryReadLess(BlockRequest request)
    {
        if (request.Stage != RequestStage.Fill || request.ReadsOnlyNeeded || !TryFindCovered(request, out _, out _))
            return false;
        (request.ReadsOnlyNeeded, request.FailedBlob, request.Error, request.Cursor) = (true, null, 0, request.PieceStart);
        return true;
    }

    private bool TryFill(BlockRequest request)
    {
        var target = request.Scratch.Address - (nint)request.PieceStart;
        if (request.ReadsOnlyNeeded && TryFindCovered(request, out var from, out var to) && request.Cursor < to)
        {
            if (request.Cursor < from && !transfers.TryRead(request, target, from, mayReportZeroes: false))
                return false;
            request.Cursor = to;
        }
        return request.Error == 0 && transfers.TryRead(request, target, request.PieceEnd, mayReportZeroes: false);
    }

    // What of the piece at the cursor the request is going to write over.
    private static bool TryFindCovered(BlockRequest request, out long from, out long to)
    {
        (from, to) = (Math.Max(request.PieceStart, request.ByteOffset), Math.Min(request.PieceEnd, request.End));
        return request.IsWrite && from < to;
    }

    // Zeroing works on whole chunks; of a chunk in part, only the part is touched where the overlay holds it, and nothing where it reads as
    // zeroes already and no space is asked for, or where a discard would have to fetch a chunk from the origin first: 64 MiB, for the
    // largest ones.
    private void PlanZeroing(BlockRequest request)
    {
        var (start, end) = (request.ByteOffset, request.End);
        var firstWhole = _geometry.ChunkFrom(start);
        var endWhole = end == _geometry.DeviceBytes ? _geometry.ChunkFrom(end) : _geometry.ChunkAt(end);
        if (firstWhole < endWhole)
        {
            request.BodyStart = _geometry.StartOf(firstWhole);
            request.BodyEnd = Math.Min(_geometry.StartOf(endWhole), _geometry.DeviceBytes);
        }
        else
        {
            request.BodyStart = request.BodyEnd = request.LockEnd;
        }
        var firstIsWhole = firstWhole < endWhole && firstWhole == _geometry.ChunkAt(start);
        var lastIsWhole = firstWhole < endWhole && endWhole == _geometry.ChunkFrom(end);
        request.HeadBecomesData = !firstIsWhole && NeedsCopyUp(request, start);
        request.TailBecomesData = !lastIsWhole && NeedsCopyUp(request, end - 1);
    }

    // Units are powers of two, and a division costs more than the rest of a plan.
    private static long Down(long byteOffset, long unit) => byteOffset & -unit;

    private long UnitAt(BlockRequest request, long byteOffset)
    {
        var isInPlace = stack.IsHeld(byteOffset) || (request.Operation != BlockOperation.Write && !NeedsCopyUp(request, byteOffset));
        // mutation: no-copy-up
        return isInPlace ? stack.AlignmentBytes : _geometry.ChunkBytes;
    }

    /// <summary>
    /// Whether zeroes over a part of the chunk at a byte, the first or the last of the request, make the overlay hold that chunk.
    /// </summary>
    private bool NeedsCopyUp(BlockRequest request, long byteOffset)
    {
        // mutation: partial-trim-fetches-the-chunk
        if (request.Operation == BlockOperation.Discard || stack.IsHeld(byteOffset))
            return false;
        // What reads as zeroes already may take no space, nor keep any for what is written there later.
        // mutation: zeroes-over-a-hole-reserve-nothing
        if ((request.Flags & BlockFlags.NoHole) != 0)
            return true;
        var chunk = _geometry.ChunkAt(byteOffset);
        var (start, end) = (Math.Max(request.ByteOffset, _geometry.StartOf(chunk)), Math.Min(request.End, _geometry.EndOf(chunk)));
        // It waits for the other edge, and both are looked at again.
        if (request.IsWaiting)
            return false;
        var run = stack.Look(request, start, end);
        var isHole = run.Source is RunSource.Zero or RunSource.OriginHole;
        // mutation: zeroes-over-half-a-hole-forgotten, zeroes-over-a-hole-fetch-the-chunk
        return !isHole || run.ByteLength < end - start;
    }

    private void BeginPiece(BlockRequest request)
    {
        var cursor = request.Cursor;
        var chunk = _geometry.ChunkAt(cursor);
        var isZeroing = request.Operation is BlockOperation.WriteZeroes or BlockOperation.Discard;
        request.PieceStart = cursor;
        request.PieceEnd = Math.Min(cursor < request.BodyStart ? request.BodyStart : request.LockEnd, cursor + PieceBytes);
        if (stack.IsLost(chunk, _geometry.ChunkFrom(request.PieceEnd)))
        {
            request.Error = -Errno.IO;
            return;
        }
        if (request.Operation != BlockOperation.Write)
        {
            request.PieceEnd = Math.Min(request.PieceEnd, _geometry.EndOf(chunk));
            if (isZeroing ? IsLeftAlone(request, chunk) : !stack.IsBelow(cursor))
            {
                request.Cursor = request.PieceEnd;
                return;
            }
        }
        if (request.Scratch.IsEmpty && !buffers.TryRent(Math.Min(PieceBytes, request.LockEnd - request.LockStart), out request.Scratch))
        {
            request.Error = -Errno.NoMemory;
            return;
        }
        var isCovered = request.IsWrite && cursor >= request.ByteOffset && request.PieceEnd <= request.End;
        request.Stage = isCovered ? RequestStage.Merge : RequestStage.Fill;
    }

    // PlanZeroing has decided so.
    private bool IsLeftAlone(BlockRequest request, ChunkIndex chunk) => !stack.IsHeld(_geometry.StartOf(chunk))
        && !(chunk == _geometry.ChunkAt(request.LockStart) ? request.HeadBecomesData : request.TailBecomesData);

    private static void Merge(BlockRequest request)
    {
        if (!TryFindCovered(request, out var from, out var to))
            return;
        var count = to - from;
        var target = request.Scratch.Address + (nint)(from - request.PieceStart);
        if (request.Operation == BlockOperation.Write)
            GuardedMemory.Copy(request.Buffer + (nint)(from - request.ByteOffset), target, (nuint)count);
        else
            NativeMemory.Clear((void*)target, (nuint)count);
    }
}
