using System.Buffers.Binary;
using System.IO.Hashing;
using Lincow.Serving.Attach;

namespace Lincow.Tests.Serving.Attach;

public class PartitionTableTests
{
    private const int DiskBytes = 8 << 20;

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public void A_guid_partition_table_is_read_by_either_header(int sectorBytes)
    {
        var disk = Guid(sectorBytes, (40, 8), (100, 200));
        Partition[] expected = [new(1, 40L * sectorBytes, 8L * sectorBytes), new(2, 100L * sectorBytes, 200L * sectorBytes)];
        Assert.Equal(expected, Read(disk, sectorBytes));
        disk[sectorBytes + 20] ^= 1;
        Assert.Equal(expected, Read(disk, sectorBytes));
        disk[^(sectorBytes - 20)] ^= 1;
        Assert.Empty(Read(disk, sectorBytes));
    }

    [Fact]
    public void A_master_boot_record_has_primary_and_logical_partitions()
    {
        var disk = new byte[DiskBytes];
        Entry(disk, 0, 0, 0x83, 2048, 2048);
        Entry(disk, 0, 2, 0x05, 4096, 8192);
        Entry(disk, 4096 * 512, 0, 0x83, 63, 1000);
        Entry(disk, 4096 * 512, 1, 0x05, 2048, 2048);
        Entry(disk, (4096 + 2048) * 512, 0, 0x83, 63, 500);
        Assert.Equal([new(1, 2048 * 512, 2048 * 512), new(5, (4096 + 63) * 512, 1000 * 512), new(6, (4096 + 2048 + 63) * 512, 500 * 512)],
            Read(disk, 512));
    }

    [Fact]
    public void What_is_no_table_or_leads_nowhere_has_no_partitions()
    {
        var disk = new byte[DiskBytes];
        Assert.Empty(Read(disk, 512));
        // Beyond the end, and a chain that leads back.
        Entry(disk, 0, 0, 0x83, 2048, DiskBytes / 512);
        Entry(disk, 0, 1, 0x05, 4096, 4096);
        Entry(disk, 4096 * 512, 1, 0x05, 0, 4096);
        Assert.Empty(Read(disk, 512));
        // A boot sector of FAT or NTFS: code where the entries are.
        new Random(7).NextBytes(disk.AsSpan(0, 510));
        disk[446] = 0x41;
        Assert.Empty(Read(disk, 512));
        Assert.Empty(Read(new byte[512], 512));
        // Whatever the numbers, nothing lies outside.
        for (var seed = 0; seed < 2000; seed++)
        {
            var random = new Random(seed);
            for (var i = 0; i < 4; i++)
                Entry(disk, 0, i, (byte)(random.Next(3) == 0 ? 5 : 0x83), (uint)random.Next(20_000), (uint)random.Next());
            Assert.All(Read(disk, 512), part => Assert.True(part.ByteOffset > 0 && part.ByteOffset + part.ByteLength <= DiskBytes));
        }
    }

    private static List<Partition> Read(byte[] disk, int sectorBytes) =>
        new PartitionTable(disk.Length, sectorBytes, (offset, length) => disk[(int)offset..((int)offset + length)]).Read();

    private static void Entry(byte[] disk, int recordAt, int index, byte type, uint start, uint count)
    {
        var entry = disk.AsSpan(recordAt + 446 + index * 16, 16);
        (entry[0], entry[4]) = (0, type);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], start);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], count);
        (disk[recordAt + 510], disk[recordAt + 511]) = (0x55, 0xaa);
    }

    private static byte[] Guid(int sectorBytes, params (int Start, int Count)[] parts)
    {
        var disk = new byte[DiskBytes];
        var sectors = DiskBytes / sectorBytes;
        Entry(disk, 0, 0, 0xee, 1, (uint)sectors - 1);
        var table = new byte[128 * 128];
        for (var i = 0; i < parts.Length; i++)
        {
            var entry = table.AsSpan(i * 128);
            entry[..32].Fill((byte)(i + 1));
            BinaryPrimitives.WriteInt64LittleEndian(entry[32..], parts[i].Start);
            BinaryPrimitives.WriteInt64LittleEndian(entry[40..], parts[i].Start + parts[i].Count - 1);
        }
        var tableSectors = table.Length / sectorBytes;
        foreach (var (at, entriesAt) in new[] { (1, 2), (sectors - 1, sectors - 1 - tableSectors) })
        {
            table.CopyTo(disk, entriesAt * sectorBytes);
            var header = disk.AsSpan(at * sectorBytes, 92);
            "EFI PART"u8.CopyTo(header);
            BinaryPrimitives.WriteInt32LittleEndian(header[12..], 92);
            BinaryPrimitives.WriteInt64LittleEndian(header[24..], at);
            BinaryPrimitives.WriteInt64LittleEndian(header[72..], entriesAt);
            BinaryPrimitives.WriteInt32LittleEndian(header[80..], 128);
            BinaryPrimitives.WriteInt32LittleEndian(header[84..], 128);
            BinaryPrimitives.WriteUInt32LittleEndian(header[88..], Crc32.HashToUInt32(table));
            BinaryPrimitives.WriteUInt32LittleEndian(header[16..], Crc32.HashToUInt32(header));
        }
        return disk;
    }
}
