using System.Buffers.Binary;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// Changes fields of an overlay's superblocks and makes their checksums right again, from the format's description alone (docs/format.md).
/// </summary>
internal static class SuperblockPatch
{
    public const int SlotBytes = 4096;

    public const int VersionAt = 8, ReadOnlyCompatibleAt = 40, IncompatibleAt = 48, ChunkShiftAt = 88, DeviceBytesAt = 72;

    private const int ChecksumAt = 12;

    private static readonly uint[] Table = MakeTable();

    /// <summary>Writes a field into both slots, with sound checksums.</summary>
    public static void Write(string path, int fieldAt, ReadOnlySpan<byte> value)
    {
        for (var slot = 0; slot < 2; slot++)
        {
            var block = Scratch.ReadAt(path, slot * SlotBytes, SlotBytes);
            Assert.True("LINCOW\r\n"u8.SequenceEqual(block.AsSpan(0, 8)), "the magic");
            Assert.True(BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(ChecksumAt)) == Checksum(block),
                "the checksum as the format describes it");
            value.CopyTo(block.AsSpan(fieldAt));
            BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan(ChecksumAt), Checksum(block));
            Scratch.WriteAt(path, slot * SlotBytes, block);
        }
    }

    public static void WriteUInt64(string path, int fieldAt, ulong value)
    {
        Span<byte> field = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(field, value);
        Write(path, fieldAt, field);
    }

    public static void WriteUInt32(string path, int fieldAt, uint value)
    {
        Span<byte> field = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(field, value);
        Write(path, fieldAt, field);
    }

    /// <summary>Flips a byte of a slot, so that its checksum is wrong.</summary>
    public static void Damage(string path, int slot)
    {
        var at = slot * SlotBytes + 100;
        Scratch.WriteAt(path, at, [(byte)(Scratch.ReadAt(path, at, 1)[0] ^ 0x40)]);
    }

    /// <summary>CRC-32C over the whole slot, its own field counting as zero.</summary>
    private static uint Checksum(ReadOnlySpan<byte> block)
    {
        var crc = uint.MaxValue;
        for (var i = 0; i < SlotBytes; i++)
            crc = Table[(byte)(crc ^ (i is >= ChecksumAt and < ChecksumAt + 4 ? 0 : block[i]))] ^ (crc >> 8);
        return ~crc;
    }

    private static uint[] MakeTable()
    {
        const uint castagnoli = 0x82f63b78;
        var table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            var value = i;
            for (var bit = 0; bit < 8; bit++)
                value = (value & 1) != 0 ? castagnoli ^ (value >> 1) : value >> 1;
            table[i] = value;
        }
        return table;
    }
}
