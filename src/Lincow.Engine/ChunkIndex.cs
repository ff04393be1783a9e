namespace Lincow;

/// <summary>The number of a chunk, counted from the device's start. Never a byte offset, never a count.</summary>
internal readonly record struct ChunkIndex(long Value) : IComparable<ChunkIndex>
{
    public static ChunkIndex operator +(ChunkIndex index, long chunkCount) => new(index.Value + chunkCount);

    public static long operator -(ChunkIndex end, ChunkIndex start) => end.Value - start.Value;

    public int CompareTo(ChunkIndex other) => Value.CompareTo(other.Value);

    public static bool operator <(ChunkIndex left, ChunkIndex right) => left.Value < right.Value;

    public static bool operator >(ChunkIndex left, ChunkIndex right) => left.Value > right.Value;

    public static bool operator <=(ChunkIndex left, ChunkIndex right) => left.Value <= right.Value;

    public static bool operator >=(ChunkIndex left, ChunkIndex right) => left.Value >= right.Value;
}

/// <summary>
/// A device's size and chunk size, and the arithmetic between bytes and chunks. Chunk sizes are powers of two, so it is all shifts.
/// </summary>
internal readonly record struct Geometry
{
    /// <summary>A sector: nothing in lincow is smaller.</summary>
    public const int MinChunkBytes = 512;

    /// <summary>The largest request is 64 MiB, and a chunk need not be more.</summary>
    public const int MaxChunkBytes = 64 << 20;

    /// <summary>2^60 bytes, as docs/format.md promises; leaves room for offsets plus the shift in 63 bits.</summary>
    public const long MaxDeviceBytes = 1L << 60;

    public Geometry(long deviceBytes, int chunkShift) => (DeviceBytes, ChunkShift) = (deviceBytes, chunkShift);

    public long DeviceBytes { get; }
    public int ChunkShift { get; }
    public long ChunkBytes => 1L << ChunkShift;

    /// <summary>The last chunk may be short.</summary>
    public long ChunkCount => (DeviceBytes + ChunkBytes - 1) >> ChunkShift;

    public ChunkIndex ChunkAt(long byteOffset) => new(byteOffset >> ChunkShift);

    /// <summary>The chunk that starts at or after a byte.</summary>
    public ChunkIndex ChunkFrom(long byteOffset) => new((byteOffset + ChunkBytes - 1) >> ChunkShift);

    public long StartOf(ChunkIndex chunk) => chunk.Value << ChunkShift;

    /// <summary>The first byte after a chunk, at most the device's end.</summary>
    public long EndOf(ChunkIndex chunk) => Math.Min((chunk.Value + 1) << ChunkShift, DeviceBytes);
}
