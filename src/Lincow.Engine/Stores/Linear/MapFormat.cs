using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Lincow.Layers;

namespace Lincow.Stores.Linear;

/// <summary>
/// One page of the chunk map on disk (docs/format.md, "Map pages"): 4096 bytes in 8 sectors of 512. Each sector is whole by itself, with
/// CRC-32C, sequence and generation, because a power cut tears a page between sectors but not within one. So three things can be told
/// apart that a single checksum a page would mix up: whole, torn (every sector sound, but of different writes) and damaged (a sector that
/// no write ever made).
///
///     sector: 0 crc32c u32 | 4 magic u32 "LCM1" | 8 sequence u64 | 16 generation u64
///             24 states, 61 x u64, chunk i at bits 2i of word i/32
/// </summary>
internal static class MapFormat
{
    public const int PageBytes = 4096;
    public const int SectorBytes = 512;
    public const int SectorsPerPage = PageBytes / SectorBytes;
    public const int SectorHeaderBytes = 24;
    public const int WordsPerSector = (SectorBytes - SectorHeaderBytes) / 8;
    public const int WordsPerPage = WordsPerSector * SectorsPerPage;

    /// <summary>A page's two slots lie side by side, so one read brings both.</summary>
    public const int PairBytes = 2 * PageBytes;

    private const uint Magic = 0x314d434c;
    private const ulong LowBits = 0x5555555555555555;

    /// <summary>The byte offset of a page's pair of slots from the start of the map.</summary>
    public static long PairOffset(long page) => page * PairBytes;

    /// <summary>Writes a page image.</summary>
    public static void Encode(Span<byte> image, ReadOnlySpan<ulong> words, Guid overlay, long page, ulong sequence, ulong generation)
    {
        for (var i = 0; i < SectorsPerPage; i++)
        {
            var sector = image.Slice(i * SectorBytes, SectorBytes);
            BinaryPrimitives.WriteUInt32LittleEndian(sector[4..], Magic);
            BinaryPrimitives.WriteUInt64LittleEndian(sector[8..], sequence);
            BinaryPrimitives.WriteUInt64LittleEndian(sector[16..], generation);
            MemoryMarshal.AsBytes(words.Slice(i * WordsPerSector, WordsPerSector)).CopyTo(sector[SectorHeaderBytes..]);
            BinaryPrimitives.WriteUInt32LittleEndian(sector, Checksum(sector, overlay, page, i));
        }
    }

    /// <summary>Copies the states out of a page image that <see cref="Inspect"/> found whole.</summary>
    public static void CopyStates(ReadOnlySpan<byte> image, Span<ulong> words)
    {
        for (var i = 0; i < SectorsPerPage; i++)
            image.Slice(i * SectorBytes + SectorHeaderBytes, WordsPerSector * 8)
                .CopyTo(MemoryMarshal.AsBytes(words.Slice(i * WordsPerSector, WordsPerSector)));
    }

    /// <summary>Says what a slot holds. Looks at every sector.</summary>
    public static SlotFacts Inspect(ReadOnlySpan<byte> image, Guid overlay, long page)
    {
        if (image.IndexOfAnyExcept((byte)0) < 0)
            return new SlotFacts(SlotCondition.Blank, default, -1);
        var newest = default(SlotVersion);
        SlotVersion? first = null;
        var (mixed, damagedSector) = (false, -1);
        for (var i = 0; i < SectorsPerPage; i++)
        {
            var sector = image.Slice(i * SectorBytes, SectorBytes);
            var version = default(SlotVersion);
            if (sector.IndexOfAnyExcept((byte)0) >= 0)
            {
                if (!IsSound(sector, overlay, page, i))
                {
                    damagedSector = i;
                    continue;
                }
                version = new SlotVersion(BinaryPrimitives.ReadUInt64LittleEndian(sector[16..]),
                    BinaryPrimitives.ReadUInt64LittleEndian(sector[8..]));
            }
            mixed |= first is { } seen && seen != version;
            first ??= version;
            if (version > newest)
                newest = version;
        }
        var condition = damagedSector >= 0 ? SlotCondition.Damaged : mixed ? SlotCondition.Torn : SlotCondition.Whole;
        return new SlotFacts(condition, newest, damagedSector);
    }

    private static bool IsSound(ReadOnlySpan<byte> sector, Guid overlay, long page, int index)
    {
        if (BinaryPrimitives.ReadUInt32LittleEndian(sector) != Checksum(sector, overlay, page, index)
            || BinaryPrimitives.ReadUInt32LittleEndian(sector[4..]) != Magic
            // A version that could only be followed by zero was never written by counting.
            || BinaryPrimitives.ReadInt64LittleEndian(sector[8..]) < 0)
            return false;
        foreach (var word in MemoryMarshal.Cast<byte, ulong>(sector[SectorHeaderBytes..]))
        {
            // 11 is no state.
            // mutation: chunk-states-unchecked
            if ((word & (word >> 1) & LowBits) != 0)
                return false;
        }
        return true;
    }

    /// <summary>
    /// CRC-32C over the overlay's uuid, the page and the sector number, then the sector after its checksum: a sector found in another place
    /// is damage too.
    /// </summary>
    private static uint Checksum(ReadOnlySpan<byte> sector, Guid overlay, long page, int index)
    {
        Span<byte> place = stackalloc byte[16];
        overlay.TryWriteBytes(place, bigEndian: true, out _);
        var crc = BitOperations.Crc32C(uint.MaxValue, BinaryPrimitives.ReadUInt64LittleEndian(place));
        crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(place[8..]));
        crc = BitOperations.Crc32C(crc, (ulong)page);
        crc = BitOperations.Crc32C(crc, (uint)index);
        crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt32LittleEndian(sector[4..]));
        foreach (var word in MemoryMarshal.Cast<byte, ulong>(sector[8..]))
            crc = BitOperations.Crc32C(crc, word);
        return ~crc;
    }
}

