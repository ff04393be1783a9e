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
internal sealed class RunTransfers
{
    /// <summary>Operations on blobs of one request at once; a long read over many short runs goes on as they end.</summary>
    public const int MaxOperationsPerRequest = 64;

    /// <summary>What is cleared or copied between two looks at the turn's units.</summary>
    public const int CopyBytes = 64 << 10;

    private readonly Stack<RequestIo> _idleOperations = new(256);
    private readonly CowDevice _device;
    private readonly LayerStack _stack;
    private readonly FlushRounds _rounds;
    private readonly TurnWork _turns;

    public RunTransfers(CowDevice device, LayerStack stack, FlushRounds rounds, TurnWork turns)
    {
        (_device, _stack, _rounds, _turns) = (device, stack, rounds, turns);
        Room = new RoomWait(stack.Data, device.Counters, Retry, operation => OperationEnded((RequestIo)operation, -Errno.NoSpace));
    }

    /// <summary>Where operations wait that found no room, if they may.</summary>
    public RoomWait Room { get; }

    /// <summary>
    /// Reads the device's content from the cursor to an end. <paramref name="target"/> is where the device's byte 0 would lie in memory.
    /// True when everything is there, false when operations are in flight.
    /// </summary>
    public bool TryRead(BlockRequest request, nint target, long byteEnd, bool mayReportZeroes)
    {
        var mark = _turns.Mark;
        while (request.Cursor < byteEnd && request.Outstanding < MaxOperationsPerRequest)
        {
            if (_turns.MustPause(request, mark))
                return false;
            var run = _stack.Resolve(request, request.Cursor, byteEnd);
            var (address, length, units) = (target + (nint)request.Cursor, run.ByteLength, 1);
            if (length == 0)
                return request.Error < 0 && request.Outstanding == 0;
            if (run.Blob is { } blob)
            {
                blob.Read(run.BlobOffset, address, checked((int)length),
                    TakeOperation(request, FileCall.Read, blob, run.BlobOffset, length));
                units = UnitsForTransfer(length) + (run.Source == RunSource.Data ? _stack.UnitsToLocate(length) : 0);
            }
            else if (!mayReportZeroes || !request.TryTakeZeroes(request.Cursor, length))
            {
                length = Math.Min(length, CopyBytes);
                GuardedMemory.Clear(address, (nuint)length);
                units += TurnWork.UnitsFor(length);
            }
            request.Cursor += length;
            _turns.Spend(units);
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
        var mark = _turns.Mark;
        while (request.Cursor < byteEnd && request.Outstanding < MaxOperationsPerRequest)
        {
            if (_turns.MustPause(request, mark))
                return false;
            var place = _stack.PlaceFor(request, request.Cursor, byteEnd);
            if (place.ByteLength == 0)
                return false;
            var address = source + (nint)request.Cursor;
            _stack.Data.Write(place.DataOffset, address, checked((int)place.ByteLength),
                TakeOperation(request, FileCall.Write, _stack.Data, place.DataOffset, place.ByteLength, address));
            request.Cursor += place.ByteLength;
            _turns.Spend(UnitsForTransfer(place.ByteLength) + _stack.UnitsToLocate(place.ByteLength));
        }
        return request.Cursor >= byteEnd;
    }

    // Up to this many bytes, a blob may copy on this thread.
    private static int UnitsForTransfer(long byteCount) => TurnWork.UnitsPerCall + TurnWork.UnitsFor(Math.Min(byteCount, 128 << 10));

    /// <summary>An operation that the request waits for.</summary>
    public BlobOperation TakeOperation(BlockRequest request, FileCall kind, IReadableBlob blob, long blobOffset, long byteLength,
        nint address = 0)
    {
        if (!_idleOperations.TryPop(out var operation))
            operation = new RequestIo(this);
        (operation.Request, operation.Kind, operation.Address, operation.HasWaited) = (request, kind, address, false);
        (operation.Target, operation.TargetOffset, operation.TargetLength) = (blob, blobOffset, byteLength);
        request.Outstanding++;
        return operation;
    }

    private static void NoteFailure(RequestIo operation, BlockRequest request, int result)
    {
        request.Error = result;
        request.FailedBlob = operation.Target;
        (request.FailedOffset, request.FailedLength) = (operation.TargetOffset, operation.TargetLength);
        request.FailedToRead = operation.Kind == FileCall.Read;
    }

    // It wrote nothing, or a part of the same bytes.
    private void Retry(BlobOperation waiting)
    {
        var operation = (RequestIo)waiting;
        if (operation.Kind == FileCall.Write)
            _stack.Data.Write(operation.TargetOffset, operation.Address, (int)operation.TargetLength, operation);
        else
            _stack.Data.Reserve(operation.TargetOffset, operation.TargetLength, operation);
    }

    private void OperationEnded(RequestIo operation, int result)
    {
        var request = operation.Request!;
        Debug.Assert(request.Outstanding > 0, "an operation ends once");
        if (operation.Kind != FileCall.Read)
        {
            _rounds.NoteChange();
            // mutation: full-disk-not-waited-for
            if (Errno.IsLackOfSpace(result) && operation.Kind != FileCall.PunchHole && Room.TryWait(operation))
            {
                operation.HasWaited = true;
                return;
            }
            if (result >= 0 && operation.HasWaited)
                Room.NoteRoom();
        }
        operation.Request = null;
        _idleOperations.Push(operation);
        // mutation: failed-write-ignored (2 lines)
        if (result < 0)
            NoteFailure(operation, request, result);
        request.Outstanding--;
        _device.Step(request);
    }

    /// <summary>One operation on a blob for a request; taken from and put back to the device's stock.</summary>
    private sealed class RequestIo(RunTransfers transfers) : BlobOperation
    {
        public BlockRequest? Request { get; set; }

        public IReadableBlob? Target { get; set; }

        public long TargetOffset { get; set; }

        public long TargetLength { get; set; }

        public FileCall Kind { get; set; }

        public nint Address { get; set; }

        public bool HasWaited { get; set; }

        public override void End(int result) => transfers.OperationEnded(this, result);
    }
}
