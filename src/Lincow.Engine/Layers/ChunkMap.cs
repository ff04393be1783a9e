using System.Diagnostics;
using System.Numerics;
using Lincow.Linux;

namespace Lincow.Layers;

/// <summary>
/// The chunk map in memory: two bits a chunk, in pages that are present only where they have been looked at. A page whose chunks are all of
/// one state has no words at all, so an untouched or a wholly trimmed device costs nothing. What a page is on disk, the store knows.
///
/// Invariants: a page's flags say Loaded before its states are read; a page is on the dirty list exactly when it bears Dirty, or is taken
/// for a flush round that hasn't come to it yet; words never move.
/// </summary>
internal sealed unsafe class ChunkMap : IDisposable
{
    /// <summary>
    /// Words of a page: as many as a page of the linear store's map holds on disk, so that a page is read and written as a whole.
    /// </summary>
    public const int WordsPerPage = 488;

    public const int ChunksPerWord = 32;

    public const int ChunksPerPage = WordsPerPage * ChunksPerWord;

    /// <summary>All 32 chunks of a word in state 01; times 2 for state 10.</summary>
    private const ulong EachChunk = 0x5555555555555555;

    /// <summary>Pages of states allocated together, a buffer of 64 KiB; words are never given back before the map is.</summary>
    private const int SlabPages = 16, SlabBytes = SlabPages * WordsPerPage * 8;

    private readonly PageEntry* _pages;
    private readonly nuint _directoryBytes;
    private readonly PageFlags _initialFlags;
    private List<long> _dirty = new(256);
    private List<long> _spareDirty = new(256);
    private readonly BufferPool _buffers;
    private readonly List<NativeBuffer> _slabs = new(64);
    private int _slabFree;

