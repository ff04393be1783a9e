using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Requests;

internal enum BlockOperation
{
    Read,
    Write,

    /// <summary>The range reads as zeroes afterwards; its space is given back unless <see cref="BlockFlags.NoHole"/> is set.</summary>
    WriteZeroes,

    /// <summary>
    /// As <see cref="WriteZeroes"/>, so that trimmed data never comes back; but parts of chunks that the overlay doesn't hold stay as they
    /// are, the origin's.
    /// </summary>
    Discard,
    Flush,

    /// <summary>Fills <see cref="BlockRequest.Buffer"/> with <see cref="BlockExtent"/> records for the range.</summary>
    Extents,

    /// <summary>A hint that the range will be read soon.</summary>
    Cache,

    /// <summary>Makes the overlay hold the chunks of the range that it doesn't hold, as they are: their content doesn't change.</summary>
    CopyUp,

    /// <summary>Internal: gives back the space of chunks that an earlier generation left behind.</summary>
    Reclaim,
}

[Flags]
internal enum BlockFlags
{
    None = 0,

    /// <summary>Force unit access: the operation's own effect is on stable storage before it completes.</summary>
    ForceUnitAccess = 1,

    /// <summary>With WriteZeroes: the space stays (or becomes) reserved.</summary>
    NoHole = 2,
}

/// <summary>One run of the device as <see cref="BlockOperation.Extents"/> reports it.</summary>
/// <param name="ByteLength">Length in bytes, at least 1.</param>
/// <param name="Source">Where the run's content comes from.</param>
internal readonly record struct BlockExtent(long ByteLength, RunSource Source);

/// <summary>Where a run of bytes comes from.</summary>
internal enum RunSource
{
    /// <summary>The overlay holds it, at byte offset + shift.</summary>
    Data,

    /// <summary>The overlay says that it is zero: trimmed or zeroed.</summary>
    Zero,

    /// <summary>The origin holds it, at the same offset.</summary>
    Origin,

    /// <summary>Untouched, and a hole of the origin or beyond its end: zero.</summary>
    OriginHole,
}

/// <summary>
/// One operation on a device: a state machine that its owner allocates once and uses again and again. The owner fills in the public
/// properties and calls <see cref="Device.BlockDevice.Submit"/>; <see cref="OnCompleted"/> follows exactly once, after Submit has
/// returned.
/// </summary>
internal abstract class BlockRequest
{
    public BlockOperation Operation { get; set; }
    public BlockFlags Flags { get; set; }

    /// <summary>First byte of the range; any alignment.</summary>
    public long ByteOffset { get; set; }

    /// <summary>Length of the range in bytes; the range lies within the device.</summary>
    public long ByteLength { get; set; }

    /// <summary>
    /// Data to write, room for data read, or room for extents; the device's until completion, and page-aligned for direct I/O. May be
    /// memory that another process shares and changes at any time: the device reads each byte of it once, and touches it through
    /// <see cref="GuardedMemory"/> only.
    /// </summary>
    public nint Buffer { get; set; }

    /// <summary>For <see cref="BlockOperation.Extents"/>: how many records fit; afterwards, how many there are.</summary>
    public int ExtentCount { get; set; }

    /// <summary>0 or a negative errno. Called on the device's loop.</summary>
    protected internal abstract void OnCompleted(int result);

    /// <summary>
    /// Told of a run that reads as zeroes. A front end that can say so on its wire returns true and the buffer stays untouched there;
    /// otherwise the device fills in zeroes.
    /// </summary>
    protected internal virtual bool TryTakeZeroes(long byteOffset, long byteLength) => false;

    internal long End => ByteOffset + ByteLength;

    // The device's own state, from Submit to OnCompleted.
    internal bool Started;
    internal bool IsLocked;

    /// <summary>Queued in the exception store until a place is known, or for the loop's next turn.</summary>
    internal bool IsWaiting;
    internal int Outstanding;
    internal int Error;
    internal long LockStart, LockEnd;

