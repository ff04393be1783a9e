using System.Runtime.InteropServices;

namespace Lincow.Snapshot;

/// <summary>
/// Numbers by chunk: an open-addressed hash table in native memory, 12 bytes a place, that only grows. Eight neighbouring chunks share a
/// neighbourhood, so a run of chunks is found in one or two lines of cache.
/// </summary>
internal sealed unsafe class ChunkTable : IDisposable
{
    private const int FirstCapacity = 1 << 10;

    // Drawn anew in each process, so that nobody can make a store whose chunks all have one home.
    private static readonly ulong _summand = (ulong)Random.Shared.NextInt64(), _factor = (ulong)Random.Shared.NextInt64() | 1;

    // The chunk plus one; 0 is a free place.
    private ulong* _keys;
    private uint* _values;
    private ulong _mask;

    public ChunkTable() => Allocate(FirstCapacity);

    public long Count { get; private set; }

    public bool TryGet(ulong chunk, out uint value)
    {
        for (var place = Home(chunk); _keys[place] != 0; place = (place + 1) & _mask)
        {
            if (_keys[place] == chunk + 1)
            {
                value = _values[place];
                return true;
            }
        }
        value = 0;
        return false;
    }

    /// <summary>Puts a number in; false, with nothing changed, when the chunk has one already.</summary>
    public bool TryAdd(ulong chunk, uint value)
    {
        if ((ulong)Count * 4 >= _mask * 3)
            Grow();
        var place = Home(chunk);
        for (; _keys[place] != 0; place = (place + 1) & _mask)
        {
            if (_keys[place] == chunk + 1)
                return false;
        }
        (_keys[place], _values[place]) = (chunk + 1, value);
        Count++;
        return true;
    }

    public void Dispose()
    {
        NativeMemory.Free(_keys);
        NativeMemory.Free(_values);
        _keys = null;
        _values = null;
    }

    // Both halves of a product, of the neighbourhood's number.
    private ulong Home(ulong chunk)
    {
        var high = Math.BigMul((chunk >> 3) ^ _summand, _factor, out var low);
        return (((high ^ low) << 3) | (chunk & 7)) & _mask;
    }

    private void Allocate(ulong capacity)
    {
        _keys = (ulong*)NativeMemory.AllocZeroed((nuint)capacity, sizeof(ulong));
        _values = (uint*)NativeMemory.Alloc((nuint)capacity, sizeof(uint));
        _mask = capacity - 1;
    }

    private void Grow()
    {
        var (keys, values, capacity) = ((nint)_keys, (nint)_values, _mask + 1);
        Allocate(capacity * 2);
        Count = 0;
        for (ulong place = 0; place < capacity; place++)
        {
            if (((ulong*)keys)[place] is var key and not 0)
                TryAdd(key - 1, ((uint*)values)[place]);
        }
        NativeMemory.Free((void*)keys);
        NativeMemory.Free((void*)values);
    }
}
