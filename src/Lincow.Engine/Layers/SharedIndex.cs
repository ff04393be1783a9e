using System.Diagnostics;
using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Layers;

/// <summary>
/// Which of a stack of frozen layers holds a byte: one look-up, however many there are. A byte for each granule, as small as the smallest
/// chunk of all layers, in pages that are made when they are first asked for; a page that is all of one kind takes no memory.
///
///     0         none of them: what lies below shows
///     1 .. 253  that layer's data, counted from the nearest
///     254       lost: the map of a layer that may hold it is damaged
///     255       zeroes: some layer says so, or ends before it
///
/// Whoever stands on the same layers shares one index, whatever loop it is on. That takes no lock: a page never changes after it has been
/// published, and of two that are made at once, one is thrown away.
/// </summary>
internal sealed unsafe class SharedIndex
{
    public const byte Below = 0, Lost = 254, Zero = 255;

    /// <summary>With the layer that is written and the origin: 255.</summary>
    public const int MaxLayers = 253;

    /// <summary>As many granules as a page of a chunk map has chunks: so a page is made from one page of each layer's map.</summary>
    public const int GranulesPerPage = ChunkMap.ChunksPerPage;

    // 0: not made. Odd: all of one kind, in the higher bits. Even: where the bytes are.
    private readonly nint* _pages;
    private readonly nuint _directoryBytes;
    private int _users = 1;
    private long _pageCount;

    /// <param name="layers">Sizes and chunks, from the nearest on.</param>
    public SharedIndex(IReadOnlyList<Geometry> layers)
    {
        if (layers.Count is 0 or > MaxLayers)
            throw new ArgumentOutOfRangeException(nameof(layers), layers.Count, $"a stack has 1 to {MaxLayers} frozen layers");
        var shift = layers[0].ChunkShift;
        var largest = 0L;
        foreach (var layer in layers)
        {
            shift = Math.Min(shift, layer.ChunkShift);
            // Where a layer ends below a longer one, what is below it ends, too: at the end of a granule.
            if (layer.DeviceBytes < largest)
                shift = Math.Min(shift, (int)long.TrailingZeroCount(layer.DeviceBytes));
            largest = Math.Max(largest, layer.DeviceBytes);
        }
        Geometry = new Geometry(layers[0].DeviceBytes, shift);
        PageCount = ChunkMap.PagesFor(Geometry.ChunkCount);
        _directoryBytes = ((nuint)(PageCount * sizeof(nint)) + 4095) & ~(nuint)4095;
        _pages = (nint*)NativePages.Reserve(_directoryBytes);
    }

    /// <summary>The nearest layer's size, and granules.</summary>
    public Geometry Geometry { get; }

    public long PageCount { get; }

    /// <summary>What its pages take, in bytes.</summary>
    public long PageBytes => Volatile.Read(ref _pageCount) * GranulesPerPage;

    /// <summary>The page that a byte is in.</summary>
    public long PageOf(long byteOffset) => ChunkMap.PageOf(byteOffset >> Geometry.ChunkShift);

    public bool IsLoaded(long page) => Volatile.Read(ref _pages[page]) != 0;

    /// <summary>
    /// What holds the bytes from an offset on, and how many share that, up to an end. False when that page hasn't been made.
    /// </summary>
    public bool TryRunAt(long byteOffset, long byteEnd, out byte holder, out long byteLength)
    {
        (holder, byteLength) = (Zero, byteEnd - byteOffset);
        if (byteOffset >= Geometry.DeviceBytes)
            return true;
        byteEnd = Math.Min(byteEnd, Geometry.DeviceBytes);
        var granule = byteOffset >> Geometry.ChunkShift;
        var page = ChunkMap.PageOf(granule);
        var entry = Volatile.Read(ref _pages[page]);
        if (entry == 0)
            return false;
        var from = (int)(granule - (page * GranulesPerPage));
        var limit = (int)Math.Min(((byteEnd - 1) >> Geometry.ChunkShift) - (page * GranulesPerPage) + 1, GranulesPerPage);
        var to = limit;
        if ((entry & 1) != 0)
        {
            holder = (byte)(entry >> 1);
        }
        else
        {
            var granules = new ReadOnlySpan<byte>((void*)entry, GranulesPerPage)[from..limit];
            holder = granules[0];
            if (granules.IndexOfAnyExcept(holder) is > 0 and var other)
                to = from + other;
        }
        byteLength = Math.Min(byteEnd, ((page * GranulesPerPage) + to) << Geometry.ChunkShift) - byteOffset;
        return true;
    }