/// <summary>Orders the writes of a page: generation first, then sequence.</summary>
internal readonly record struct SlotVersion(ulong Generation, ulong Sequence) : IComparable<SlotVersion>
{
    public int CompareTo(SlotVersion other) => Generation != other.Generation ? Generation.CompareTo(other.Generation)
        : Sequence.CompareTo(other.Sequence);

    public static bool operator >(SlotVersion left, SlotVersion right) => left.CompareTo(right) > 0;

    public static bool operator <(SlotVersion left, SlotVersion right) => left.CompareTo(right) < 0;
}

internal enum SlotCondition
{
    /// <summary>Never written: all zeroes.</summary>
    Blank,

    /// <summary>Eight sound sectors of one write.</summary>
    Whole,

    /// <summary>Sound sectors of different writes: a power cut in the midst of one.</summary>
    Torn,

    /// <summary>A sector that no write made.</summary>
    Damaged,
}

/// <summary>What a slot holds.</summary>
/// <param name="Condition">Blank, whole, torn or damaged.</param>
/// <param name="Newest">The newest version that any sound sector bears.</param>
/// <param name="DamagedSector">The last damaged sector, or -1.</param>
internal readonly record struct SlotFacts(SlotCondition Condition, SlotVersion Newest, int DamagedSector);

/// <summary>Which of a page's two slots counts (docs/format.md, "Choosing between the twins").</summary>
/// <param name="Slot">0 or 1; -1 when no slot holds anything of this generation.</param>
/// <param name="Sequence">The sequence that the slot bears.</param>
/// <param name="HighestSequence">The higher one of the two slots' newest versions: the next write must exceed it.</param>
/// <param name="IsDamaged">The page's states are lost.</param>
/// <param name="TwinIsStale">The slots differ.</param>
/// <param name="Finding">What is wrong, for people; null for what a power cut leaves behind in the ordinary way.</param>
internal readonly record struct PageVerdict(int Slot, ulong Sequence, ulong HighestSequence, bool IsDamaged, bool TwinIsStale,
    string? Finding)
{
    /// <summary>The page holds nothing of this generation: every chunk is the origin's.</summary>
    public bool IsEmpty => Slot < 0 && !IsDamaged;

    /// <summary>
    /// The rules. After a clean close both slots of a page are equal, so either can stand in for the other. In use they alternate, so the
    /// older one may stand in only when the other is known not to hold a later, acknowledged state: when it is torn (its write was never
    /// acknowledged), or damaged but recognisably older.
    /// </summary>
    public static PageVerdict Choose(SlotFacts first, SlotFacts second, ulong generation, bool wasClean)
    {
        var highest = Math.Max(first.Newest.Sequence, second.Newest.Sequence);
        if (first.Newest.Generation > generation || second.Newest.Generation > generation)
            return Damaged("a map page of a later generation than the superblock's");
        var (firstUsable, secondUsable) = (IsUsable(first), IsUsable(second));
        if (firstUsable && secondUsable)
        {
            var slot = first.Newest < second.Newest ? 1 : 0;
            var winner = slot == 0 ? first : second;
            var differ = first.Newest != second.Newest;
            var finding = differ && wasClean ? "twins differ although the overlay was closed cleanly" : null;
            return Sound(slot, winner, differ, finding);
        }
        // Only a page without content is ever written in both slots before a sync: two torn slots are such a page.
        if (!wasClean && first.Condition == SlotCondition.Torn && second.Condition == SlotCondition.Torn)
            return new PageVerdict(-1, 0, highest, false, true, null);
        if (!firstUsable && !secondUsable)
            return Damaged("both slots of a map page are unusable");
        var (good, bad, goodSlot) = firstUsable ? (first, second, 0) : (second, first, 1);
        var name = $"slot {1 - goodSlot} is {(bad.Condition == SlotCondition.Torn ? "torn" : $"damaged in sector {bad.DamagedSector}")}";
        if (wasClean)
            // mutation: damage-told-to-nobody
            return Sound(goodSlot, good, true, name + "; its twin is sound");
        if (bad.Condition == SlotCondition.Torn)
            return Sound(goodSlot, good, true, null);
        var floor = good.Newest > new SlotVersion(generation, 0) ? good.Newest : new SlotVersion(generation, 0);
        var isNotNewer = bad.Newest != default && !(bad.Newest > floor);
        // mutation: damaged-twin-passed-over
        return isNotNewer
            ? Sound(goodSlot, good, true, name + "; it was not the newer of the two")
            : Damaged(name + " and may have been the newer of the two");

        // mutation: forget-generation
        PageVerdict Sound(int slot, SlotFacts facts, bool differ, string? finding) => facts.Newest.Generation == generation
            ? new PageVerdict(slot, facts.Newest.Sequence, highest, false, differ, finding)
            : new PageVerdict(-1, 0, highest, false, differ, finding);

        PageVerdict Damaged(string finding) => new(-1, 0, highest, true, true, finding);
    }

    // mutation: torn-slot-trusted
    private static bool IsUsable(SlotFacts slot) => slot.Condition is SlotCondition.Blank or SlotCondition.Whole;
}
