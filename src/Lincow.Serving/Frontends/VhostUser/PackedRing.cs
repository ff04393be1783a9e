using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// The packed kind (virtio 1.2, section 2.8): one ring, in which the driver makes descriptors available and the device overwrites them with
/// used ones, each side with a wrap counter that turns at the ring's end.
/// </summary>
internal sealed class PackedRing : VirtRing
{
    /// <summary>Event suppression (virtio 1.2, section 2.8.10).</summary>
    private const ushort EventEnable = 0, EventDisable = 1, EventIndex = 2;

    private readonly PackedInflight? _inflight;
    private readonly Queue<int> _left = new();
    private int _takenIndex, _usedIndex, _calledIndex;
    private bool _takenWrap, _usedWrap, _canCompare;

    public PackedRing(RingPlace place, uint ringBase)
        : base(place)
    {
        (_takenIndex, _takenWrap) = ((int)(ringBase & 0x7fff), (ringBase & 0x8000) != 0);
        // User-mode Linux says 0 of a new ring and means its beginning, where the counter is 1. A ring that has come round to 0 has a last
        // descriptor that was made available in the round before, where the counter was 1.
        if ((ushort)ringBase == 0 && (SharedFields.Load32(place.Table + (place.Entries - 1) * VhostProtocol.DescriptorBytes + 12) >> 16
            & VhostProtocol.PackedAvailable) == 0)
            _takenWrap = true;
        (_usedIndex, _usedWrap) = (_takenIndex, _takenWrap);
        if (_takenIndex >= place.Entries)
            throw new VhostException($"the ring is to begin at descriptor {_takenIndex} of {place.Entries}");
        if (place.Inflight == 0)
            return;
        _inflight = new PackedInflight(place.Inflight, place.Entries);
        _inflight.Resume(_left, place.Table, ref _usedIndex, ref _usedWrap, out var taken);
        (_takenIndex, _takenWrap) = Forward(_usedIndex, _usedWrap, taken);
    }

    public override uint Base => (uint)(_takenIndex | (_takenWrap ? 0x8000 : 0)) | (uint)(_usedIndex | (_usedWrap ? 0x8000 : 0)) << 16;

    public override bool TryTake(DescriptorChain chain)
    {
        if (_left.TryDequeue(out var entry))
        {
            _inflight!.Walk(entry, chain, Place.HasIndirect);
            return true;
        }
        if (!IsAvailable())
            return false;
        Fence();
        Walk(chain);
        (_takenIndex, _takenWrap) = Forward(_takenIndex, _takenWrap, chain.RingEntries);
        return true;
    }

    public override void Give(int id, int ringEntries, int inflightEntry, uint writtenBytes)
    {
        var flags = (_usedWrap ? VhostProtocol.PackedAvailable | VhostProtocol.PackedUsed : 0)
            | (writtenBytes > 0 ? VhostProtocol.DescriptorWrite : 0);
        var at = Place.Table + _usedIndex * VhostProtocol.DescriptorBytes;
        var (next, wrap) = Forward(_usedIndex, _usedWrap, ringEntries);
        _inflight?.BeginGive(inflightEntry, next, wrap);
        SharedFields.Store32(at + 8, writtenBytes);
        Fence();
        SharedFields.Store32(at + 12, (ushort)id | (uint)flags << 16);
        Fence();
        _inflight?.EndGive(inflightEntry);
        if (wrap != _usedWrap)
            _canCompare = false;
        (_usedIndex, _usedWrap) = (next, wrap);
    }

    public override void SuppressKicks() => SharedFields.Store32(Place.Device, (uint)EventDisable << 16);

    public override bool AskForKick()
    {
        SharedFields.Store32(Place.Device, Place.HasEventIndex ? (uint)(_takenIndex | (_takenWrap ? 0x8000 : 0)) | (uint)EventIndex << 16
            : (uint)EventEnable << 16);
        Fence();
        return IsAvailable();
    }

