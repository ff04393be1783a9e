using System.Buffers.Binary;
using System.Numerics;
using Lincow.Layers;
using Lincow.Origins;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Engine.Stores.Linear;

public class SuperblockTests
{
    private static Superblock Sample(LinearLayout layout = LinearLayout.Front) => new()
    {
        Uuid = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff"),
        Sequence = 9,
        Generation = 3,
        DeviceBytes = 1 << 30,
        MaxDeviceBytes = 2L << 30,
        ChunkShift = 12,
        Layout = layout,
        Flags = SuperblockFlags.InUse,
        DataOffset = layout == LinearLayout.Front ? Superblock.ShiftFor(2L << 30, 12) : 0,
        Origin = new OriginIdentity(OriginKind.File, 12345 * 512, 1_700_000_000, 999_999_999, UInt128.MaxValue - 5),
        OriginUri = "/images/gölden.img",
        DataPath = layout == LinearLayout.Front ? "" : "/data/work.img",
        Mark = 0xfedcba9876543210,
    };

    private static byte[] Encode(Superblock superblock)
    {
        var block = new byte[Superblock.SizeBytes];
        superblock.Encode(block);
        return block;
    }

    [Theory]
    [InlineData(LinearLayout.Front)]
    [InlineData(LinearLayout.Separate)]
    internal void Everything_in_it_survives(LinearLayout layout) =>
        Assert.Equal(Sample(layout), Superblock.TryDecode(Encode(Sample(layout)), "x", out _));

    [Theory]
    [InlineData(null, 0)]
    [InlineData(512, 1)]
    [InlineData(1024, 2)]
    [InlineData(2048, 3)]
    [InlineData(4096, 4)]
    public void Sectors_are_three_bits_that_earlier_builds_keep(int? sectorBytes, ulong bits)
    {
        var superblock = Sample() with { Compatible = 1UL << 40 | 7, SectorBytes = sectorBytes };
        var block = Encode(superblock);
        Assert.Equal(1UL << 40 | bits, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(32)));
        Assert.Equal(sectorBytes, Superblock.TryDecode(block, "x", out _)!.SectorBytes);
    }

    [Fact]
    public void Sectors_that_are_not_known_are_not_remembered_and_kept() =>
        Assert.Equal((null, 5UL), Superblock.TryDecode(Encode(Sample() with { Compatible = 5 }), "x", out _) is var read
            ? (read!.SectorBytes, read.Compatible) : default);

    [Fact]
    public void The_shift_is_a_multiple_of_a_mebibyte_that_leaves_room_for_the_map()
    {
        foreach (var (bytes, shift) in new[] { (512L, 9), (1L << 30, 12), (1L << 43, 12), (1L << 60, 26), (1L << 60, 12) })
        {
            var offset = Superblock.ShiftFor(bytes, shift);
            var mapEnd = Superblock.MapOffsetBytes + ChunkMap.PagesFor(new Geometry(bytes, shift).ChunkCount) * MapFormat.PairBytes;
            Assert.True(offset % (1 << 20) == 0 && offset >= mapEnd && offset - mapEnd < 1 << 20);
        }
    }

    [Fact]
    public void Every_flipped_bit_is_noticed()
    {
        var block = Encode(Sample());
        for (var position = 0; position < block.Length; position++)
        {
            block[position] ^= (byte)(1 << (position % 8));
            Assert.Null(Superblock.TryDecode(block, "x", out var problem));
            Assert.NotEqual(SlotProblem.None, problem);
            block[position] ^= (byte)(1 << (position % 8));
        }
    }

    [Fact]
    public void An_unknown_version_or_incompatible_bit_is_refused_by_name()
    {
        var version = Encode(Sample());
        version[8] = 2;
        Assert.Contains("version 2", Refusal(version), StringComparison.Ordinal);
        var feature = Encode(Sample() with { Incompatible = 1UL << 37 });
        Assert.Contains("feature bit 37", Refusal(feature), StringComparison.Ordinal);
        Assert.Equal("the read-only-compatible feature bit 4", (Sample() with { ReadOnlyCompatible = 16 }).ForbidsWriting);
    }

    [Theory]
    [InlineData(72, long.MaxValue)]
    [InlineData(72, 0)]
    [InlineData(72, 1000)]
    [InlineData(88, 40)]
    [InlineData(92, 7)]
    [InlineData(64, 0)]
    [InlineData(64, -1)]
    [InlineData(56, -1)]
    [InlineData(196, 0)]
    [InlineData(196, -1)]
    [InlineData(112, 4096)]
    [InlineData(112, -(1L << 20))]
    [InlineData(104, 1)]
    public void Impossible_numbers_are_refused_although_the_checksum_is_right(int offset, long value)
    {
        var block = Encode(Sample());
        if (offset is 88 or 92)
            BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(offset), (uint)value);
        else
            BinaryPrimitives.WriteInt64LittleEndian(block.AsSpan(offset), value);
        Seal(block);
        Assert.Null(Superblock.TryDecode(block, "x", out var problem));
        Assert.Equal(SlotProblem.Fields, problem);
    }

    private static string Refusal(byte[] block)
    {
        Seal(block);
        return Assert.Throws<LincowException>(() => Superblock.TryDecode(block, "x", out _)).Message;
    }

    // The superblock's checksum, written down a second time: CRC-32C over all of it with the field itself as zero.
    private static void Seal(byte[] block)
    {
        block.AsSpan(12, 4).Clear();
        var crc = uint.MaxValue;
        foreach (var value in block)
            crc = BitOperations.Crc32C(crc, value);
        BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(12), ~crc);
    }
}
