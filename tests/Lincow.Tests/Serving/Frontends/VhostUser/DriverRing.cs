namespace Lincow.Tests.Serving.Frontends.VhostUser;

/// <summary>How a guest sets its queues up.</summary>
internal sealed record RingKind(bool IsPacked = false, bool HasEventIndex = false, bool IsIndirect = false, int Entries = 64,
    int Queues = 1, bool HasInflight = false, uint PackedBase = 0x8000)
{
    public override string ToString() =>
        (IsPacked ? "packed" : "split") + (HasEventIndex ? ", event index" : "") + (IsIndirect ? ", indirect" : "")
            + $", {Queues} x {Entries}" + (HasInflight ? ", in-flight record" : "");
}

/// <summary>A buffer of a request, at an address of the guest.</summary>
internal readonly record struct Piece(ulong Address, uint Length, bool IsWritable);

/// <summary>
/// The driver's side of a virtqueue, written from the virtio specification (1.2, sections 2.7 and 2.8) and nothing of lincow's. It kicks
/// only when the device asks for it, so a device that forgets to ask hangs a test.
/// </summary>
internal abstract unsafe class DriverRing(byte* table, byte* driver, byte* device, RingKind kind, Func<int, ulong> newTable)
{
    protected RingKind Kind { get; } = kind;

    public byte* Table { get; } = table;

    public byte* Driver { get; } = driver;

    public byte* Device { get; } = device;

    /// <summary>What a front end whose back end has died says of where the ring goes on.</summary>
    public abstract uint Base { get; }

    /// <summary>Makes a request available; its id, or -1 when there is no room.</summary>
    public abstract int Add(ReadOnlySpan<Piece> pieces);

    /// <summary>Whether the device wants to hear of what was added since it was asked last.</summary>
    public abstract bool ShouldKick();

    public abstract bool TryTakeUsed(out int id, out uint length);

    /// <summary>Asks for a call with the next used request. The caller looks once more before it waits.</summary>
    public abstract void AskForCall();

    /// <summary>Writes an indirect table; its address.</summary>
    protected ulong WriteTable(ReadOnlySpan<Piece> pieces, Func<nint> host, out uint length)
    {
        length = (uint)pieces.Length * 16;
        var address = newTable((int)length);
        var at = (byte*)host();
        for (var i = 0; i < pieces.Length; i++)
            Write(at + 16 * i, pieces[i], i + 1 < pieces.Length && !Kind.IsPacked, (ushort)(i + 1));
        return address;
    }

    protected void Write(byte* at, Piece piece, bool goesOn, ushort next)
    {
        *(ulong*)at = piece.Address;
        *(uint*)(at + 8) = piece.Length;
        var flags = (ushort)((piece.IsWritable ? 2 : 0) | (goesOn ? 1 : 0));
        *(ushort*)(at + 12) = Kind.IsPacked ? (ushort)0 : flags;
        *(ushort*)(at + 14) = Kind.IsPacked ? flags : next;
    }

    protected static bool Passes(int wanted, int now, int before) => (ushort)(now - wanted - 1) < (ushort)(now - before);

    protected static void Fence() => Interlocked.MemoryBarrier();
}

internal sealed unsafe class SplitDriver : DriverRing
{
    private readonly Stack<ushort> _free = new();
    private readonly List<ushort>?[] _chains;
    private readonly Func<nint> _lastTable;
    private ushort _added, _kicked, _taken;

    public SplitDriver(byte* table, byte* driver, byte* device, RingKind kind, Func<int, ulong> newTable, Func<nint> lastTable)
        : base(table, driver, device, kind, newTable)
    {
        _lastTable = lastTable;
        _chains = new List<ushort>?[kind.Entries];
        for (var i = kind.Entries - 1; i >= 0; i--)
            _free.Push((ushort)i);
    }

    public override uint Base => Volatile.Read(ref *(ushort*)(Device + 2));

    public override int Add(ReadOnlySpan<Piece> pieces)
    {
        var needed = Kind.IsIndirect ? 1 : pieces.Length;
        if (_free.Count < needed)
            return -1;
        var chain = new List<ushort>();
        for (var i = 0; i < needed; i++)
            chain.Add(_free.Pop());
        if (Kind.IsIndirect)
        {
            var address = WriteTable(pieces, _lastTable, out var length);
            Write(Table + 16 * chain[0], new Piece(address, length, false), false, 0);
            *(ushort*)(Table + 16 * chain[0] + 12) = 4;
        }
        else
        {
            for (var i = 0; i < needed; i++)
                Write(Table + 16 * chain[i], pieces[i], i + 1 < needed, i + 1 < needed ? chain[i + 1] : (ushort)0);
        }
        _chains[chain[0]] = chain;
        *(ushort*)(Driver + 4 + 2 * (_added % Kind.Entries)) = chain[0];
        Fence();
        Volatile.Write(ref *(ushort*)(Driver + 2), ++_added);
        return chain[0];
    }

