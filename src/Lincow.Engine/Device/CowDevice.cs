using System.Diagnostics;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// A copy-on-write device: takes requests of any alignment, keeps overlapping ones apart, and moves bytes between the caller's buffers, the
/// overlay and the origin. One loop's thread owns it; no locks.
///
/// A request goes through
///
///     Submit -> the map pages it needs are loaded -> its range is locked -> steps -> range unlocked -> (FUA: a flush round) -> OnCompleted
///
/// and what a step does to a chunk depends on the chunk's state:
///
///     operation            origin                                data                zero
///     read                 read origin, or zeroes in its hole    read overlay        zeroes
///     write, whole chunk   write overlay, mark data              write overlay       write overlay, mark data
///     write, part          read origin, merge, write the whole   write overlay       merge with zeroes, write the whole
///                          chunk (copy-up), mark data                                chunk, mark data
///     zero, whole chunk    mark zero                             mark zero, punch    -
///     zero, part           copy-up with zeroes, mark data;       write zeroes        -
///                          nothing in its hole
///     discard, part        nothing                               write zeroes        -
///
/// Invariants: a chunk is marked data only after all its bytes are in the overlay; marks reach the disk only behind a data sync
/// (<see cref="FlushRounds"/>); so a cut leaves each unflushed chunk old as a whole, and each chunk already in the overlay old or new by
/// sector. While a chunk's state may change, its whole range is locked; otherwise only the bytes that are touched.
/// </summary>
internal sealed class CowDevice : BlockDevice
{
    /// <summary>What a look at a waiter costs: a search or two of a tree.</summary>
    private const int UnitsToWake = 16;

    /// <summary>Nodes of a tree that are looked at for a unit.</summary>
    private const int VisitsPerUnit = 8;

    private readonly LayerStack _stack;
    private readonly RangeLocks _locks = new();
    private readonly FlushRounds _rounds;
    private readonly BufferPool _buffers;
    private readonly RunTransfers _transfers;
    private readonly EdgeWriter _edges;
    private readonly ChunkZeroing _zeroing;
    private readonly Lookups _lookups;
    private readonly TurnWork _turns;
    private readonly Stack<ZeroFill> _idleFills = new();
    private readonly RequestErrors _errors;
    private RequestQueue _held;
    private bool _isWaking, _isHolding;
    private long _requestCount;

    internal CowDevice(LayerStack stack, BufferPool buffers, bool isReadOnly)
        : base(stack.Data)
    {
        _stack = stack;
        _buffers = buffers;
        _turns = new TurnWork(stack.Data, GoOn, BeginTurn);
        stack.Serve(Resume, _turns);
        _rounds = new FlushRounds(stack, buffers, Complete);
        _transfers = new RunTransfers(this, stack, _rounds, _turns);
        _rounds.WaitsForRoom = WaitsForRoomNow;
        _edges = new EdgeWriter(_transfers, stack, buffers);
        _zeroing = new ChunkZeroing(_transfers, stack, _edges, _turns);
        _lookups = new Lookups(stack, _turns);
        _errors = new RequestErrors(Counters, stack.Data.Name, stack.Report);
        IsReadOnly = isReadOnly;
        // The first of them takes what they share, where that may still fail.
        if (!stack.KnowsZeroes)
            _idleFills.Push(new ZeroFill(this, stack, _turns));
    }

    public override Geometry Geometry => _stack.Geometry;

    public override bool IsReadOnly { get; }

    public override bool CanDiscard => _stack.KnowsZeroes;

    /// <summary>
    /// The longest zeroing or discard: bounds the map pages that one request can make. 4096 pages are 244 GiB at 4 KiB chunks.
    /// </summary>
    public override long MaxZeroBytes => 4096L * ChunkMap.ChunksPerPage << Geometry.ChunkShift;

    /// <summary>The longest range of extents or read-ahead: bounds the map pages that one request loads.</summary>
    public override long MaxExtentsBytes => 64L * ChunkMap.ChunksPerPage << Geometry.ChunkShift;

    /// <summary>Whether zeroing a range costs less than writing it: true for whole chunks, whose map entry is all that changes.</summary>
    public override bool IsFastToZero(long byteOffset, long byteLength) => _stack.KnowsZeroes
        && byteOffset % Geometry.ChunkBytes == 0 && (byteLength % Geometry.ChunkBytes == 0 || byteOffset + byteLength == SizeBytes);

    public override bool IsPersistent => _stack.IsPersistent;

    public override bool HasUncommitted => !_rounds.IsIdle || _stack.HasUncommitted;

