using System.Collections.Concurrent;
using Lincow.Device;
using Lincow.Linux;

namespace Lincow;

/// <summary>
/// What an open overlay has been asked for from any thread, and how that gets to its loop. Calls are used again, their bytes go through
/// native buffers of the loop, and both are bounded: a steady load allocates nothing, and a hundred thousand calls at once take no more
/// memory than a few. Whoever closes waits here until the last call has ended.
/// </summary>
internal sealed class OverlayCalls
{
    /// <summary>
    /// Native memory of all calls together; beyond it, calls wait for their turn. A chunk of the largest size, which is written as one,
    /// fits.
    /// </summary>
    private const long MaxBufferBytes = 64 << 20;

    /// <summary>Calls that are kept for the next ones.</summary>
    private const int MaxIdleCalls = 256;

    private readonly ConcurrentQueue<OverlayCall> _idle = new();
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Queue<(OverlayCall Call, long ByteCount)> _waiting = new();
    private readonly IoLoop _loop;
    private bool _isResuming;

    /// <summary>Calls that have not ended, and 1 while the overlay is open.</summary>
    private long _count = 1;
    private int _isClosing;

    public OverlayCalls(CowDevice device, IoLoop loop, string name, Func<string?> failedBecause)
    {
        (Device, _loop, Name, FailedBecause) = (device, loop, name, failedBecause);
        PieceBytes = Math.Max(1 << 20, device.Geometry.ChunkBytes);
    }

    public CowDevice Device { get; }

    public string Name { get; }

    public Func<string?> FailedBecause { get; }

    /// <summary>
    /// What one request reads or writes at most, a power of two in bytes: 1 MiB, or a chunk where chunks are larger, so that each is copied
    /// up at most once.
    /// </summary>
    public long PieceBytes { get; }

    /// <summary>Native memory that is lent to calls; on the loop's thread.</summary>
    public long BufferBytes { get; private set; }

    /// <summary>A call that may start. Throws <see cref="ObjectDisposedException"/> once the overlay is being closed.</summary>
    public OverlayCall Enter()
    {
        Join();
        return _idle.TryDequeue(out var call) ? call : new OverlayCall(this);
    }

    /// <summary>Counts something that is not a call and ends with <see cref="Leave"/>.</summary>
    public void Join()
    {
        Interlocked.Increment(ref _count);
        if (Volatile.Read(ref _isClosing) == 0)
            return;
        Leave();
        throw new ObjectDisposedException(nameof(Overlay), $"{Name}: has been closed");
    }

    /// <summary>One of those that were counted has ended.</summary>
    public void Leave()
    {
        if (Interlocked.Decrement(ref _count) == 0)
            _drained.TrySetResult();
    }

    public void Post(Action action) => _loop.Post(action);

    /// <summary>Its caller has its result, and nothing of it is in flight.</summary>
    public void Recycle(OverlayCall call)
    {
        if (_idle.Count < MaxIdleCalls)
            _idle.Enqueue(call);
    }

    /// <summary>Lets nobody in any more. Ends when nobody is left.</summary>
    public Task CloseAsync()
    {
        if (Interlocked.Exchange(ref _isClosing, 1) == 0)
            Leave();
        return _drained.Task;
    }

    /// <summary>
    /// A buffer, on the loop's thread; an empty one, where the system has no memory. False when the call has to wait for one, and is
    /// resumed with it, after those who wait already.
    /// </summary>
    public bool TryRent(OverlayCall call, long byteCount, out NativeBuffer buffer)
    {
        buffer = default;
        // mutation: library-buffers-unbounded
        if (_waiting.Count > 0 || !HasRoomFor(byteCount))
        {
            _waiting.Enqueue((call, byteCount));
            return false;
        }
        buffer = Rent(byteCount);
        return true;
    }

    /// <summary>Gives a buffer back, on the loop's thread, to those who wait.</summary>
    public void Return(NativeBuffer buffer)
    {
        _loop.Buffers.Return(buffer);
        BufferBytes -= buffer.SizeBytes;
        // Those who are resumed may return theirs before they come back.
        if (_isResuming)
            return;
        _isResuming = true;
        while (_waiting.TryPeek(out var next) && HasRoomFor(next.ByteCount))
        {
            _waiting.Dequeue();
            next.Call.Resume(Rent(next.ByteCount));
        }
        _isResuming = false;
    }

    private bool HasRoomFor(long byteCount) => BufferBytes == 0 || BufferBytes + BufferPool.SizeFor(byteCount) <= MaxBufferBytes;

    private NativeBuffer Rent(long byteCount)
    {
        if (_loop.Buffers.TryRent(byteCount, out var buffer))
            BufferBytes += buffer.SizeBytes;
        return buffer;
    }
}