    /// <summary>Memory for a page, all of it <see cref="Below"/>; false when there is none. <see cref="Publish"/> takes it over.</summary>
    public static bool TryBegin(out nint page)
    {
        try
        {
            page = (nint)NativeMemory.AllocZeroed(GranulesPerPage);
            return true;
        }
        catch (OutOfMemoryException)
        {
            page = 0;
            return false;
        }
    }

    /// <summary>A page that isn't published after all.</summary>
    public static void Discard(nint page) => NativeMemory.Free((void*)page);

    /// <summary>The granules of a page that is being made.</summary>
    public static Span<byte> Granules(nint page) => new((void*)page, GranulesPerPage);

    /// <summary>Enters what one layer holds where no nearer one holds anything.</summary>
    /// <param name="granules">The page that is being made.</param>
    /// <param name="page">Which one it is.</param>
    /// <param name="layer">The layer, counted from the nearest, which is 0.</param>
    /// <param name="geometry">That layer's.</param>
    /// <param name="words">The states of the page of its map that covers this page; empty when they are lost.</param>
    public void Enter(Span<byte> granules, long page, int layer, Geometry geometry, ReadOnlySpan<ulong> words)
    {
        if (words.IsEmpty)
        {
            Fill(granules, 0, GranulesPerPage, Lost);
            return;
        }
        var shift = geometry.ChunkShift - Geometry.ChunkShift;
        var first = page * GranulesPerPage;
        // A last chunk that is short ends with the device; what lies below a layer ends there, too.
        var end = Math.Min((geometry.DeviceBytes + Geometry.ChunkBytes - 1) >> Geometry.ChunkShift, first + GranulesPerPage);
        var firstOfMap = (page >> shift) * ChunkMap.ChunksPerPage;
        for (var chunk = first >> shift; chunk << shift < end; chunk++)
        {
            var inMap = (int)(chunk - firstOfMap);
            var word = words[inMap / ChunkMap.ChunksPerWord];
            if (word == 0)
            {
                chunk += ChunkMap.ChunksPerWord - 1 - (inMap % ChunkMap.ChunksPerWord);
                continue;
            }
            var state = (ChunkState)((word >> (inMap % ChunkMap.ChunksPerWord * 2)) & 3);
            if (state != ChunkState.Origin)
                Fill(granules, (int)(Math.Max(chunk << shift, first) - first), (int)(Math.Min((chunk + 1) << shift, end) - first),
                    state == ChunkState.Data ? (byte)(layer + 1) : Zero);
        }
        // mutation: below-a-shorter-layer-shown
        Fill(granules, (int)Math.Max(end - first, 0), GranulesPerPage, Zero);
    }

    /// <summary>Enters one holder for a run of granules, where no nearer layer holds anything.</summary>
    public static void Fill(Span<byte> granules, int from, int to, byte holder)
    {
        for (var i = from; i < to; i++)
        {
            // mutation: deeper-layer-wins
            if (granules[i] == Below)
                granules[i] = holder;
        }
    }

    /// <summary>A page is complete; its memory isn't the caller's any more.</summary>
    public void Publish(long page, nint made)
    {
        var granules = Granules(made)[..(int)Math.Min(GranulesPerPage, Geometry.ChunkCount - (page * GranulesPerPage))];
        var isUniform = granules.IndexOfAnyExcept(granules[0]) < 0;
        var entry = isUniform ? (granules[0] << 1) | 1 : made;
        Debug.Assert((made & 1) == 0, "memory is aligned");
        var isFirst = Interlocked.CompareExchange(ref _pages[page], entry, 0) == 0;
        if (isUniform || !isFirst)
            Discard(made);
        else
            Interlocked.Increment(ref _pageCount);
    }

    /// <summary>One more stands on it. False when the last has just left: it is gone.</summary>
    public bool TryJoin()
    {
        while (Volatile.Read(ref _users) is > 0 and var users)
        {
            if (Interlocked.CompareExchange(ref _users, users + 1, users) == users)
                return true;
        }
        return false;
    }

    /// <summary>One leaves. True when it was the last, and everything has been given back.</summary>
    public bool Leave()
    {
        if (Interlocked.Decrement(ref _users) > 0)
            return false;
        for (var page = 0L; page < PageCount && _pageCount > 0; page++)
        {
            if (_pages[page] is not 0 and var entry && (entry & 1) == 0)
            {
                Discard(entry);
                _pageCount--;
            }
        }
        NativePages.Release((nint)_pages, _directoryBytes);
        return true;
    }
}