    /// <summary>
    /// Whether what finds no room in the file system below waits for it, instead of ENOSPC. Turned off, those that wait end with ENOSPC.
    /// </summary>
    public bool WaitsForRoom
    {
        get => _transfers.Room.IsOn;
        set => _transfers.Room.Turn(value);
    }

    /// <summary>Operations that wait for room.</summary>
    public int WaitingForRoom => _transfers.Room.Count;

    /// <summary>Requests that were submitted and have not completed.</summary>
    public int InFlight { get; private set; }

    /// <summary>Requests submitted since the device was opened.</summary>
    public override long RequestCount => _requestCount;

    /// <summary>What it has been asked for, by kind.</summary>
    public DeviceCounters Counters { get; } = new();

    /// <summary>Flush rounds that had something to make durable; flushes at the same time share one.</summary>
    public long RoundCount => _rounds.Count;

    /// <summary>No request in flight, no flush round running and no map page on its way.</summary>
    public override bool IsIdle => InFlight == 0 && (_isHolding || _held.IsEmpty) && _rounds.IsIdle && _stack.IsIdle && !_turns.IsArmed;

    internal LayerStack Stack => _stack;

    internal TurnWork Turns => _turns;

    /// <summary>Nodes that the range locks looked at, for tests.</summary>
    internal long LockVisits => _locks.Visits;

    private protected override void Start(BlockRequest request)
    {
        // Behind those that wait already.
        if (_isHolding || !_held.IsEmpty)
            _held.Enqueue(request);
        else
            LetIn(request);
    }

    private void LetIn(BlockRequest request)
    {
        request.ResetState();
        _requestCount++;
        Counters.Note(request);
        InFlight++;
        if (_stack.FailedBecause is not null)
            Complete(request, -Errno.IO);
        else if (IsReadOnly && request.NeedsExclusiveRange)
            Complete(request, -Errno.Perm);
        else if (request.Operation == BlockOperation.Flush)
            _rounds.Join(request);
        else if (request.Operation == BlockOperation.Discard && !CanDiscard)
            Complete(request, -Errno.NotSupported);
        else if (request.ByteLength == 0)
            Complete(request, 0);
        else if (request.Operation == BlockOperation.WriteZeroes && !_stack.KnowsZeroes)
            (_idleFills.TryPop(out var fill) ? fill : new ZeroFill(this, _stack, _turns)).Start(request);
        else
            Admit(request);
    }

    internal void ZeroFillEnded(ZeroFill fill, BlockRequest request, int result)
    {
        _idleFills.Push(fill);
        End(request, result);
    }

    /// <summary>From here on requests wait outside, so that those in flight come to an end.</summary>
    internal void Hold() => _isHolding = true;

    /// <summary>Lets in those who waited, in their order, as many in a turn as it has units for, and one at least.</summary>
    internal void Release()
    {
        _isHolding = false;
        LetInHeld();
    }

    // For a flush.
    private bool WaitsForRoomNow()
    {
        if (WaitsForRoom)
            Counters.NoteFull();
        return WaitsForRoom;
    }

    private void LetInHeld()
    {
        while (!_isHolding && _held.Dequeue() is { } request)
        {
            _turns.Spend(UnitsToWake);
            LetIn(request);
            // mutation: held-let-in-all-at-once
            if (_turns.IsSpent)
                return;
        }
    }

    // Those that earlier turns had no units for.
    private void BeginTurn()
    {
        WakeWaiters();
        _stack.ResumeWaiting();
        LetInHeld();
    }

    // What a request waited for has come. So many may have waited for it that they take more than a turn.
    private void Resume(BlockRequest request)
    {
        // mutation: resumed-all-at-once (4 lines)
        if (_turns.IsSpent)
            _turns.Wait(request);
        else
            GoOn(request);
    }

    private void GoOn(BlockRequest request)
    {
        request.IsWaiting = false;
        if (request is ZeroFill { IsLooking: true } fill)
            fill.Advance();
        else if (request.Started)
            Step(request);
        else
            Admit(request);
        if (_locks.HasWoken)
            WakeWaiters();
    }

