using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Moves a locked request's bytes between memory and the layers, run by run: a bounded number of operations at once, and in a turn no more
/// than its units allow (<see cref="TurnWork"/>). The request goes on when those have ended, or in the next turn.
/// </summary>
internal sealed class RunTransfers(CowDevice device, LayerStack stack, FlushRounds rounds, TurnWork turns)
{
    /// <summary>Operations on blobs of one request at once; a long read over many short runs goes on as they end.</summary>
    public const int MaxOperationsPerRequest = 64;

    /// <summary>What is cleared or copied between two looks at the turn's units.</summary>
    public const int CopyBytes = 64 << 10;

    private readonly Stack<RequestIo> _idleOperations = new(256);

    /// <summary>
    /// Reads the device's content from the cursor to an end. <paramref name="target"/> is where the device's byte 0 would lie in memory.
    /// True when everything is there, false when operations are in flight.
    /// </summary>
    public bool TryRead(BlockRequest request, nint target, long byteEnd, bool mayReportZeroes)
    {
        var mark = turns.Mark;
        while (request.Cursor < byteEnd && request.Outstanding < MaxOperationsPerRequest)
        {
            if (turns.MustPause(request, mark))
                return false;
            var run = stack.Resolve(request, request.Cursor, byteEnd);
            var (address, length, units) = (target + (nint)request.Cursor, run.ByteLength, 1);
            if (length == 0)
                return request.Error < 0 && request.Outstanding == 0;
            if (run.Blob is { } blob)
            {
                request.Outstanding++;
                blob.Read(run.BlobOffset, address, checked((int)length), TakeOperation(request, changesData: false));
                units = UnitsForTransfer(length) + (run.Source == RunSource.Data ? stack.UnitsToLocate(length) : 0);
            }
            else if (!mayReportZeroes || !request.TryTakeZeroes(request.Cursor, length))
            {
                length = Math.Min(length, CopyBytes);
                GuardedMemory.Clear(address, (nuint)length);
                units += TurnWork.UnitsFor(length);
            }
            request.Cursor += length;
            turns.Spend(units);
        }
        return request.Cursor >= byteEnd && request.Outstanding == 0;
    }

    /// <summary>
    /// Starts to write the device's content from the cursor to an end. <paramref name="source"/> is where the device's byte 0 would lie in
    /// memory. True when everything has been started; the cursor tells how far it came.
    /// </summary>
    public bool TryWrite(BlockRequest request, nint source, long byteEnd)
    {
        Debug.Assert(request.IsLocked && request.NeedsExclusiveRange, "what is written is locked for this request alone");
        var mark = turns.Mark;
        while (request.Cursor < byteEnd && request.Outstanding < MaxOperationsPerRequest)
        {
            if (turns.MustPause(request, mark))
                return false;
            var place = stack.PlaceFor(request, request.Cursor, byteEnd);
            if (place.ByteLength == 0)
                return false;
            request.Outstanding++;
            stack.Data.Write(place.DataOffset, source + (nint)request.Cursor, checked((int)place.ByteLength),
                TakeOperation(request, changesData: true));
            request.Cursor += place.ByteLength;
            turns.Spend(UnitsForTransfer(place.ByteLength) + stack.UnitsToLocate(place.ByteLength));
        }
        return request.Cursor >= byteEnd;
    }

    // Up to this many bytes, a blob may copy on this thread.
    private static int UnitsForTransfer(long byteCount) => TurnWork.UnitsPerCall + TurnWork.UnitsFor(Math.Min(byteCount, 128 << 10));

    public BlobOperation TakeOperation(BlockRequest request, bool changesData)
    {
        if (!_idleOperations.TryPop(out var operation))
            operation = new RequestIo(this);
        operation.Request = request;
        operation.ChangesData = changesData;
        return operation;
    }

    private void OperationEnded(RequestIo operation, int result)
    {
        var request = operation.Request!;
        operation.Request = null;
        _idleOperations.Push(operation);
        Debug.Assert(request.Outstanding > 0, "an operation ends once");
        if (operation.ChangesData)
            rounds.NoteChange();
        // mutation: failed-write-ignored (2 lines)
        if (result < 0)
            request.Error = result;
        request.Outstanding--;
        device.Step(request);
    }

    /// <summary>One operation on a blob for a request; taken from and put back to the device's stock.</summary>
    private sealed class RequestIo(RunTransfers transfers) : BlobOperation
    {
        public BlockRequest? Request { get; set; }

        public bool ChangesData { get; set; }

        public override void End(int result) => transfers.OperationEnded(this, result);
    }
}
