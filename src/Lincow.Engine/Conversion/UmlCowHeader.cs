using System.Buffers.Binary;
using System.Text;

namespace Lincow.Conversion;

/// <summary>
/// The header of a User-mode Linux COW file, version 3 (Linux, arch/um/drivers/cow_user.c): big-endian, packed, 4128 bytes. A bitmap with a
/// bit for each sector follows at the next multiple of the alignment, then, aligned again, room for every sector of the device.
///
///     0 magic u32 "OOOM" | 4 version u32 | 8 mtime of the backing file u32, seconds | 12 size u64 | 20 sector size u32 | 24 alignment u32
///     | 28 format u32, 0 a bitmap | 32 path of the backing file, 4096 bytes, NUL-terminated
/// </summary>
internal sealed record UmlCowHeader
{
    public const int SizeBytes = 32 + PathBytes;
    public const int SectorBytes = 512;

    /// <summary>What User-mode Linux itself uses: a page.</summary>
    public const uint UsualAlignment = 4096;

    /// <summary>User-mode Linux keeps the offset of the data in an int.</summary>
    public const long MaxDataOffset = int.MaxValue;

    private const int PathBytes = 4096;
    private const uint Magic = 0x4f4f4f4d, Version = 3, MaxAlignment = 1 << 30;

    public required long DeviceBytes { get; init; }

    /// <summary>Modification time of the backing file, seconds since 1970, as far as 32 bits hold it.</summary>
    public required uint ModifiedSeconds { get; init; }

    public uint Alignment { get; init; } = UsualAlignment;

    public required string BackingPath { get; init; }

    public long SectorCount => (DeviceBytes + SectorBytes - 1) / SectorBytes;

    public long BitmapOffset => Align(SizeBytes);

    public long BitmapBytes => (SectorCount + 7) / 8;

    public long DataOffset => Align(BitmapOffset + BitmapBytes);

    public static bool HasMagic(ReadOnlySpan<byte> head) => head.Length >= 4 && BinaryPrimitives.ReadUInt32BigEndian(head) == Magic;

    /// <summary>The header, or null and a reason.</summary>
    public static UmlCowHeader? Decode(ReadOnlySpan<byte> block, out string? problem)
    {
        problem = null;
        if (block.Length < SizeBytes)
        {
            problem = $"it has only {block.Length} bytes, and the header has {SizeBytes}";
            return null;
        }
        var version = BinaryPrimitives.ReadUInt32BigEndian(block[4..]);
        var size = BinaryPrimitives.ReadUInt64BigEndian(block[12..]);
        var sectorBytes = BinaryPrimitives.ReadUInt32BigEndian(block[20..]);
        var alignment = BinaryPrimitives.ReadUInt32BigEndian(block[24..]);
        var format = BinaryPrimitives.ReadUInt32BigEndian(block[28..]);
        var path = block[32..SizeBytes];
        var pathBytes = path.IndexOf((byte)0);
        if (!HasMagic(block))
            problem = "it doesn't begin with the magic number of a COW file";
        else if (version != Version)
            problem = $"its version is {version}, and only version {Version} is known";
        // mutation: cow-sizes-believed
        else if (size is 0 or > Geometry.MaxDeviceBytes)
            problem = $"its device would have {size} bytes";
        else if (sectorBytes != SectorBytes)
            problem = $"its sector size is {sectorBytes}, and {SectorBytes} is the only one in use";
        else if (alignment is 0 or > MaxAlignment)
            problem = $"its alignment is {alignment}";
        else if (format != 0)
            problem = $"its changes are marked in the way {format}, and only 0, a bitmap, is known";
        else if (pathBytes < 0)
            problem = "the path of its backing file is no path";
        else
            return new UmlCowHeader
            {
                DeviceBytes = (long)size,
                ModifiedSeconds = BinaryPrimitives.ReadUInt32BigEndian(block[8..]),
                Alignment = alignment,
                BackingPath = Encoding.UTF8.GetString(path[..pathBytes])
            };
        return null;
    }

    public byte[] Encode()
    {
        var block = new byte[SizeBytes];
        BinaryPrimitives.WriteUInt32BigEndian(block, Magic);
        BinaryPrimitives.WriteUInt32BigEndian(block.AsSpan(4), Version);
        BinaryPrimitives.WriteUInt32BigEndian(block.AsSpan(8), ModifiedSeconds);
        BinaryPrimitives.WriteInt64BigEndian(block.AsSpan(12), DeviceBytes);
        BinaryPrimitives.WriteUInt32BigEndian(block.AsSpan(20), SectorBytes);
        BinaryPrimitives.WriteUInt32BigEndian(block.AsSpan(24), Alignment);
        if (Encoding.UTF8.GetByteCount(BackingPath) >= PathBytes)
            throw new LincowException(ConversionErrors.UmlPathTooLong(BackingPath, PathBytes - 1));
        Encoding.UTF8.GetBytes(BackingPath, block.AsSpan(32));
        return block;
    }

    private long Align(long byteOffset) => (byteOffset + Alignment - 1) / Alignment * Alignment;
}
