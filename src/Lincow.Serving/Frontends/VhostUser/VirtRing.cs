using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>Where a ring lies and how it was negotiated. Addresses are here, checked for the ring's whole length.</summary>
/// <param name="Entries">The number of descriptors.</param>
/// <param name="Table">The descriptor table, or the packed ring itself.</param>
/// <param name="Driver">The available ring, or the driver's event suppression.</param>
/// <param name="Device">The used ring, or the device's event suppression.</param>
/// <param name="Inflight">The queue's region of the in-flight memory; 0 without one.</param>
internal readonly record struct RingPlace(int Entries, nint Table, nint Driver, nint Device, bool HasIndirect, bool HasEventIndex,
    nint Inflight);

/// <summary>
/// A virtqueue as the device sees it. Takes requests off it and gives them back, says when the other side wants to hear of it, and keeps
/// the record of what is in flight. Nothing that the ring says is believed before it has been checked; a broken rule is a
/// <see cref="VhostException"/>.
/// </summary>
internal abstract class VirtRing(RingPlace place)
{
    protected RingPlace Place { get; } = place;

    /// <summary>What a stop tells the front end, and what a start is told (SET_VRING_BASE).</summary>
    public abstract uint Base { get; }

    /// <summary>Takes the next request, first of those that a predecessor left in flight. False when there is none.</summary>
    public abstract bool TryTake(DescriptorChain chain);

    /// <summary>Gives a request back.</summary>
    /// <param name="writtenBytes">From the start of what the device may write.</param>
    public abstract void Give(int id, int ringEntries, int inflightEntry, uint writtenBytes);

    /// <summary>The driver needn't kick while requests are being taken anyway.</summary>
    public abstract void SuppressKicks();

    /// <summary>Asks for a kick with the next request. True when one has come meanwhile.</summary>
    public abstract bool AskForKick();

    /// <summary>Whether the driver wants to be called for what was given back since it was asked last.</summary>
    public abstract bool ShouldCall();

    public static VirtRing Create(RingPlace place, bool isPacked, uint ringBase) =>
        isPacked ? new PackedRing(place, ringBase) : new SplitRing(place, ringBase);

    /// <summary>Whether the step from old to new passes the event that the other side waits for (virtio 1.2, section 2.7.10).</summary>
    protected static bool Passes(int wanted, int now, int before) => (ushort)(now - wanted - 1) < (ushort)(now - before);

    /// <summary>Orders what is in shared memory: all before this is seen before all that follows.</summary>
    protected static void Fence() => Interlocked.MemoryBarrier();
}

/// <summary>
/// The split kind (virtio 1.2, section 2.7), and its record of requests in flight ("Inflight I/O tracking"):
///
///     taken    desc[head].counter = n, then desc[head].inflight = 1
///     given    last_batch_head = head; used.idx + 1; desc[head].inflight = 0; used_idx = used.idx
///
/// So after a crash only the last request can be in doubt, and the index of the used ring decides it.
/// </summary>
internal sealed class SplitRing : VirtRing
{
    private const ushort NoNotify = 1, NoInterrupt = 1;
    private const int InflightVersion = 8, InflightCount = 10, InflightBatch = 12, InflightUsed = 14, InflightHead = 16, InflightEntry = 16,
        EntryCounter = 8;

    private readonly int _mask;
    private readonly Queue<int> _left = new();
    private ushort _takenIndex, _availableIndex, _usedIndex, _calledIndex, _usedFlags;
    private ulong _counter;

    public SplitRing(RingPlace place, uint ringBase)
        : base(place)
    {
        _mask = place.Entries - 1;
        _usedIndex = SharedFields.Load16(place.Device + 2);
        _takenIndex = (ushort)ringBase;
        if (place.Inflight != 0)
            Resume();
        _availableIndex = _takenIndex;
        _calledIndex = _usedIndex;
    }

    public override uint Base => _takenIndex;

    /// <summary>Bytes of the available and the used ring.</summary>
    public static (ulong Driver, ulong Device) AreaBytes(int entries) => (6 + 2 * (ulong)entries, 6 + 8 * (ulong)entries);

    public override bool TryTake(DescriptorChain chain)
    {
        if (_left.TryDequeue(out var head))
        {
            Walk(head, chain);
            return true;
        }
        if (_takenIndex == _availableIndex)
        {
            _availableIndex = SharedFields.Load16(Place.Driver + 2);
            if (_takenIndex == _availableIndex)
                return false;
            if ((ushort)(_availableIndex - _takenIndex) > Place.Entries)
                throw new VhostException($"the driver's index went from {_takenIndex} to {_availableIndex} in a ring of {Place.Entries}");
            Fence();
        }
        head = SharedFields.Load16(Place.Driver + 4 + 2 * (_takenIndex & _mask));
        // mutation: ring-head-believed
        if (head >= Place.Entries)
            throw new VhostException($"a request begins at descriptor {head} of {Place.Entries}");
        Walk(head, chain);
        if (Place.Inflight != 0)
        {
            var entry = Entry(head);
            SharedFields.Store64(entry + EntryCounter, _counter++);
            Fence();
            SharedFields.Store8(entry, 1);
            Fence();
        }
        _takenIndex++;
        return true;
    }

