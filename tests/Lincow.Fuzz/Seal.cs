using System.Buffers.Binary;
using System.Numerics;

namespace Lincow.Fuzz;

/// <summary>
/// Makes checksums right again after a block was changed, so that what comes after them is reached. Written from docs/format.md alone.
/// </summary>
internal static class Seal
{
    public const int SectorBytes = 512, PageBytes = 4096, SlotBytes = 4096;

    public static void Superblock(Span<byte> slot)
    {
        slot.Slice(12, 4).Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(slot[12..], ~Crc(uint.MaxValue, slot));
    }

    /// <summary>Seals those of a page's eight sectors whose bits are set.</summary>
    public static void Page(Span<byte> page, Guid overlay, long number, int sectors)
    {
        Span<byte> place = stackalloc byte[28];
        overlay.TryWriteBytes(place, bigEndian: true, out _);
        BinaryPrimitives.WriteInt64LittleEndian(place[16..], number);
        for (var i = 0; i < 8; i++)
        {
            if ((sectors & 1 << i) == 0)
                continue;
            BinaryPrimitives.WriteInt32LittleEndian(place[24..], i);
            var sector = page.Slice(i * SectorBytes, SectorBytes);
            BinaryPrimitives.WriteUInt32LittleEndian(sector, ~Crc(Crc(uint.MaxValue, place), sector[4..]));
        }
    }

    private static uint Crc(uint crc, ReadOnlySpan<byte> bytes)
    {
        for (; bytes.Length >= 4; bytes = bytes[4..])
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt32LittleEndian(bytes));
        return crc;
    }
}