    // The range locks' own (RangeLocks, RangeTree): what it holds or waits for, when it came, who waits for it, and its place among the
    // others.
    internal long HeldStart, HeldEnd, MaxEnd, Arrival, LockOrder, MinOrder;
    internal RequestQueue LockWaiters;
    internal BlockRequest? TreeParent, TreeLeft, TreeRight;
    internal int LockIndex, TreeHeight;
    internal RequestStage Stage;
    internal long Cursor, PieceStart, PieceEnd, BodyStart, BodyEnd;
    internal int FilledExtents;
    internal bool HeadBecomesData, TailBecomesData;
    internal NativeBuffer Scratch;

    /// <summary>A read inside failed, and now only what the request can't do without is read.</summary>
    internal bool ReadsOnlyNeeded;

    // The last operation on a blob that failed.
    internal IReadableBlob? FailedBlob;
    internal long FailedOffset, FailedLength;
    internal bool FailedToRead;

    // What the exception store has reserved: from which data chunk on, how many, and how many of them lie before PlaceChunk.
    internal long ReservedFrom, ReservedCount, ReservedBefore, PlaceChunk;

    /// <summary>Links the request into the one queue that it waits in.</summary>
    internal BlockRequest? Next;

    /// <summary>It is in a queue.</summary>
    internal bool IsQueued;

    /// <summary>From Submit to OnCompleted; for assertions alone.</summary>
    private bool _isSubmitted;

    internal bool CanGoOn => Outstanding == 0 && Error == 0 && !IsWaiting;

    internal bool IsWrite => Operation is BlockOperation.Write or BlockOperation.WriteZeroes or BlockOperation.Discard;

    internal bool NeedsExclusiveRange => IsWrite || Operation is BlockOperation.CopyUp or BlockOperation.Reclaim;

    [Conditional("DEBUG")]
    internal void AssertBegins()
    {
        Debug.Assert(!_isSubmitted, "a request is submitted once at a time");
        _isSubmitted = true;
    }

    [Conditional("DEBUG")]
    internal void AssertEnds()
    {
        Debug.Assert(_isSubmitted, "a request ends once");
        Debug.Assert(Outstanding == 0 && !IsQueued && !IsLocked, "a request that ends has nothing in flight, and holds and awaits nothing");
        _isSubmitted = false;
    }

    internal void ResetState()
    {
        Started = IsLocked = IsWaiting = HeadBecomesData = TailBecomesData = ReadsOnlyNeeded = false;
        FailedBlob = null;
        Outstanding = Error = 0;
        ReservedCount = 0;
        FilledExtents = 0;
        Cursor = ByteOffset;
        Stage = RequestStage.Next;
        Next = null;
    }
}

internal enum RequestStage
{
    /// <summary>Decide what to do at the cursor.</summary>
    Next,

    /// <summary>Read what the piece holds now into the scratch buffer.</summary>
    Fill,

    /// <summary>The scratch buffer is ready: merge the request's bytes into it.</summary>
    Merge,

    /// <summary>Write the scratch buffer.</summary>
    Store,

    /// <summary>Everything is written: tell the exception store.</summary>
    Record,
}

/// <summary>A first-in-first-out queue through <see cref="BlockRequest.Next"/>: waiting allocates nothing.</summary>
internal struct RequestQueue
{
    private BlockRequest? _head, _tail;

    public readonly bool IsEmpty => _head is null;

    public void Enqueue(BlockRequest request)
    {
        Debug.Assert(!request.IsQueued, "a request waits in one queue at a time");
        request.IsQueued = true;
        request.Next = null;
        if (_tail is null)
            _head = request;
        else
            _tail.Next = request;
        _tail = request;
    }

    /// <summary>As <see cref="Enqueue"/>, for a request that goes on when it is resumed, and does nothing until then.</summary>
    public void Wait(BlockRequest request)
    {
        request.IsWaiting = true;
        Enqueue(request);
    }

    /// <summary>Takes over all of another queue, behind its own.</summary>
    public void TakeAll(ref RequestQueue other)
    {
        if (other._head is null)
            return;
        if (_tail is null)
            _head = other._head;
        else
            _tail.Next = other._head;
        _tail = other._tail;
        other = default;
    }

    public BlockRequest? Dequeue()
    {
        var request = _head;
        if (request is null)
            return null;
        _head = request.Next;
        if (_head is null)
            _tail = null;
        request.Next = null;
        request.IsQueued = false;
        return request;
    }
}
