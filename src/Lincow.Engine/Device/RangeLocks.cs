using System.Diagnostics;
using System.Numerics;
using System.Runtime.Intrinsics;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Keeps overlapping requests apart, so that together they behave as some order of them: a range that changes is held alone, ranges that
/// are read are shared. Whoever meets a conflict waits, and nobody overtakes an earlier waiter that it conflicts with.
///
///     new --no conflict--> holds --release--> gone
///      |                     ^
///      +--conflict--> waits for one of those in its way --that one's release--> woken --none left--+
///                      ^                                                          |
///                      +----------------------- another is in its way ------------+
///
/// Requests in flight mostly number tens, so the first 64 of those that hold lie in two arrays that are scanned, which beats any tree. The
/// rest, and all that wait, lie in two trees: clients may have millions in flight, and each costs a few searches of a tree.
///
/// Invariants: in the trees, a request that holds its range has the order number 0, one that waits has the number of its arrival; so what
/// is in anybody's way is what overlaps with a lower number. Each waiter is in the queue of one request that is in its way, or among the
/// woken.
/// </summary>
internal sealed class RangeLocks
{
    private readonly HeldSet _readers = new(), _writers = new();
    private readonly RangeTree _moreReaders = new(), _moreWriters = new();
    private RequestQueue _woken;
    private long _lastOrder;

    public bool IsIdle => _readers.Count == 0 && _writers.Count == 0 && _moreReaders.IsEmpty && _moreWriters.IsEmpty;

    /// <summary>Nodes of the trees that were looked at.</summary>
    public long Visits => _moreReaders.Visits + _moreWriters.Visits;

    /// <summary>There are waiters for whom something has changed: <see cref="WakeOne"/> goes through them.</summary>
    public bool HasWoken => !_woken.IsEmpty;

    /// <summary>
    /// Takes [LockStart, LockEnd) for the request, or has it wait; <see cref="WakeOne"/> hands it out later, and then it holds what it
    /// asked for. If it has come to need more by then, it gives that back here and asks anew, with its old place in the line.
    /// </summary>
    public bool TryAcquire(BlockRequest request)
    {
        if (request.IsLocked)
        {
            // mutation: range-that-grew-is-kept
            if (request.LockStart >= request.HeldStart && request.LockEnd <= request.HeldEnd)
                return true;
            Release(request);
            request.LockOrder = request.Arrival;
        }
        else
        {
            request.LockOrder = request.Arrival = ++_lastOrder;
        }
        (request.HeldStart, request.HeldEnd) = (request.LockStart, request.LockEnd);
        // mutation: no-range-locks, real-no-range-locks
        var blocker = FindBlocker(request);
        if (blocker is not null)
        {
            TreeOf(request).Add(request);
            blocker.LockWaiters.Enqueue(request);
            return false;
        }
        request.IsLocked = true;
        if ((request.NeedsExclusiveRange ? _writers : _readers).TryAdd(request))
            return true;
        (request.LockIndex, request.LockOrder) = (-1, 0);
        TreeOf(request).Add(request);
        return true;
    }

    /// <summary>Gives the range back, and wakes those who waited for this request.</summary>
    public void Release(BlockRequest request)
    {
        Debug.Assert(request.IsLocked, "a range is given back by who holds it, once");
        if (request.LockIndex >= 0)
            (request.NeedsExclusiveRange ? _writers : _readers).Remove(request);
        else
            TreeOf(request).Remove(request);
        request.IsLocked = false;
        _woken.TakeAll(ref request.LockWaiters);
    }

    /// <summary>Looks at one of the woken. Returns it if it holds its range now, null if another is in its way.</summary>
    public BlockRequest? WakeOne()
    {
        var request = _woken.Dequeue()!;
        if (FindBlocker(request) is { } blocker)
        {
            blocker.LockWaiters.Enqueue(request);
            return null;
        }
        Debug.Assert(!request.IsLocked && request.LockOrder == request.Arrival, "who is woken has waited, with its number in the line");
        (request.IsLocked, request.LockIndex, request.LockOrder) = (true, -1, 0);
        TreeOf(request).Renumbered(request);
        return request;
    }

    private RangeTree TreeOf(BlockRequest request) => request.NeedsExclusiveRange ? _moreWriters : _moreReaders;

    private BlockRequest? FindBlocker(BlockRequest request)
    {
        var (start, end, order) = (request.HeldStart, request.HeldEnd, request.LockOrder);
        // mutation: waiters-overtaken
        var result = _writers.Find(start, end) ?? _moreWriters.Find(start, end, order);
        if (result is null && request.NeedsExclusiveRange)
            result = _readers.Find(start, end) ?? _moreReaders.Find(start, end, order);
        return result;
    }

    /// <summary>A few ranges that are held.</summary>
    private sealed class HeldSet
    {
        /// <summary>Where a scan takes as long as a search of a tree.</summary>
        private const int Capacity = 64;

        private readonly long[] _starts = new long[Capacity], _ends = new long[Capacity];
        private readonly BlockRequest[] _owners = new BlockRequest[Capacity];

        public int Count { get; private set; }

        public BlockRequest? Find(long start, long end)
        {
            // Four at a time. What lies behind the last has no length, so it overlaps nothing.
            var (wantedStart, wantedEnd) = (Vector256.Create(start), Vector256.Create(end));
            // mutation: locks-four-at-a-time-forget-the-rest
            for (var i = 0; i < Count; i += Vector256<long>.Count)
            {
                var starts = Vector256.LoadUnsafe(ref _starts[i]);
                var ends = Vector256.LoadUnsafe(ref _ends[i]);
                var overlaps = Vector256.LessThan(starts, wantedEnd) & Vector256.LessThan(wantedStart, ends);
                if (overlaps != Vector256<long>.Zero)
                    return _owners[i + BitOperations.TrailingZeroCount(overlaps.ExtractMostSignificantBits())];
            }
            return null;
        }

        public bool TryAdd(BlockRequest request)
        {
            if (Count == Capacity)
                return false;
            request.LockIndex = Count;
            (_starts[Count], _ends[Count], _owners[Count]) = (request.HeldStart, request.HeldEnd, request);
            Count++;
            return true;
        }

        public void Remove(BlockRequest request)
        {
            var last = --Count;
            var index = request.LockIndex;
            (_starts[index], _ends[index], _owners[index]) = (_starts[last], _ends[last], _owners[last]);
            _owners[index].LockIndex = index;
            _owners[last] = null!;
            _starts[last] = _ends[last] = 0;
        }
    }
}
