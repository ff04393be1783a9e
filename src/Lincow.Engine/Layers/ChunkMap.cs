using System.Numerics;
using System.Runtime.InteropServices;
using Lincow.Linux;
using Lincow.Stores.Linear;

namespace Lincow.Layers;

/// <summary>
/// The chunk map in memory: two bits a chunk, in the pages of the map on disk, present only where they have been looked at. A page whose
/// chunks are all of one state has no words at all, so an untouched or a wholly trimmed device costs nothing.
///
/// Invariants: a page's flags say Loaded before its states are read; a page is on the dirty list exactly when it bears Dirty; words never move.
/// </summary>
internal sealed unsafe class ChunkMap : IDisposable
{
    /// <summary>All 32 chunks of a word in state 01; times 2 for state 10.</summary>
    private const ulong EachChunk = 0x5555555555555555;

    /// <summary>Pages of states allocated together, a buffer of 64 KiB; words are never given back before the map is.</summary>
    private const int SlabPages = 16, SlabBytes = SlabPages * MapFormat.WordsPerPage * 8;

    private readonly PageEntry* _pages;
    private readonly nuint _directoryBytes;
    private readonly PageFlags _initialFlags;
    private List<long> _dirty = new(256);
    private List<long> _spareDirty = new(256);
    private readonly List<long> _stale = new(256);
    private readonly BufferPool _buffers;
    private readonly List<NativeBuffer> _slabs = new(64);
    private int _slabFree;

    /// <param name="geometry">The device.</param>
    /// <param name="startsEmpty">True when there is no map on disk: every page counts as loaded and untouched.</param>
    /// <param name="buffers">Where memory for states comes from.</param>
    public ChunkMap(Geometry geometry, bool startsEmpty, BufferPool buffers)
    {
        (Geometry, _buffers) = (geometry, buffers);
        PageCount = MapFormat.PagesFor(geometry.ChunkCount);
        _initialFlags = startsEmpty ? PageFlags.Loaded : PageFlags.None;
        // Address space only: a page of the directory takes memory when one of its entries is first used.
        _directoryBytes = (nuint)(PageCount * sizeof(PageEntry) + 4095) & ~(nuint)4095;
        _pages = (PageEntry*)NativePages.Reserve(_directoryBytes);
    }

    public Geometry Geometry { get; }

    public long PageCount { get; }

    public int DirtyCount => _dirty.Count;

    public bool IsLoaded(long page) => ((_pages[page].Flags | _initialFlags) & PageFlags.Loaded) != 0;

    public bool IsDamaged(long page) => (_pages[page].Flags & PageFlags.Damaged) != 0;

    public int SlotOf(long page) => _pages[page].Slot;

    /// <summary>Takes over what was found on disk. <paramref name="image"/> is empty for a page without content. False, with nothing changed, for want of memory.</summary>
    public bool TryLoad(long page, PageVerdict verdict, ReadOnlySpan<byte> image)
    {
        ref var entry = ref _pages[page];
        if (!image.IsEmpty && !TryAllocateWords(ref entry))
            return false;
        entry.Flags |= PageFlags.Loaded | (verdict.IsDamaged ? PageFlags.Damaged : 0);
        entry.Sequence = verdict.Sequence;
        entry.HighestSequence = verdict.HighestSequence;
        entry.Slot = (sbyte)verdict.Slot;
        if (!image.IsEmpty)
            MapFormat.CopyStates(image, new Span<ulong>(entry.Words, MapFormat.WordsPerPage));
        if (verdict.TwinIsStale && !verdict.IsDamaged)
            MarkTwinStale(page);
        return true;
    }

    /// <summary>
    /// Makes sure of the memory that it takes to change chunks of a run of pages, of which those that aren't whole are loaded. A page that is covered as a whole
    /// needs no words to be all of one state, if it is set in one go (<see cref="EndOfPage"/>).
    /// </summary>
    /// <param name="whole">Chunks of the run that all get the same state, each page of them at once; empty if they are set in pieces.</param>
    /// <param name="state">The only state that is set. Whatever has it already stays as it is. Null if there are several.</param>
    public bool TryPrepare(ChunkIndex first, ChunkIndex end, (ChunkIndex First, ChunkIndex End) whole, ChunkState? state)
    {
        var lastPage = MapFormat.PageOf(end.Value - 1);
        for (var page = MapFormat.PageOf(first.Value); page <= lastPage; page++)
        {
            if (!TryPrepare(page, whole, state))
                return false;
        }
        return true;
    }

    /// <summary>The end of the page that a chunk is in, at most an end: what can be set in one go.</summary>
    public static ChunkIndex EndOfPage(ChunkIndex chunk, ChunkIndex end) =>
        new(Math.Min((MapFormat.PageOf(chunk.Value) + 1) * MapFormat.ChunksPerPage, end.Value));