    public override bool ShouldCall()
    {
        Fence();
        var (before, canCompare) = (_calledIndex, _canCompare);
        if (canCompare && before == _usedIndex)
            return false;
        (_calledIndex, _canCompare) = (_usedIndex, true);
        var wanted = SharedFields.Load32(Place.Driver);
        if (wanted >> 16 != EventIndex || !Place.HasEventIndex)
            return wanted >> 16 != EventDisable;
        var index = (int)(wanted & 0x7fff);
        if ((wanted & 0x8000) != 0 != _usedWrap)
            index -= Place.Entries;
        return !canCompare || Passes(index, _usedIndex, before);
    }

    private bool IsAvailable()
    {
        var flags = SharedFields.Load32(Place.Table + _takenIndex * VhostProtocol.DescriptorBytes + 12) >> 16;
        return (flags & VhostProtocol.PackedAvailable) != 0 == _takenWrap && (flags & VhostProtocol.PackedUsed) != 0 != _takenWrap;
    }

    private (int Index, bool Wrap) Forward(int index, bool wrap, int count)
    {
        index += count;
        return index >= Place.Entries ? (index - Place.Entries, !wrap) : (index, wrap);
    }

    private unsafe void Walk(DescriptorChain chain)
    {
        chain.Clear();
        var index = _takenIndex;
        _inflight?.Begin();
        while (true)
        {
            if (chain.RingEntries == Place.Entries)
                throw new VhostException($"the request at descriptor {_takenIndex} is longer than its ring");
            Descriptor descriptor;
            GuardedMemory.Copy(Place.Table + index * VhostProtocol.DescriptorBytes, (nint)(&descriptor), VhostProtocol.DescriptorBytes);
            chain.RingEntries++;
            _inflight?.Note(descriptor);
            var isLast = Take(descriptor, chain, Place.HasIndirect);
            if (isLast)
                break;
            if (++index == Place.Entries)
                index = 0;
        }
        chain.InflightEntry = _inflight?.End() ?? -1;
    }

    /// <summary>Adds one descriptor of the ring to a request; true when it is the last, which has the id.</summary>
    public static bool Take(in Descriptor descriptor, DescriptorChain chain, bool hasIndirect)
    {
        var flags = descriptor.Second;
        chain.Id = descriptor.First;
        if ((flags & VhostProtocol.DescriptorIndirect) == 0)
        {
            chain.Add(descriptor.Address, descriptor.Length, (flags & VhostProtocol.DescriptorWrite) != 0);
            return (flags & VhostProtocol.DescriptorNext) == 0;
        }
        if (!hasIndirect || (flags & VhostProtocol.DescriptorNext) != 0)
            throw new VhostException("an indirect descriptor that was not agreed on, or goes on");
        chain.AddIndirect(descriptor.Address, descriptor.Length, isPacked: true);
        return true;
    }
}

/// <summary>
/// The record of a packed ring's requests in flight ("Inflight I/O tracking", QueueRegionPacked). Used descriptors overwrite available ones
/// in any order, so the record keeps a copy of every descriptor, in entries that are linked to one free list and one list for each request:
///
///     taken    entries from the free list, at free_head, are filled; the first is marked; then old_free_head = free_head
///     given    the request's entries go in front of the free list; free_head and used_idx change; the ring's descriptor is written; the
/// mark goes;
///              old_free_head and old_used_idx follow
///
/// The old values are the truth after a crash, unless the ring's descriptor says that the request was given back. The memory is the front
/// end's as well: what is read here after the start is our own copy of the free list.
/// </summary>
internal sealed class PackedInflight(nint region, int entries)
{
    private const int Version = 8, Count = 10, FreeHead = 12, OldFreeHead = 14, UsedIndex = 16, OldUsedIndex = 18, UsedWrap = 20,
        OldUsedWrap = 21, Head = 32, EntryBytes = 32;
    private const int Mark = 0, Next = 2, Last = 4, Number = 6, Counter = 8, Id = 16;

