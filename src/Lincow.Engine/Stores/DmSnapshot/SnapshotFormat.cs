using System.Buffers.Binary;
using System.Numerics;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// The header of a persistent exception store, version 1, as dm-snapshot keeps it (Linux, drivers/md/dm-snap-persistent.c, struct
/// disk_header): the first 16 bytes of chunk 0, little-endian, the rest of the chunk zero. Behind them lincow keeps a word of its own,
/// which the kernel doesn't look at.
///
///     0 magic u32 "SnAp" | 4 valid u32 | 8 version u32 | 12 chunk size u32, sectors | 16 "lcommit1" while a commit is unfinished
/// </summary>
/// <param name="IsValid">False once the kernel has given the store up: its content is as it was, but no longer the snapshot.</param>
/// <param name="ChunkShift">The chunk size in bytes, as a power of two.</param>
/// <param name="IsCommitUnfinished">The origin holds a part of what the store held, and only both together are the device.</param>
internal readonly record struct SnapshotHeader(bool IsValid, int ChunkShift, bool IsCommitUnfinished = false)
{
    /// <summary>One sector: a header is written whole or not at all.</summary>
    public const int SizeBytes = 512;

    public const uint Magic = 0x70416e53;
    public const uint Version = 1;
    private const int SectorShift = 9;
    private const int CommitWordOffset = 16;

    private static ReadOnlySpan<byte> CommitWord => "lcommit1"u8;

    /// <summary>A store that is blank: the kernel makes a new one of it, and so does lincow.</summary>
    public static bool IsBlank(ReadOnlySpan<byte> sector) => BinaryPrimitives.ReadUInt32LittleEndian(sector) == 0;

    public static bool HasMagic(ReadOnlySpan<byte> sector) => sector.Length >= 16
        && BinaryPrimitives.ReadUInt32LittleEndian(sector) == Magic;

    /// <summary>The header, or null and a reason: another magic, another version, an impossible chunk size.</summary>
    public static SnapshotHeader? Decode(ReadOnlySpan<byte> sector, out string? problem)
    {
        problem = null;
        if (!HasMagic(sector))
            problem = $"the magic number is 0x{BinaryPrimitives.ReadUInt32LittleEndian(sector):x8}, not that of an exception store";
        else if (BinaryPrimitives.ReadUInt32LittleEndian(sector[8..]) is var version && version != Version)
            problem = $"the version is {version}, and only version {Version} is known";
        else if (ShiftOf(BinaryPrimitives.ReadUInt32LittleEndian(sector[12..])) is not { } shift)
            problem = $"the chunk size is {BinaryPrimitives.ReadUInt32LittleEndian(sector[12..])} sectors; it must be a power of two of 1 "
                + $"to {Geometry.MaxChunkBytes >> SectorShift}";
        else
            return new SnapshotHeader(BinaryPrimitives.ReadUInt32LittleEndian(sector[4..]) != 0, shift, sector[CommitWordOffset..]
                .StartsWith(CommitWord));
        return null;
    }

    /// <summary>Writes the header's sector.</summary>
    public void Encode(Span<byte> sector)
    {
        sector[..SizeBytes].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(sector, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(sector[4..], IsValid ? 1U : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(sector[8..], Version);
        BinaryPrimitives.WriteUInt32LittleEndian(sector[12..], 1U << (ChunkShift - SectorShift));
        if (IsCommitUnfinished)
            CommitWord.CopyTo(sector[CommitWordOffset..]);
    }

    private static int? ShiftOf(uint sectors) =>
        BitOperations.IsPow2(sectors) && sectors <= Geometry.MaxChunkBytes >> SectorShift ? BitOperations.Log2(sectors) + SectorShift
            : null;
}

/// <summary>
/// One entry of an area: a chunk of the device is kept in another chunk of the store. Both count from the start of their devices.
/// </summary>
/// <param name="OldChunk">The chunk of the device.</param>
/// <param name="NewChunk">Where the store keeps it; 0 ends the list, for chunk 0 is the header.</param>
internal readonly record struct ExceptionEntry(ulong OldChunk, ulong NewChunk)
{
    public const int SizeBytes = 16;

    public static ExceptionEntry Read(ReadOnlySpan<byte> area, int index) => new(
        // mutation: real-entry-fields-swapped (7 lines)
        BinaryPrimitives.ReadUInt64LittleEndian(area[(index * SizeBytes)..]),
        BinaryPrimitives.ReadUInt64LittleEndian(area[(index * SizeBytes + 8)..]));

    public void Write(Span<byte> area, int index)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(area[(index * SizeBytes)..], OldChunk);
        BinaryPrimitives.WriteUInt64LittleEndian(area[(index * SizeBytes + 8)..], NewChunk);
    }
}

/// <summary>
/// Where things lie in a persistent store. Entries are numbered through all areas; area k is chunk 1 + k(E+1), E being the entries of an
/// area; the chunks between areas hold data, and are numbered in order, too.
///
///     chunk   0        1        2 .. E+1       E+2      E+3 .. 2E+2    2E+3
///             header   area 0   data 0..E-1    area 1   data E..2E-1   area 2
/// </summary>
internal readonly record struct SnapshotLayout(int ChunkShift)
{
    private const int SpareChunks = 256;

    public int ChunkBytes => 1 << ChunkShift;

    public int EntriesPerArea => ChunkBytes / ExceptionEntry.SizeBytes;

    private int EntryShift => ChunkShift - 4;

    /// <summary>The chunk of an area.</summary>
    public long AreaChunk(long area) => 1 + area * (EntriesPerArea + 1L);

    /// <summary>The byte at which an area begins.</summary>
    public long AreaOffset(long area) => AreaChunk(area) << ChunkShift;

    public long AreaOf(long entry) => entry >> EntryShift;

    public int IndexInArea(long entry) => (int)(entry & (EntriesPerArea - 1));

    /// <summary>Whether a chunk holds the header or an area.</summary>
    public bool IsMetadata(ulong chunk) => chunk == 0 || chunk % (ulong)(EntriesPerArea + 1) == 1;

    /// <summary>The chunk of the n-th data chunk.</summary>
    public long ChunkOfData(long number) => number + (number >> EntryShift) + 2;

    /// <summary>Which data chunk a chunk is, or would be if it weren't an area: the first data chunk at or behind it.</summary>
    public long DataNumberFrom(long chunk)
    {
        if (chunk <= 2)
            return 0;
        var (area, place) = Math.DivRem(chunk - 1, EntriesPerArea + 1L);
        return area * EntriesPerArea + Math.Max(place - 1, 0);
    }

    /// <summary>
    /// How many exceptions a store can keep: its whole data chunks, as the kernel counts them (persistent_prepare_exception), and one less
    /// if the last would fill an area whose successor, which has to end the list, lies beyond the store.
    /// </summary>
    public long Capacity(long storeBytes)
    {
        var chunks = storeBytes >> ChunkShift;
        var count = DataNumberFrom(chunks);
        // mutation: last-area-without-successor
        return count > 0 && IndexInArea(count) == 0 && AreaChunk(AreaOf(count)) >= chunks ? count - 1 : count;
    }

    /// <summary>
    /// The bytes of a store that can keep every chunk of a device, with some to spare: a chunk that was being written when the power went,
    /// or whose write failed, is not used again.
    /// </summary>
    public long StoreBytesFor(long deviceChunks)
    {
        var count = deviceChunks + deviceChunks / 16 + SpareChunks;
        return Math.Max(AreaOffset(AreaOf(count)) + ChunkBytes, ChunkOfData(count) << ChunkShift);
    }
}