    public override void Give(int id, int ringEntries, int inflightEntry, uint writtenBytes)
    {
        SharedFields.Store64(Place.Device + 4 + 8 * (_usedIndex & _mask), (uint)id | (ulong)writtenBytes << 32);
        if (Place.Inflight != 0)
            SharedFields.Store16(Place.Inflight + InflightBatch, (ushort)id);
        Fence();
        _usedIndex++;
        SharedFields.Store32(Place.Device, _usedFlags | (uint)_usedIndex << 16);
        if (Place.Inflight == 0)
            return;
        Fence();
        // mutation: real-request-done-twice
        SharedFields.Store8(Entry(id), 0);
        Fence();
        SharedFields.Store16(Place.Inflight + InflightUsed, _usedIndex);
    }

    public override void SuppressKicks()
    {
        // With the event index, not to ask is enough.
        if (!Place.HasEventIndex)
            SetUsedFlags(NoNotify);
    }

    public override bool AskForKick()
    {
        if (Place.HasEventIndex)
            // mutation: kick-not-asked-for
            SharedFields.Store16(Place.Device + 4 + 8 * Place.Entries, _takenIndex);
        else
            SetUsedFlags(0);
        Fence();
        return SharedFields.Load16(Place.Driver + 2) != _takenIndex;
    }

    public override bool ShouldCall()
    {
        Fence();
        var before = _calledIndex;
        _calledIndex = _usedIndex;
        if (before == _usedIndex)
            return false;
        return Place.HasEventIndex
            ? Passes(SharedFields.Load16(Place.Driver + 4 + 2 * Place.Entries), _usedIndex, before)
            : (SharedFields.Load16(Place.Driver) & NoInterrupt) == 0;
    }

    private void SetUsedFlags(ushort flags)
    {
        if (_usedFlags == flags)
            return;
        _usedFlags = flags;
        SharedFields.Store32(Place.Device, _usedFlags | (uint)_usedIndex << 16);
    }

    private nint Entry(int head) => Place.Inflight + InflightHead + InflightEntry * head;

    private unsafe void Walk(int head, DescriptorChain chain)
    {
        chain.Clear();
        chain.Id = head;
        var index = head;
        for (var steps = 0; ; steps++)
        {
            // mutation: ring-loop-walked
            if (steps == Place.Entries)
                throw new VhostException($"the request at descriptor {head} goes round in circles");
            Descriptor descriptor;
            GuardedMemory.Copy(Place.Table + index * VhostProtocol.DescriptorBytes, (nint)(&descriptor), VhostProtocol.DescriptorBytes);
            var flags = descriptor.First;
            if ((flags & VhostProtocol.DescriptorIndirect) != 0)
            {
                if (!Place.HasIndirect || (flags & VhostProtocol.DescriptorNext) != 0)
                    throw new VhostException("an indirect descriptor that was not agreed on, or goes on");
                chain.AddIndirect(descriptor.Address, descriptor.Length, isPacked: false);
                return;
            }
            chain.Add(descriptor.Address, descriptor.Length, (flags & VhostProtocol.DescriptorWrite) != 0);
            if ((flags & VhostProtocol.DescriptorNext) == 0)
                return;
            index = descriptor.Second;
            if (index >= Place.Entries)
                throw new VhostException($"the request at descriptor {head} goes on at {index} of {Place.Entries}");
        }
    }

    // "When reconnecting": what a predecessor took and never gave back is taken again, in its order.
    private void Resume()
    {
        if (SharedFields.Load16(Place.Inflight + InflightVersion) == 0)
        {
            SharedFields.Store16(Place.Inflight + InflightCount, (ushort)Place.Entries);
            SharedFields.Store16(Place.Inflight + InflightUsed, _usedIndex);
            Fence();
            SharedFields.Store16(Place.Inflight + InflightVersion, 1);
            return;
        }
        if (SharedFields.Load16(Place.Inflight + InflightUsed) != _usedIndex)
        {
            var last = SharedFields.Load16(Place.Inflight + InflightBatch);
            if (last < Place.Entries)
                SharedFields.Store8(Entry(last), 0);
            Fence();
            SharedFields.Store16(Place.Inflight + InflightUsed, _usedIndex);
        }
        var left = new List<(ulong Counter, int Head)>();
        for (var head = 0; head < Place.Entries; head++)
        {
            if (SharedFields.Load8(Entry(head)) == 1)
                left.Add((SharedFields.Load64(Entry(head) + EntryCounter), head));
        }
        left.Sort();
        foreach (var (counter, head) in left)
        {
            _counter = counter + 1;
            _left.Enqueue(head);
        }
        _takenIndex = (ushort)(_usedIndex + left.Count);
    }
}