    private readonly ushort[] _next = new ushort[entries];
    private readonly ushort[] _last = new ushort[entries];
    private ushort _freeHead;
    private int _beginning, _previous, _count;
    private ulong _counter;

    public void Begin() => (_beginning, _previous, _count) = (_freeHead, _freeHead, 0);

    public void Note(in Descriptor descriptor)
    {
        if (_freeHead >= entries)
            throw new VhostException("more descriptors are in flight than the ring has");
        var at = At(_freeHead);
        // addr, len, flags and id in the record's order: id, flags, len, addr.
        SharedFields.Store32(at + Id, descriptor.First | (uint)descriptor.Second << 16);
        SharedFields.Store32(at + Id + 4, descriptor.Length);
        SharedFields.Store64(at + Id + 8, descriptor.Address);
        _previous = _freeHead;
        _freeHead = _next[_freeHead];
        _count++;
    }

    public int End()
    {
        var at = At(_beginning);
        _last[_beginning] = (ushort)_previous;
        SharedFields.Store16(at + Last, (ushort)_previous);
        SharedFields.Store16(at + Number, (ushort)_count);
        SharedFields.Store64(at + Counter, _counter++);
        Barrier();
        // mutation: real-request-forgotten
        SharedFields.Store8(at + Mark, 1);
        Barrier();
        SharedFields.Store16(region + FreeHead, _freeHead);
        Barrier();
        SharedFields.Store16(region + OldFreeHead, _freeHead);
        Barrier();
        return _beginning;
    }

    public void BeginGive(int entry, int usedIndex, bool usedWrap)
    {
        var last = _last[entry];
        _next[last] = _freeHead;
        SharedFields.Store16(At(last) + Next, _freeHead);
        _freeHead = (ushort)entry;
        SharedFields.Store16(region + FreeHead, _freeHead);
        SharedFields.Store16(region + UsedIndex, (ushort)usedIndex);
        SharedFields.Store8(region + UsedWrap, usedWrap ? (byte)1 : (byte)0);
        Barrier();
    }

    public void EndGive(int entry)
    {
        SharedFields.Store8(At(entry) + Mark, 0);
        Barrier();
        SharedFields.Store16(region + OldFreeHead, _freeHead);
        SharedFields.Store8(region + OldUsedWrap, SharedFields.Load8(region + UsedWrap));
        Barrier();
        SharedFields.Store16(region + OldUsedIndex, SharedFields.Load16(region + UsedIndex));
        Barrier();
    }

    /// <summary>
    /// Begins a record, or takes over a predecessor's: where the used ring goes on, and which requests are to be done again.
    /// </summary>
    public void Resume(Queue<int> left, nint ring, ref int usedIndex, ref bool usedWrap, out int takenEntries)
    {
        takenEntries = 0;
        if (SharedFields.Load16(region + Version) == 0)
        {
            Initialize(usedIndex, usedWrap);
            return;
        }
        (usedIndex, usedWrap) = Decide(ring);
        var marks = new List<(ulong Counter, int Entry)>();
        var isFree = new bool[entries];
        for (int entry = _freeHead, steps = 0; entry < entries && !isFree[entry]; entry = _next[entry], steps++)
        {
            isFree[entry] = true;
            _next[entry] = SharedFields.Load16(At(entry) + Next);
            SharedFields.Store8(At(entry) + Mark, 0);
        }
        for (var entry = 0; entry < entries; entry++)
        {
            _last[entry] = SharedFields.Load16(At(entry) + Last);
            if (!isFree[entry])
                _next[entry] = SharedFields.Load16(At(entry) + Next);
            if (!isFree[entry] && SharedFields.Load8(At(entry) + Mark) == 1)
                marks.Add((SharedFields.Load64(At(entry) + Counter), entry));
        }
        marks.Sort();
        foreach (var (counter, entry) in marks)
        {
            var number = SharedFields.Load16(At(entry) + Number);
            if (number == 0 || _last[entry] >= entries || (takenEntries += number) > entries)
                throw new VhostException("the record of requests in flight makes no sense");
            _counter = counter + 1;
            left.Enqueue(entry);
        }
    }