    /// <param name="geometry">The device.</param>
    /// <param name="startsEmpty">True when there is no map on disk: every page counts as loaded and untouched.</param>
    /// <param name="buffers">Where memory for states comes from.</param>
    public ChunkMap(Geometry geometry, bool startsEmpty, BufferPool buffers)
    {
        (Geometry, _buffers) = (geometry, buffers);
        PageCount = PagesFor(geometry.ChunkCount);
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

    /// <summary>The page that a chunk is in.</summary>
    public static long PageOf(long chunk) => (long)((ulong)chunk / ChunksPerPage);

    public static long PagesFor(long chunkCount) => (long)(((ulong)chunkCount + ChunksPerPage - 1) / ChunksPerPage);

    /// <summary>A page is known from now on. False, with nothing changed, for want of memory.</summary>
    /// <param name="page">The page.</param>
    /// <param name="isDamaged">Its states are lost.</param>
    /// <param name="hasContent">False when every chunk is below.</param>
    /// <param name="words">With content: its states, for the caller to fill in.</param>
    public bool TryLoad(long page, bool isDamaged, bool hasContent, out Span<ulong> words)
    {
        ref var entry = ref _pages[page];
        words = default;
        if (hasContent && !TryAllocateWords(ref entry))
            return false;
        entry.Flags |= PageFlags.Loaded | (isDamaged ? PageFlags.Damaged : 0);
        if (hasContent)
            words = new Span<ulong>(entry.Words, WordsPerPage);
        return true;
    }

    /// <summary>
    /// Makes sure of the memory that it takes to change chunks of a run of pages, of which those that aren't whole are loaded. A page that
    /// is covered as a whole needs no words to be all of one state, if it is set in one go (<see cref="EndOfPage"/>).
    /// </summary>
    /// <param name="whole">Chunks of the run that all get the same state, each page of them at once; empty if they are set in
    /// pieces.</param>
    /// <param name="state">The only state that is set. Whatever has it already stays as it is. Null if there are several.</param>
    public bool TryPrepare(ChunkIndex first, ChunkIndex end, (ChunkIndex First, ChunkIndex End) whole, ChunkState? state)
    {
        var lastPage = PageOf(end.Value - 1);
        for (var page = PageOf(first.Value); page <= lastPage; page++)
        {
            if (!TryPrepare(page, whole, state))
                return false;
        }
        return true;
    }

    /// <summary>The end of the page that a chunk is in, at most an end: what can be set in one go.</summary>
    public static ChunkIndex EndOfPage(ChunkIndex chunk, ChunkIndex end) =>
        new(Math.Min((PageOf(chunk.Value) + 1) * ChunksPerPage, end.Value));

    private bool TryPrepare(long page, (ChunkIndex First, ChunkIndex End) whole, ChunkState? state)
    {
        var pageStart = page * ChunksPerPage;
        var pageEnd = Math.Min(pageStart + ChunksPerPage, Geometry.ChunkCount);
        if (whole.First.Value <= pageStart && whole.End.Value >= pageEnd)
            return true;
        ref var entry = ref _pages[page];
        // mutation: states-not-prepared
        return entry.Words is not null || entry.Uniform == state || TryAllocateWords(ref entry);
    }

    public ChunkState StateOf(ChunkIndex chunk)
    {
        var page = PageOf(chunk.Value);
        ref var entry = ref _pages[page];
        if (entry.Words is null)
            return entry.Uniform;
        var inPage = (int)(chunk.Value - page * ChunksPerPage);
        return (ChunkState)((entry.Words[inPage >> 5] >> ((inPage & 31) * 2)) & 3);
    }

    /// <summary>
    /// The state of a chunk and how many chunks from there on share it, up to <paramref name="maxChunks"/> and to the end of the map page.
    /// </summary>
    public (ChunkState State, long ChunkCount) RunAt(ChunkIndex chunk, long maxChunks)
    {
        var page = PageOf(chunk.Value);
        var inPage = (int)(chunk.Value - page * ChunksPerPage);
        var limit = (int)Math.Min(maxChunks, ChunksPerPage - inPage);
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

    /// <summary>How many chunks of a run are in other states than one.</summary>
    public long CountBesides(ChunkState state, ChunkIndex chunk, ChunkIndex end)
    {
        var result = 0L;
        while (chunk < end)
        {
            var (found, count) = RunAt(chunk, end - chunk);
            if (found != state)
                result += count;
            chunk += count;
        }
        return result;
    }

    /// <summary>Sets the state of a run of chunks; pages that really change become dirty.</summary>
    public void Set(ChunkIndex first, long chunkCount, ChunkState state)
    {
        var chunk = first.Value;
        var end = chunk + chunkCount;
        while (chunk < end)
        {
            var page = PageOf(chunk);
            var pageStart = page * ChunksPerPage;
            var upTo = Math.Min(end, pageStart + ChunksPerPage);
            if (SetInPage(page, (int)(chunk - pageStart), (int)(upTo - pageStart), state))
                MarkDirty(page);
            chunk = upTo;
        }
    }

    /// <summary>
    /// The pages that became dirty since the last call, for one flush round. The list stays the caller's until the next call.
    /// </summary>
    public List<long> TakeDirty()
    {
        (_dirty, _spareDirty) = (_spareDirty, _dirty);
        _dirty.Clear();
        return _spareDirty;
    }

    /// <summary>The states of a page, for an image of it; changes from here on make it dirty again.</summary>
    public void TakeStates(long page, Span<ulong> words)
    {
        Debug.Assert(IsLoaded(page) && (_pages[page].Flags & PageFlags.Dirty) != 0, "what is written is a page that has changed");
        _pages[page].Flags &= ~PageFlags.Dirty;
        CopyStates(page, words);
    }

    /// <summary>The states of a page.</summary>
    public void CopyStates(long page, Span<ulong> words)
    {
        ref var entry = ref _pages[page];
        if (entry.Words is not null)
            new ReadOnlySpan<ulong>(entry.Words, WordsPerPage).CopyTo(words);
        else
            words.Fill((ulong)entry.Uniform * EachChunk);
    }

    /// <summary>Puts a page that was taken for a round but not snapshotted back on the dirty list.</summary>
    public void Requeue(long page)
    {
        Debug.Assert((_pages[page].Flags & PageFlags.Dirty) != 0, "a page on the dirty list bears Dirty");
        _dirty.Add(page);
    }

    /// <summary>The page differs from what is on disk.</summary>
    public void MarkDirty(long page)
    {
        ref var entry = ref _pages[page];
        if ((entry.Flags & PageFlags.Dirty) != 0)
            return;
        entry.Flags |= PageFlags.Dirty;
        _dirty.Add(page);
    }

    /// <summary>Forgets every page, as if the map had just been made. No flush round is running.</summary>
    public void Forget()
    {
        NativePages.Clear((nint)_pages, _directoryBytes);
        FreeSlabs();
        _dirty.Clear();
        _spareDirty.Clear();
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

    private bool SetInPage(long page, int from, int to, ChunkState state)
    {
        ref var entry = ref _pages[page];
        Debug.Assert(IsLoaded(page) || (from == 0 && to >= Math.Min(ChunksPerPage, Geometry.ChunkCount - page * ChunksPerPage)),
            "a page is known before a part of it changes");
        if (entry.Words is null)
        {
            if (entry.Uniform == state)
                return false;
            var pageChunks = Math.Min(ChunksPerPage, Geometry.ChunkCount - page * ChunksPerPage);
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
        entry.Words = (ulong*)_slabs[^1].Address + WordsPerPage * --_slabFree;
        new Span<ulong>(entry.Words, WordsPerPage).Fill((ulong)entry.Uniform * EachChunk);
        return true;
    }

    /// <summary>All zeroes means: not loaded.</summary>
    private struct PageEntry
    {
        public ulong* Words;
        public PageFlags Flags;

        /// <summary>The state of every chunk while there are no words.</summary>
        public ChunkState Uniform
        {
            readonly get => (ChunkState)_uniform;
            set => _uniform = (byte)value;
        }

        private byte _uniform;
    }

    [Flags]
    private enum PageFlags : byte
    {
        None = 0,
        Loaded = 1,
        Damaged = 2,
        Dirty = 4,
    }
}