    private void Admit(BlockRequest request)
    {
        if (request.Error < 0)
        {
            Refuse(request, request.Error);
            return;
        }
        // Nobody's data waits for these, so they take no allowance.
        // mutation: hints-take-an-allowance
        if (request.Operation is BlockOperation.Extents or BlockOperation.Cache or BlockOperation.Reclaim && _turns.IsSpent)
        {
            _turns.Wait(request);
            return;
        }
        if (!TryLoadFor(request))
            return;
        if (request.Operation is BlockOperation.Extents or BlockOperation.Cache)
        {
            if (request.Operation == BlockOperation.Extents ? _lookups.TryFillExtents(request) : _lookups.TryReadAhead(request))
                Complete(request, request.Error);
            return;
        }
        if (request.Operation is BlockOperation.Write or BlockOperation.CopyUp
            && _stack.IsLost(Geometry.ChunkAt(request.ByteOffset), Geometry.ChunkFrom(request.End)))
        {
            Refuse(request, -Errno.IO);
            return;
        }
        if (!_edges.TryPlan(request))
            return;
        if (request.Error < 0)
        {
            Refuse(request, request.Error);
            return;
        }
        if (!TryLock(request))
            return;
        request.Started = true;
        // mutation: mark-before-data, real-mark-before-data
        request.Cursor = request.LockStart;
        if (request.Operation == BlockOperation.Read)
            BeginRead(request);
        else if (request.Operation != BlockOperation.Reclaim)
            request.Error = _stack.Reserve(request);
        Step(request);
    }

    private bool TryLock(BlockRequest request)
    {
        var visits = _locks.Visits;
        var isLocked = _locks.TryAcquire(request);
        SpendVisits(visits);
        return isLocked;
    }

    // A search of the locks mostly looks at a few nodes; but at any number, when others that came before and others that came after
    // alternate.
    private void SpendVisits(long before) => _turns.Spend((int)((_locks.Visits - before) / VisitsPerUnit));

    // It may have waited for its range, and hold it.
    private void Refuse(BlockRequest request, int result)
    {
        if (request.IsLocked)
            Finish(request, result);
        else
            Complete(request, result);
    }

    /// <summary>
    /// Makes sure of the map pages that a request needs at its start: all of them, or the edges of a long zeroing, which loads the rest as
    /// it goes.
    /// </summary>
    private bool TryLoadFor(BlockRequest request)
    {
        var first = Geometry.ChunkAt(request.ByteOffset);
        var end = Geometry.ChunkFrom(request.End);
        if (request.Operation is BlockOperation.WriteZeroes or BlockOperation.Discard or BlockOperation.Reclaim)
            return _stack.TryLoad(first, first + 1, request) && _stack.TryLoad(end + -1, end, request);
        return _stack.TryLoad(first, end, request);
    }

    /// <summary>Goes on with a locked request until it waits for a blob or is done.</summary>
    internal void Step(BlockRequest request)
    {
        Debug.Assert(request.IsLocked && !request.IsQueued, "a request works on a range that it holds, and waits for nothing");
        if (request.Outstanding > 0)
            return;
        if (request.Error < 0 && !TryReadLess(request))
        {
            // mutation: place-of-a-failed-write-recorded
            Finish(request, request.Error);
            return;
        }
        var isDone = request.Operation switch
        {
            BlockOperation.Read => StepRead(request),
            BlockOperation.Write or BlockOperation.CopyUp => StepWrite(request),
            BlockOperation.Reclaim => _zeroing.StepReclaim(request),
            _ => _zeroing.Step(request),
        };
        if (isDone)
            Finish(request, request.Error);
    }

    // What was read besides, because units are larger than what was asked for, may be all that can't be read.
    private bool TryReadLess(BlockRequest request)
    {
        if (request.FailedBlob is null || !request.FailedToRead || request.Error != -Errno.IO)
            return false;
        if (request.Operation != BlockOperation.Read)
            // mutation: bad-sector-takes-its-chunk
            return EdgeWriter.TryReadLess(request);
        // mutation: bad-sector-takes-its-block
        if (request.Scratch.IsEmpty)
            return false;
        _buffers.Return(request.Scratch);
        (request.Scratch, request.FailedBlob, request.Error, request.Cursor) = (default, null, 0, request.ByteOffset);
        return true;
    }

    private void BeginRead(BlockRequest request)
    {
        // Direct I/O: an unaligned read goes through a buffer that covers whole blocks (the locked range is rounded to them).
        if (request.LockStart != request.ByteOffset || request.LockEnd != request.End)
            request.Error = _buffers.TryRent(request.LockEnd - request.LockStart, out request.Scratch) ? 0 : -Errno.NoMemory;
    }

