using System.Runtime.Intrinsics;

namespace Lincow.Device;

/// <summary>
/// Keeps overlapping requests apart, so that together they behave as some order of them: a range that changes is held alone, ranges that are
/// read are shared. Whoever meets a conflict waits, and nobody overtakes an earlier waiter that it conflicts with.
///
/// Requests in flight number tens, so a scan of two arrays beats any tree; a load of reads alone scans nothing.
/// </summary>
internal sealed class RangeLocks
{
    private readonly ActiveSet _readers = new(), _writers = new();
    private readonly List<BlockRequest> _waiting = new(64);

    public bool IsIdle => _readers.Count == 0 && _writers.Count == 0 && _waiting.Count == 0;

    /// <summary>Takes [LockStart, LockEnd) for the request, or queues it; <see cref="Release"/> of another hands it back later.</summary>
    public bool TryAcquire(BlockRequest request)
    {
        if (ConflictsWithActive(request) || (_waiting.Count > 0 && ConflictsWithEarlierWaiter(request, _waiting.Count)))
        {
            InsertByTicket(request);
            return false;
        }
        (request.NeedsExclusiveRange ? _writers : _readers).Add(request);
        request.IsLocked = true;
        return true;
    }

    /// <summary>Gives the range back and moves every waiter that may go on into <paramref name="runnable"/>, earliest first.</summary>
    public void Release(BlockRequest request, ref RequestQueue runnable)
    {
        (request.NeedsExclusiveRange ? _writers : _readers).Remove(request);
        request.IsLocked = false;
        for (var i = 0; i < _waiting.Count; i++)
        {
            var waiter = _waiting[i];
            if (ConflictsWithActive(waiter) || ConflictsWithEarlierWaiter(waiter, i) || ConflictsWithRunnable(waiter, runnable.Head))
                continue;
            _waiting.RemoveAt(i--);
            runnable.Enqueue(waiter);
        }
    }

    private bool ConflictsWithActive(BlockRequest request) =>
        _writers.Overlaps(request.LockStart, request.LockEnd)
        || (request.NeedsExclusiveRange && _readers.Overlaps(request.LockStart, request.LockEnd));

    private bool ConflictsWithEarlierWaiter(BlockRequest request, int count)
    {
        for (var i = 0; i < count; i++)
        {
            var waiter = _waiting[i];
            if (waiter.Ticket >= request.Ticket)
                return false;
            if (Conflict(waiter, request))
                return true;
        }
        return false;
    }

    // Those that may go on have not taken their ranges yet.
    private static bool ConflictsWithRunnable(BlockRequest request, BlockRequest? runnable)
    {
        for (; runnable is not null; runnable = runnable.Next)
        {
            if (Conflict(runnable, request))
                return true;
        }
        return false;
    }

    private static bool Conflict(BlockRequest one, BlockRequest other) =>
        (one.NeedsExclusiveRange || other.NeedsExclusiveRange) && one.LockStart < other.LockEnd && other.LockStart < one.LockEnd;

    private void InsertByTicket(BlockRequest request)
    {
        var index = _waiting.Count;
        while (index > 0 && _waiting[index - 1].Ticket > request.Ticket)
            index--;
        _waiting.Insert(index, request);
    }

    private sealed class ActiveSet
    {
        private long[] _starts = new long[64], _ends = new long[64];
        private BlockRequest[] _owners = new BlockRequest[64];

        public int Count { get; private set; }

        public bool Overlaps(long start, long end)
        {
            // Four at a time. What lies behind the last has no length, so it overlaps nothing.
            var (wantedStart, wantedEnd) = (Vector256.Create(start), Vector256.Create(end));
            for (var i = 0; i < Count; i += Vector256<long>.Count)
            {
                var starts = Vector256.LoadUnsafe(ref _starts[i]);
                var ends = Vector256.LoadUnsafe(ref _ends[i]);
                if ((Vector256.LessThan(starts, wantedEnd) & Vector256.LessThan(wantedStart, ends)) != Vector256<long>.Zero)
                    return true;
            }
            return false;
        }

        public void Add(BlockRequest request)
        {
            if (Count == _starts.Length)
            {
                Array.Resize(ref _starts, Count * 2);
                Array.Resize(ref _ends, Count * 2);
                Array.Resize(ref _owners, Count * 2);
            }
            request.LockIndex = Count;
            (_starts[Count], _ends[Count], _owners[Count]) = (request.LockStart, request.LockEnd, request);
            Count++;
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
