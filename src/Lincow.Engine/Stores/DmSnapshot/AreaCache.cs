using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// The areas of a store that were last looked at, read on demand, at most so many: where the kernel keeps one area and every exception in
/// memory, this keeps a bound. The oldest that hasn't been used since the hand came by goes first (the clock algorithm).
/// </summary>
internal sealed unsafe class AreaCache
{
    /// <summary>Areas being read at once.</summary>
    private const int MaxLoads = 16;

    private readonly IBlob _blob;
    private readonly SnapshotLayout _layout;
    private readonly BufferPool _buffers;
    private readonly Dictionary<long, int> _slots;
    private readonly Slot[] _ring;
    private readonly List<AreaLoad> _loads = [];
    private readonly Stack<AreaLoad> _idle = [];
    private readonly Action<BlockRequest> _resume;
    private RequestQueue _waiting;
    private int _used, _hand, _loadCount;

    /// <param name="blob">The store.</param>
    /// <param name="layout">Where its areas are.</param>
    /// <param name="buffers">The loop's.</param>
    /// <param name="capacityBytes">What the areas may take together; one area at least.</param>
    /// <param name="resume">Called with a request whose area has come, or with its error set.</param>
    public AreaCache(IBlob blob, SnapshotLayout layout, BufferPool buffers, long capacityBytes, Action<BlockRequest> resume)
    {
        (_blob, _layout, _buffers, _resume) = (blob, layout, buffers, resume);
        // A buffer takes a page at least, however small the area.
        // mutation: areas-without-bound
        Capacity = (int)Math.Clamp(capacityBytes / BufferPool.SizeFor(layout.ChunkBytes), 1, 1 << 20);
        _slots = new Dictionary<long, int>(Math.Min(Capacity, 4096));
        _ring = new Slot[Capacity];
    }

    /// <summary>Areas at most.</summary>
    public int Capacity { get; }

    /// <summary>The device's, to be told what loads cost.</summary>
    public TurnWork? Turns { get; set; }

    public long Hits { get; private set; }

    public long Misses { get; private set; }

    public bool IsIdle => _loads.Count == 0;

    /// <summary>An area's bytes if they are here: good until the next call of anything here.</summary>
    public ReadOnlySpan<byte> Find(long area)
    {
        if (!_slots.TryGetValue(area, out var index))
            return default;
        Hits++;
        _ring[index].WasUsed = true;
        return Bytes(_ring[index].Buffer);
    }

    /// <summary>
    /// Has an area read; the request is resumed when it is there, or with its error set. Without memory for it the error is set at once.
    /// </summary>
    public void Load(long area, BlockRequest request)
    {
        Misses++;
        Turns?.Spend(1);
        foreach (var load in _loads)
        {
            if (load.Area != area)
                continue;
            load.Waiters.Wait(request);
            return;
        }
        if (!_idle.TryPop(out var idle))
        {
            if (_loadCount == MaxLoads)
            {
                _waiting.Wait(request);
                return;
            }
            // Made when it is needed first: of a thousand stores few ever need all.
            idle = new AreaLoad(this);
            _loadCount++;
        }
        if (!idle.TryTakeBuffer())
        {
            _idle.Push(idle);
            request.Error = -Errno.NoMemory;
            return;
        }
        _loads.Add(idle);
        idle.Waiters.Wait(request);
        idle.Start(area);
        Turns?.Spend(TurnWork.UnitsPerCall);
    }

    /// <summary>Reads an area now: for the control plane. 0 or a negative errno.</summary>
    public int LoadNow(long area)
    {
        Misses++;
        var buffer = _buffers.Rent(_layout.ChunkBytes);
        var result = _blob.ReadNow(_layout.AreaOffset(area), buffer, _layout.ChunkBytes);
        if (result == 0)
            Insert(area, buffer);
        else
            _buffers.Return(buffer);
        return result;
    }

    /// <summary>Takes an area's buffer over.</summary>
    public void Insert(long area, NativeBuffer buffer)
    {
        if (_slots.ContainsKey(area))
        {
            _buffers.Return(buffer);
            return;
        }
        var index = _used < Capacity ? _used++ : Evict();
        _slots.Add(area, index);
        _ring[index] = new Slot { Area = area, Buffer = buffer, WasUsed = true };
    }

    public void Clear()
    {
        foreach (var slot in _ring.AsSpan(0, _used))
            _buffers.Return(slot.Buffer);
        _slots.Clear();
        _used = _hand = 0;
    }

    private int Evict()
    {
        while (true)
        {
            var index = _hand;
            _hand = (_hand + 1) % Capacity;
            ref var slot = ref _ring[index];
            if (!slot.WasUsed)
            {
                _slots.Remove(slot.Area);
                _buffers.Return(slot.Buffer);
                return index;
            }
            slot.WasUsed = false;
        }
    }

    private ReadOnlySpan<byte> Bytes(NativeBuffer buffer) => new((void*)buffer.Address, _layout.ChunkBytes);

    private void Loaded(AreaLoad load, int result)
    {
        _loads.Remove(load);
        _idle.Push(load);
        if (result == 0)
            Insert(load.Area, load.TakeBuffer());
        else
            _buffers.Return(load.TakeBuffer());
        var waiters = load.Waiters;
        load.Waiters = default;
        while (waiters.Dequeue() is { } waiter)
        {
            if (result < 0)
                waiter.Error = result;
            _resume(waiter);
        }
        ResumeWaiting();
    }

    /// <summary>
    /// Resumes those that wait for one of the few loads, one at least; in a spent turn more of them would only change one queue for
    /// another.
    /// </summary>
    public void ResumeWaiting()
    {
        while (_idle.Count > 0 && _waiting.Dequeue() is { } next)
        {
            _resume(next);
            // mutation: area-waiters-all-at-once
            if (Turns is { IsSpent: true })
                return;
        }
    }

    private struct Slot
    {
        public long Area;
        public NativeBuffer Buffer;
        public bool WasUsed;
    }

    private sealed class AreaLoad(AreaCache cache) : BlobOperation
    {
        public RequestQueue Waiters;
        private NativeBuffer _buffer;

        public long Area { get; private set; }

        public bool TryTakeBuffer() => cache._buffers.TryRent(cache._layout.ChunkBytes, out _buffer);

        public void Start(long area)
        {
            Area = area;
            cache._blob.Read(cache._layout.AreaOffset(area), _buffer.Address, cache._layout.ChunkBytes, this);
        }

        public NativeBuffer TakeBuffer()
        {
            var buffer = _buffer;
            _buffer = default;
            return buffer;
        }

        public override void End(int result) => cache.Loaded(this, result);
    }
}
