using System.Buffers.Binary;

namespace Lincow.SystemTests.Harness;

/// <summary>Writes GUID partition tables (UEFI 2.10, section 5.3) onto disks of any sectors.</summary>
internal static class PartitionTable
{
    private const int HeaderBytes = 92, EntryBytes = 128, EntryCount = 128;

    /// <summary>Both copies, over the whole of a file.</summary>
    /// <param name="path">The disk.</param>
    /// <param name="sectorBytes">Its sectors.</param>
    /// <param name="parts">First sector and number of sectors of each partition.</param>
    public static void Write(string path, int sectorBytes, params (long First, long Count)[] parts)
    {
        var last = new FileInfo(path).Length / sectorBytes - 1;
        var entries = new byte[EntryCount * EntryBytes];
        for (var i = 0; i < parts.Length; i++)
        {
            var entry = entries.AsSpan(i * EntryBytes);
            Guid.Parse("0fc63daf-8483-4772-8e79-3d69d8477de4").TryWriteBytes(entry);
            new Guid(i + 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11).TryWriteBytes(entry[16..]);
            BinaryPrimitives.WriteInt64LittleEndian(entry[32..], parts[i].First);
            BinaryPrimitives.WriteInt64LittleEndian(entry[40..], parts[i].First + parts[i].Count - 1);
        }
        var entrySectors = (entries.Length + sectorBytes - 1) / sectorBytes;
        Scratch.WriteAt(path, 0, ProtectiveRecord(last));
        Scratch.WriteAt(path, sectorBytes, Header(1, last, 2, entries, last, entrySectors));
        Scratch.WriteAt(path, 2L * sectorBytes, entries);
        Scratch.WriteAt(path, (last - entrySectors) * sectorBytes, entries);
        Scratch.WriteAt(path, last * sectorBytes, Header(last, 1, last - entrySectors, entries, last, entrySectors));
    }

    private static uint Crc32(byte[] bytes)
    {
        var crc = uint.MaxValue;
        foreach (var each in bytes)
        {
            crc ^= each;
            for (var bit = 0; bit < 8; bit++)
                crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
        }
        return ~crc;
    }

    private static byte[] ProtectiveRecord(long last)
    {
        var record = new byte[512];
        record[446 + 4] = 0xee;
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(446 + 8), 1);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(446 + 12), (uint)Math.Min(last, uint.MaxValue));
        (record[510], record[511]) = (0x55, 0xaa);
        return record;
    }

    private static byte[] Header(long here, long there, long entriesAt, byte[] entries, long last, int entrySectors)
    {
        var header = new byte[HeaderBytes];
        "EFI PART"u8.CopyTo(header);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(8), 0x10000);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(12), HeaderBytes);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(24), here);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(32), there);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(40), 2 + entrySectors);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(48), last - entrySectors - 1);
        new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11).TryWriteBytes(header.AsSpan(56));
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(72), entriesAt);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(80), EntryCount);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(84), EntryBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(88), Crc32(entries));
        BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(16), Crc32(header));
        return header;
    }
}