    private bool TryPrepare(long page, (ChunkIndex First, ChunkIndex End) whole, ChunkState? state)
    {
        var pageStart = page * MapFormat.ChunksPerPage;
        var pageEnd = Math.Min(pageStart + MapFormat.ChunksPerPage, Geometry.ChunkCount);
        if (whole.First.Value <= pageStart && whole.End.Value >= pageEnd)
            return true;
        ref var entry = ref _pages[page];
        // mutation: states-not-prepared
        return entry.Words is not null || entry.Uniform == state || TryAllocateWords(ref entry);
    }

    public ChunkState StateOf(ChunkIndex chunk)
    {
        var page = MapFormat.PageOf(chunk.Value);
        ref var entry = ref _pages[page];
        if (entry.Words is null)
            return entry.Uniform;
        var inPage = (int)(chunk.Value - page * MapFormat.ChunksPerPage);
        return (ChunkState)((entry.Words[inPage >> 5] >> ((inPage & 31) * 2)) & 3);
    }

    /// <summary>
    /// The state of a chunk and how many chunks from there on share it, up to <paramref name="maxChunks"/> and to the end of the map page.
    /// </summary>
    public (ChunkState State, long ChunkCount) RunAt(ChunkIndex chunk, long maxChunks)
    {
        var page = MapFormat.PageOf(chunk.Value);
        var inPage = (int)(chunk.Value - page * MapFormat.ChunksPerPage);
        var limit = (int)Math.Min(maxChunks, MapFormat.ChunksPerPage - inPage);
        ref var entry = ref _pages[page];
        if (entry.Words is null)
            return (entry.Uniform, limit);
        var word = inPage >> 5;
        var bit = (inPage & 31) * 2;
        var state = (entry.Words[word] >> bit) & 3;
        var pattern = state * EachChunk;
        var difference = (entry.Words[word] ^ pattern) >> bit;
        if (difference != 0)
            return ((ChunkState)state, Math.Min(limit, BitOperations.TrailingZeroCount(difference) >> 1));
        var run = 32 - (bit >> 1);
        while (run < limit)
        {
            difference = entry.Words[++word] ^ pattern;
            if (difference != 0)
            {
                run += BitOperations.TrailingZeroCount(difference) >> 1;
                break;
            }
            run += 32;
        }
        return ((ChunkState)state, Math.Min(run, limit));
    }

    /// <summary>Sets the state of a run of chunks; pages that really change become dirty.</summary>
    public void Set(ChunkIndex first, long chunkCount, ChunkState state)
    {
        var chunk = first.Value;
        var end = chunk + chunkCount;
        while (chunk < end)
        {
            var page = MapFormat.PageOf(chunk);
            var pageStart = page * MapFormat.ChunksPerPage;
            var upTo = Math.Min(end, pageStart + MapFormat.ChunksPerPage);
            if (SetInPage(page, (int)(chunk - pageStart), (int)(upTo - pageStart), state))
                MarkDirty(page);
            chunk = upTo;
        }
    }

    /// <summary>The pages that became dirty since the last call, for one flush round. The list stays the caller's until the next call.</summary>
    public List<long> TakeDirty()
    {
        (_dirty, _spareDirty) = (_spareDirty, _dirty);
        _dirty.Clear();
        return _spareDirty;
    }

    /// <summary>
    /// Writes a page's image as the next version, for the slot that is not the current one; changes from here on make it dirty again. A version
    /// that is never written is never used again: two images of one version could be torn into something that looks whole.
    /// </summary>
    public int Snapshot(long page, Span<byte> image, Guid overlay, ulong generation)
    {
        ref var entry = ref _pages[page];
        entry.Flags &= ~PageFlags.Dirty;
        // mutation: version-used-twice
        EncodeInto(page, image, overlay, ++entry.HighestSequence, generation);
        // mutation: overwrite-current-slot
        return entry.Slot == 0 ? 1 : 0;
    }

    /// <summary>The image that was last snapshotted is on stable storage: its slot is the current one.</summary>
    public void Committed(long page, int slot)
    {
        ref var entry = ref _pages[page];
        entry.Sequence = entry.HighestSequence;
        entry.Slot = (sbyte)slot;
        MarkTwinStale(page);
    }

    /// <summary>Puts a page that was taken for a round but not snapshotted back on the dirty list.</summary>
    public void Requeue(long page) => _dirty.Add(page);

    /// <summary>The page differs from what is on disk.</summary>
    public void MarkDirty(long page)
    {
        ref var entry = ref _pages[page];
        if ((entry.Flags & PageFlags.Dirty) != 0)
            return;
        entry.Flags |= PageFlags.Dirty;
        _dirty.Add(page);
    }