    private bool StepRead(BlockRequest request)
    {
        var bounced = !request.Scratch.IsEmpty;
        var target = bounced ? request.Scratch.Address - (nint)request.LockStart : request.Buffer - (nint)request.ByteOffset;
        if (request.Stage == RequestStage.Next)
        {
            if (!_transfers.TryRead(request, target, bounced ? request.LockEnd : request.End, mayReportZeroes: !bounced))
                return false;
            if (!bounced || request.Error < 0)
                return true;
            (request.Stage, request.Cursor) = (RequestStage.Merge, request.ByteOffset);
        }
        for (var mark = _turns.Mark; request.Cursor < request.End;)
        {
            if (_turns.MustPause(request, mark))
                return false;
            var count = Math.Min(request.End - request.Cursor, RunTransfers.CopyBytes);
            GuardedMemory.Copy(target + (nint)request.Cursor, request.Buffer + (nint)(request.Cursor - request.ByteOffset), (nuint)count);
            request.Cursor += count;
            _turns.Spend(TurnWork.UnitsFor(count));
        }
        return true;
    }

    private bool StepWrite(BlockRequest request)
    {
        var mark = _turns.Mark;
        while (request.CanGoOn)
        {
            if (_turns.MustPause(request, mark))
                return false;
            _turns.Spend(1);
            if (request.Stage == RequestStage.Next && request.Cursor >= request.LockEnd)
            {
                // Everything in the locked range is in the overlay now.
                request.Stage = RequestStage.Record;
                request.Cursor = request.LockStart;
            }
            if (request.Stage == RequestStage.Record)
                return TryRecord(request);
            if (request.Stage == RequestStage.Next && request.Cursor >= request.BodyStart && request.Cursor < request.BodyEnd)
            {
                _transfers.TryWrite(request, request.Buffer - (nint)request.ByteOffset, request.BodyEnd);
            }
            else
            {
                _edges.Step(request);
            }
        }
        return request is { Outstanding: 0, IsWaiting: false };
    }

    /// <summary>The only place where a write changes the map. False when more is left for a later turn.</summary>
    private bool TryRecord(BlockRequest request)
    {
        Debug.Assert(request is { IsLocked: true, Outstanding: 0, Error: 0 }, "chunks are marked when all their bytes are in the overlay");
        var end = Geometry.ChunkFrom(request.LockEnd);
        var mark = _turns.Mark;
        while (request.Cursor < request.LockEnd)
        {
            if (_turns.MustPause(request, mark))
                return false;
            var first = Geometry.ChunkAt(request.Cursor);
            var next = _stack.EndOfRecord(first, end);
            if (Counters.FullSince != 0 && !_stack.IsHeld(request.Cursor))
                Counters.NoteRoom();
            if (request.Operation == BlockOperation.Write)
                _stack.Record(request, first, next);
            else
                _stack.RecordCopies(request, first, next);
            _turns.Spend(_stack.UnitsToRecord(next - first));
            request.Cursor = Geometry.StartOf(next);
        }
        return true;
    }

    private void Finish(BlockRequest request, int result)
    {
        Debug.Assert(request.Outstanding == 0, "a request that ends has nothing in flight, and its memory may go");
        _buffers.Return(request.Scratch);
        request.Scratch = default;
        _stack.GiveUp(request);
        _locks.Release(request);
        // Before the owner hears of it. Those whose turn comes later are in the way of what it submits next.
        WakeWaiters();
        End(request, result);
    }

    private void End(BlockRequest request, int result)
    {
        // mutation: fua-without-flush, answered-before-it-outlives-the-server, real-fua-without-flush (2 lines)
        if (result == 0 && request.NeedsExclusiveRange
            && ((request.Flags & BlockFlags.ForceUnitAccess) != 0 || (OutlivesServer && HasUncommitted)))
            _rounds.Join(request);
        else
            Complete(request, result);
    }

    // A loop, not recursion: a request that waited may finish at once and release others. As many as the turn has units for.
    private void WakeWaiters()
    {
        if (_isWaking)
            return;
        _isWaking = true;
        // mutation: waiters-all-at-once
        while (_locks.HasWoken && !_turns.IsSpent)
        {
            var visits = _locks.Visits;
            var request = _locks.WakeOne();
            _turns.Spend(UnitsToWake);
            // mutation: searches-of-locks-uncharged
            SpendVisits(visits);
            if (request is not null)
                Admit(request);
        }
        _isWaking = false;
    }

    private protected override void Tell(BlockRequest request, int result)
    {
        InFlight--;
        Debug.Assert(InFlight >= 0, "a request ends once");
        // Also what was on its way when the device failed: a disk that has lost its cache may have shown a read what was there before.
        // mutation: failed-device-answers
        result = _stack.FailedBecause is null ? result : -Errno.IO;
        if (result < 0)
            _errors.Note(request, result, counts: request is not ZeroFill);
        request.OnCompleted(result);
    }
}