    public override bool ShouldKick()
    {
        Fence();
        var before = _kicked;
        _kicked = _added;
        if (Kind.HasEventIndex)
            return Passes(Volatile.Read(ref *(ushort*)(Device + 4 + 8 * Kind.Entries)), _added, before);
        return (Volatile.Read(ref *(ushort*)Device) & 1) == 0;
    }

    public override bool TryTakeUsed(out int id, out uint length)
    {
        (id, length) = (-1, 0);
        if (Volatile.Read(ref *(ushort*)(Device + 2)) == _taken)
            return false;
        Fence();
        var element = Device + 4 + 8 * (_taken++ % Kind.Entries);
        (id, length) = (*(int*)element, *(uint*)(element + 4));
        var chain = _chains[id] ?? throw new InvalidOperationException($"request {id} was given back twice, or never made");
        _chains[id] = null;
        chain.ForEach(_free.Push);
        return true;
    }

    public override void AskForCall()
    {
        if (Kind.HasEventIndex)
            Volatile.Write(ref *(ushort*)(Driver + 4 + 2 * Kind.Entries), _taken);
        Fence();
    }
}

internal sealed unsafe class PackedDriver : DriverRing
{
    private readonly Stack<ushort> _ids = new();
    private readonly int[] _lengths;
    private readonly Func<nint> _lastTable;
    private int _added, _taken, _room, _sinceKick;
    private bool _addWrap = true, _takeWrap = true;

    public PackedDriver(byte* table, byte* driver, byte* device, RingKind kind, Func<int, ulong> newTable, Func<nint> lastTable)
        : base(table, driver, device, kind, newTable)
    {
        _lastTable = lastTable;
        _lengths = new int[kind.Entries];
        _room = kind.Entries;
        for (var i = kind.Entries - 1; i >= 0; i--)
            _ids.Push((ushort)i);
    }

    public override uint Base => Kind.PackedBase;

    public override int Add(ReadOnlySpan<Piece> pieces)
    {
        var needed = Kind.IsIndirect ? 1 : pieces.Length;
        if (_room < needed || _ids.Count == 0)
            return -1;
        var id = _ids.Pop();
        _lengths[id] = needed;
        _room -= needed;
        var (head, headFlags) = (_added, (ushort)0);
        for (var i = 0; i < needed; i++)
        {
            var at = Table + 16 * _added;
            ushort flags;
            if (Kind.IsIndirect)
            {
                var address = WriteTable(pieces, _lastTable, out var length);
                (*(ulong*)at, *(uint*)(at + 8), flags) = (address, length, 4);
            }
            else
            {
                (*(ulong*)at, *(uint*)(at + 8)) = (pieces[i].Address, pieces[i].Length);
                flags = (ushort)((pieces[i].IsWritable ? 2 : 0) | (i + 1 < needed ? 1 : 0));
            }
            *(ushort*)(at + 12) = id;
            flags |= _addWrap ? (ushort)(1 << 7) : (ushort)(1 << 15);
            // The first descriptor becomes available last.
            if (i == 0)
                headFlags = flags;
            else
                *(ushort*)(at + 14) = flags;
            if (++_added == Kind.Entries)
                (_added, _addWrap) = (0, !_addWrap);
        }
        Fence();
        Volatile.Write(ref *(ushort*)(Table + 16 * head + 14), headFlags);
        _sinceKick += needed;
        return id;
    }

    public override bool ShouldKick()
    {
        Fence();
        var count = _sinceKick;
        _sinceKick = 0;
        var wanted = Volatile.Read(ref *(uint*)Device);
        if (wanted >> 16 != 2)
            return wanted >> 16 == 0;
        var index = (int)(wanted & 0x7fff);
        if ((wanted & 0x8000) != 0 != _addWrap)
            index -= Kind.Entries;
        return Passes(index, _added, _added - count);
    }

    public override bool TryTakeUsed(out int id, out uint length)
    {
        var at = Table + 16 * _taken;
        var flags = Volatile.Read(ref *(ushort*)(at + 14));
        (id, length) = (-1, 0);
        if ((flags & 1 << 7) != 0 != _takeWrap || (flags & 1 << 15) != 0 != _takeWrap)
            return false;
        Fence();
        (id, length) = (*(ushort*)(at + 12), *(uint*)(at + 8));
        var count = _lengths[id];
        if (count == 0)
            throw new InvalidOperationException($"request {id} was given back twice, or never made");
        _lengths[id] = 0;
        _ids.Push((ushort)id);
        _room += count;
        _taken += count;
        if (_taken >= Kind.Entries)
            (_taken, _takeWrap) = (_taken - Kind.Entries, !_takeWrap);
        return true;
    }

    public override void AskForCall()
    {
        Volatile.Write(ref *(uint*)Driver, Kind.HasEventIndex ? (uint)(_taken | (_takeWrap ? 0x8000 : 0)) | 2u << 16 : 0);
        Fence();
    }
}