    /// <summary>A request that a predecessor took, from the copies of its descriptors.</summary>
    public void Walk(int entry, DescriptorChain chain, bool hasIndirect)
    {
        chain.Clear();
        chain.InflightEntry = entry;
        chain.RingEntries = SharedFields.Load16(At(entry) + Number);
        var at = entry;
        for (var steps = 0; ; steps++)
        {
            if (steps == entries || at >= entries)
                throw new VhostException("the record of requests in flight makes no sense");
            var idAndFlags = SharedFields.Load32(At(at) + Id);
            var descriptor = new Descriptor
            {
                Address = SharedFields.Load64(At(at) + Id + 8),
                Length = SharedFields.Load32(At(at) + Id + 4),
                First = (ushort)idAndFlags,
                Second = (ushort)(idAndFlags >> 16),
            };
            if (PackedRing.Take(descriptor, chain, hasIndirect))
                break;
            at = _next[at];
        }
        if (at != _last[entry] || chain.RingEntries == 0 || chain.RingEntries > entries)
            throw new VhostException("the record of requests in flight makes no sense");
    }

    private void Initialize(int usedIndex, bool usedWrap)
    {
        SharedFields.Store16(region + Count, (ushort)entries);
        for (var entry = 0; entry < entries; entry++)
        {
            _next[entry] = (ushort)(entry + 1);
            SharedFields.Store16(At(entry) + Next, _next[entry]);
        }
        SharedFields.Store32(region + FreeHead, 0);
        SharedFields.Store32(region + UsedIndex, (uint)usedIndex | (uint)usedIndex << 16);
        SharedFields.Store16(region + UsedWrap, usedWrap ? (ushort)0x101 : (ushort)0);
        Barrier();
        SharedFields.Store16(region + Version, 1);
    }

    /// <summary>"When reconnecting": goes back to the state before the last give, or forward to after it if the ring shows it.</summary>
    private (int UsedIndex, bool UsedWrap) Decide(nint ring)
    {
        int oldIndex = SharedFields.Load16(region + OldUsedIndex), index = SharedFields.Load16(region + UsedIndex);
        bool oldWrap = SharedFields.Load8(region + OldUsedWrap) != 0, wrap = SharedFields.Load8(region + UsedWrap) != 0;
        if (oldIndex >= entries || index >= entries)
            throw new VhostException("the record of requests in flight makes no sense");
        var isGiven = false;
        if (index != oldIndex || wrap != oldWrap)
        {
            var flags = SharedFields.Load32(ring + oldIndex * VhostProtocol.DescriptorBytes + 12) >> 16;
            isGiven = (flags & VhostProtocol.PackedAvailable) != 0 != oldWrap || (flags & VhostProtocol.PackedUsed) != 0 == oldWrap;
        }
        if (isGiven)
        {
            SharedFields.Store16(region + OldFreeHead, SharedFields.Load16(region + FreeHead));
            SharedFields.Store8(region + OldUsedWrap, wrap ? (byte)1 : (byte)0);
            Barrier();
            SharedFields.Store16(region + OldUsedIndex, (ushort)index);
            (oldIndex, oldWrap) = (index, wrap);
        }
        else
        {
            SharedFields.Store16(region + FreeHead, SharedFields.Load16(region + OldFreeHead));
            SharedFields.Store8(region + UsedWrap, oldWrap ? (byte)1 : (byte)0);
            Barrier();
            SharedFields.Store16(region + UsedIndex, (ushort)oldIndex);
        }
        Barrier();
        _freeHead = SharedFields.Load16(region + FreeHead);
        return (oldIndex, oldWrap);
    }

    private nint At(int entry) => region + Head + EntryBytes * entry;

    private static void Barrier() => Interlocked.MemoryBarrier();
}
