using System.Diagnostics;
using System.Runtime.InteropServices;
using Lincow.Layers;
using Lincow.Linux;

namespace Lincow.Stores.Linear;

/// <summary>
/// What the pages of the chunk map are on disk: which of a page's two slots counts, the version that it bears, and whether the other
/// differs.
///
/// Invariants: the slot that counts is never written; a version is used once, for two images of one version could be torn into something
/// that looks whole; a page is in the list of stale twins exactly when it is marked so.
/// </summary>
internal sealed unsafe class MapPages : IDisposable
{
    private readonly ChunkMap _map;
    private readonly PageVersion* _versions;
    private readonly nuint _versionBytes;
    private readonly List<long> _stale = new(256);

    public MapPages(ChunkMap map)
    {
        _map = map;
        // Address space only: a part of it takes memory when a page there is first written or found on disk.
        _versionBytes = (nuint)(map.PageCount * sizeof(PageVersion) + 4095) & ~(nuint)4095;
        _versions = (PageVersion*)NativePages.Reserve(_versionBytes);
    }

    /// <summary>The slot that counts, 0 or 1; -1 when there is none.</summary>
    public int SlotOf(long page) => _versions[page].Slot;

    /// <summary>
    /// Takes over what was found on disk. <paramref name="image"/> is empty for a page without content. False, with nothing changed, for
    /// want of memory.
    /// </summary>
    public bool TryLoad(long page, PageVerdict verdict, ReadOnlySpan<byte> image)
    {
        if (!_map.TryLoad(page, verdict.IsDamaged, hasContent: !image.IsEmpty, out var words))
            return false;
        if (!image.IsEmpty)
            MapFormat.CopyStates(image, words);
        // A page that was never written costs nothing here.
        if (verdict is { Slot: >= 0 } or { HighestSequence: > 0 })
        {
            ref var version = ref _versions[page];
            (version.Sequence, version.HighestSequence, version.Slot) = (verdict.Sequence, verdict.HighestSequence, (sbyte)verdict.Slot);
        }
        if (verdict.TwinIsStale && !verdict.IsDamaged)
            MarkTwinStale(page);
        return true;
    }

    /// <summary>
    /// Writes a page's image as the next version, and says which slot it is for: the one that doesn't count. Changes from here on make the
    /// page dirty again. A version that is never written is never used again.
    /// </summary>
    public int Encode(long page, Span<byte> image, Guid overlay, ulong generation)
    {
        ref var version = ref _versions[page];
        Span<ulong> words = stackalloc ulong[ChunkMap.WordsPerPage];
        _map.TakeStates(page, words);
        // mutation: version-used-twice
        MapFormat.Encode(image, words, overlay, page, ++version.HighestSequence, generation);
        // mutation: overwrite-current-slot
        return version.Slot == 0 ? 1 : 0;
    }

    /// <summary>The image that was last encoded is on stable storage: its slot counts.</summary>
    public void Committed(long page, int slot)
    {
        ref var version = ref _versions[page];
        Debug.Assert(slot is 0 or 1 && slot != version.Slot, "the slot that counts is never written");
        Debug.Assert(version.HighestSequence > version.Sequence, "a version is used once");
        version.Sequence = version.HighestSequence;
        version.Slot = (sbyte)slot;
        MarkTwinStale(page);
    }

    /// <summary>Pages whose two slots differ: a clean close makes them equal.</summary>
    public ReadOnlySpan<long> StaleTwins => CollectionsMarshal.AsSpan(_stale);

    /// <summary>The current version's image once more, for the slot that differs; a page without one gets its first.</summary>
    public void EncodeTwin(long page, Span<byte> image, Guid overlay, ulong generation)
    {
        ref var version = ref _versions[page];
        Span<ulong> words = stackalloc ulong[ChunkMap.WordsPerPage];
        _map.CopyStates(page, words);
        MapFormat.Encode(image, words, overlay, page, version.Slot >= 0 ? version.Sequence : version.HighestSequence + 1, generation);
    }

    public void TwinsAreEqual()
    {
        foreach (var page in _stale)
        {
            Debug.Assert(_versions[page].IsTwinStale, "a page is in the list of stale twins once, and marked so");
            _versions[page].IsTwinStale = false;
        }
        _stale.Clear();
    }

    /// <summary>Forgets every page, as if the map had just been made.</summary>
    public void Forget()
    {
        NativePages.Clear((nint)_versions, _versionBytes);
        _stale.Clear();
    }

    public void Dispose() => NativePages.Release((nint)_versions, _versionBytes);

    private void MarkTwinStale(long page)
    {
        if (_versions[page].IsTwinStale)
            return;
        _versions[page].IsTwinStale = true;
        _stale.Add(page);
    }

    /// <summary>All zeroes means: no version on disk that counts.</summary>
    private struct PageVersion
    {
        public ulong Sequence, HighestSequence;
        public bool IsTwinStale;

        /// <summary>The current slot plus one, so that 0 means none.</summary>
        private sbyte _slotPlusOne;

        public sbyte Slot
        {
            readonly get => (sbyte)(_slotPlusOne - 1);
            set => _slotPlusOne = (sbyte)(value + 1);
        }
    }
}
