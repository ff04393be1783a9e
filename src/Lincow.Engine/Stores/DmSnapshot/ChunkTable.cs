using Lincow.Linux;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// Numbers by chunk: an open-addressed hash table in native memory, 12 bytes a place, that only grows. Eight neighbouring chunks share a
/// neighbourhood, so a run of chunks is found in one or two lines of cache.
///
/// When it is three quarters full, a table of twice the size takes its place. The old one's entries move over a few at a time, with each
/// entry that is added, and its memory goes back in pieces; until then a search looks into both. So no entry costs more than a few moves,
/// however many there are.
///
/// Invariants: an entry is in one of the two tables; those of the old one lie at the mark or beyond it, for everything below has been moved
/// and may be gone; the old one is empty long before the new one is full.
/// </summary>
internal sealed class ChunkTable : IDisposable
{
    private const ulong FirstCapacity = 1 << 10;

    /// <summary>
    /// Places of the old table that are gone through for each entry that is added: a line of the cache. With two of them the old one would
    /// be empty in time.
    /// </summary>
    internal const int MovesPerEntry = 8;

    // Drawn anew in each process, so that nobody can make a store whose chunks all have one home.
    private static readonly ulong _summand = (ulong)Random.Shared.NextInt64(), _factor = (ulong)Random.Shared.NextInt64() | 1;

    private Table _table, _old;
    private ulong _mark;

    public ChunkTable() => _table = Table.TryMake(FirstCapacity, out var table) ? table : throw NoMemory();

    public long Count { get; private set; }

    /// <summary>Entries that were moved since the start, for tests.</summary>
    public long Moves { get; private set; }

    public bool TryGet(ulong chunk, out uint value)
    {
        var home = Home(chunk);
        return _table.TryFind(home & _table.Mask, chunk, out value, out var isAtEnd)
            || (isAtEnd && _table.TryFind(0, chunk, out value, out _))
            // mutation: old-table-forgotten
            || (!_old.IsEmpty && TryGetOld(home, chunk, out value));
    }

    /// <summary>
    /// Puts a number in; false, with nothing changed, when the chunk has one already. Throws when there is no memory, unless there was when
    /// it was prepared.
    /// </summary>
    public bool TryAdd(ulong chunk, uint value)
    {
        if (!TryPrepare(1))
            throw NoMemory();
        if (!_old.IsEmpty)
            MoveSome();
        var home = Home(chunk);
        if ((!_old.IsEmpty && TryGetOld(home, chunk, out _)) || !_table.TryAdd(home, chunk, value))
            return false;
        Count++;
        return true;
    }

    /// <summary>Makes sure of memory for so many more entries.</summary>
    public bool TryPrepare(long more)
    {
        var wanted = (ulong)(Count + more);
        if (Fits(wanted, _table.Mask + 1))
            return true;
        // Only for more entries at once than there are.
        while (!_old.IsEmpty)
            MoveSome();
        var capacity = (_table.Mask + 1) * 2;
        while (!Fits(wanted, capacity))
            capacity *= 2;
        if (!Table.TryMake(capacity, out var table))
            return false;
        (_old, _table, _mark) = (_table, table, 0);
        return true;
    }

    public void Dispose()
    {
        _table.Release(0);
        _old.Release(_mark);
        (_table, _old) = (default, default);
    }

    private static bool Fits(ulong count, ulong capacity) => count * 4 <= capacity * 3;

    private static LinuxException NoMemory() => new("mmap", "a table of chunks", Errno.NoMemory);

    // Both halves of a product, of the neighbourhood's number.
    private static ulong Home(ulong chunk)
    {
        // mutation: table-can-be-aimed-at
        var high = Math.BigMul((chunk >> 3) ^ _summand, _factor, out var low);
        return ((high ^ low) << 3) | (chunk & 7);
    }

    // An entry lies behind its home without a gap between, so without one between the mark and itself either.
    private bool TryGetOld(ulong home, ulong chunk, out uint value)
    {
        // mutation: old-table-searched-from-home
        var from = Math.Max(home & _old.Mask, _mark);
        return _old.TryFind(from, chunk, out value, out var isAtEnd) || (isAtEnd && _old.TryFind(_mark, chunk, out value, out _));
    }

    private void MoveSome()
    {
        // mutation: table-moved-at-once
        for (var end = _mark + MovesPerEntry; _mark < end; _mark++)
        {
            if (!_old.TryReadAt(_mark, out var chunk, out var value))
                continue;
            _table.TryAdd(Home(chunk), chunk, value);
            Moves++;
        }
        if (_mark % Table.PiecePlaces == 0)
            _old.ReleasePieceBefore(_mark);
        if (_mark <= _old.Mask)
            return;
        _old.Release(_mark);
        _old = default;
    }

    /// <summary>One array of places. Its memory is made page by page as it is first touched.</summary>
    private readonly unsafe struct Table
    {
        /// <summary>What is given back at once: 384 KiB, some ten microseconds.</summary>
        public const ulong PiecePlaces = 1 << 15;

        // The chunk plus one; 0 is a free place.
        private readonly ulong* _keys;
        private readonly uint* _values;

        private Table(nint keys, nint values, ulong capacity)
        {
            _keys = (ulong*)keys;
            _values = (uint*)values;
            Mask = capacity - 1;
        }

        public ulong Mask { get; }

        public bool IsEmpty => _keys == null;

        public static bool TryMake(ulong capacity, out Table table)
        {
            var keys = NativePages.TryReserve((nuint)capacity * sizeof(ulong));
            var values = keys == 0 ? 0 : NativePages.TryReserve((nuint)capacity * sizeof(uint));
            if (keys != 0 && values == 0)
                NativePages.Release(keys, (nuint)capacity * sizeof(ulong));
            table = values == 0 ? default : new Table(keys, values, capacity);
            return values != 0;
        }

        /// <summary>Looks from a place on, up to a free one or the table's end.</summary>
        public bool TryFind(ulong place, ulong chunk, out uint value, out bool isAtEnd)
        {
            for (; place <= Mask && _keys[place] != 0; place++)
            {
                if (_keys[place] == chunk + 1)
                {
                    (value, isAtEnd) = (_values[place], false);
                    return true;
                }
            }
            (value, isAtEnd) = (0, place > Mask);
            return false;
        }

        public bool TryAdd(ulong home, ulong chunk, uint value)
        {
            var place = home & Mask;
            for (; _keys[place] != 0; place = (place + 1) & Mask)
            {
                if (_keys[place] == chunk + 1)
                    return false;
            }
            (_keys[place], _values[place]) = (chunk + 1, value);
            return true;
        }

        public bool TryReadAt(ulong place, out ulong chunk, out uint value)
        {
            (chunk, value) = (_keys[place] - 1, _values[place]);
            return _keys[place] != 0;
        }

        public void ReleasePieceBefore(ulong place)
        {
            NativePages.Release((nint)(_keys + place - PiecePlaces), (nuint)PiecePlaces * sizeof(ulong));
            NativePages.Release((nint)(_values + place - PiecePlaces), (nuint)PiecePlaces * sizeof(uint));
        }

        /// <summary>Gives back all but the pieces before a place, which are gone already.</summary>
        public void Release(ulong place)
        {
            var from = place / PiecePlaces * PiecePlaces;
            if (IsEmpty || from > Mask)
                return;
            NativePages.Release((nint)(_keys + from), (nuint)(Mask + 1 - from) * sizeof(ulong));
            NativePages.Release((nint)(_values + from), (nuint)(Mask + 1 - from) * sizeof(uint));
        }
    }
}