    /// <summary>Pages whose two slots differ: a clean close makes them equal.</summary>
    public ReadOnlySpan<long> StaleTwins => CollectionsMarshal.AsSpan(_stale);

    /// <summary>The current version's image once more, for the slot that differs; a page without one gets its first.</summary>
    public void EncodeTwin(long page, Span<byte> image, Guid overlay, ulong generation)
    {
        ref var entry = ref _pages[page];
        EncodeInto(page, image, overlay, entry.Slot >= 0 ? entry.Sequence : entry.HighestSequence + 1, generation);
    }

    public void TwinsAreEqual()
    {
        foreach (var page in _stale)
            _pages[page].Flags &= ~PageFlags.TwinStale;
        _stale.Clear();
    }

    /// <summary>Forgets every page, as if the map had just been made. No flush round is running.</summary>
    public void Forget()
    {
        NativePages.Clear((nint)_pages, _directoryBytes);
        FreeSlabs();
        _dirty.Clear();
        _spareDirty.Clear();
        _stale.Clear();
    }

    public void Dispose()
    {
        FreeSlabs();
        NativePages.Release((nint)_pages, _directoryBytes);
    }

    private void FreeSlabs()
    {
        foreach (var slab in _slabs)
            _buffers.Return(slab);
        _slabs.Clear();
        _slabFree = 0;
    }

    private void EncodeInto(long page, Span<byte> image, Guid overlay, ulong sequence, ulong generation)
    {
        ref var entry = ref _pages[page];
        if (entry.Words is not null)
        {
            MapFormat.Encode(image, new ReadOnlySpan<ulong>(entry.Words, MapFormat.WordsPerPage), overlay, page, sequence, generation);
            return;
        }
        Span<ulong> words = stackalloc ulong[MapFormat.WordsPerPage];
        words.Fill((ulong)entry.Uniform * EachChunk);
        MapFormat.Encode(image, words, overlay, page, sequence, generation);
    }

    private bool SetInPage(long page, int from, int to, ChunkState state)
    {
        ref var entry = ref _pages[page];
        if (entry.Words is null)
        {
            if (entry.Uniform == state)
                return false;
            var pageChunks = Math.Min(MapFormat.ChunksPerPage, Geometry.ChunkCount - page * MapFormat.ChunksPerPage);
            if (from == 0 && to >= pageChunks)
            {
                entry.Uniform = state;
                return true;
            }
            // Whoever changes a page has prepared it.
            if (!TryAllocateWords(ref entry))
                throw new InvalidOperationException("the states of a page change that there is no memory for");
        }
        var pattern = (ulong)state * EachChunk;
        var changed = 0UL;
        while (from < to)
        {
            var word = from >> 5;
            var count = Math.Min(to - from, 32 - (from & 31));
            var mask = (count == 32 ? ulong.MaxValue : (1UL << (count * 2)) - 1) << ((from & 31) * 2);
            var value = (entry.Words[word] & ~mask) | (pattern & mask);
            changed |= value ^ entry.Words[word];
            entry.Words[word] = value;
            from += count;
        }
        return changed != 0;
    }

    private void MarkTwinStale(long page)
    {
        if ((_pages[page].Flags & PageFlags.TwinStale) != 0)
            return;
        _pages[page].Flags |= PageFlags.TwinStale;
        _stale.Add(page);
    }

    /// <summary>Gives a page words, all of the state that it has; false for want of memory.</summary>
    private bool TryAllocateWords(ref PageEntry entry)
    {
        if (_slabFree == 0)
        {
            if (!_buffers.TryRent(SlabBytes, out var slab))
                return false;
            _slabs.Add(slab);
            _slabFree = SlabPages;
        }
        entry.Words = (ulong*)_slabs[^1].Address + MapFormat.WordsPerPage * --_slabFree;
        new Span<ulong>(entry.Words, MapFormat.WordsPerPage).Fill((ulong)entry.Uniform * EachChunk);
        return true;
    }

    /// <summary>All zeroes means: not loaded, no version on disk that counts.</summary>
    private struct PageEntry
    {
        public ulong* Words;
        public ulong Sequence;
        public ulong HighestSequence;
        public PageFlags Flags;

        /// <summary>The current slot plus one, so that 0 means none.</summary>
        private sbyte _slotPlusOne;

        /// <summary>The state of every chunk while there are no words.</summary>
        public ChunkState Uniform
        {
            readonly get => (ChunkState)_uniform;
            set => _uniform = (byte)value;
        }

        private byte _uniform;

        public sbyte Slot
        {
            readonly get => (sbyte)(_slotPlusOne - 1);
            set => _slotPlusOne = (sbyte)(value + 1);
        }
    }

    [Flags]
    private enum PageFlags : byte
    {
        None = 0,
        Loaded = 1,
        Damaged = 2,
        Dirty = 4,
        TwinStale = 8,
    }
}
