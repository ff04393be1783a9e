using System.Buffers.Binary;
using System.IO.Hashing;

namespace Lincow.Serving.Attach;

/// <summary>A part of a disk.</summary>
/// <param name="Number">As in the device's name: 1 for p1.</param>
internal readonly record struct Partition(int Number, long ByteOffset, long ByteLength);

/// <summary>
/// Reads partition tables, for kernels that can't: a GUID partition table (UEFI specification, 5.3) by its first header or, if that is
/// damaged, by the last one; or else a master boot record with its chain of logical partitions, which count from 5 on.
/// </summary>
/// <param name="sizeBytes">The disk's.</param>
/// <param name="sectorBytes">What the table counts in.</param>
/// <param name="read">Reads bytes at an offset.</param>
internal sealed class PartitionTable(long sizeBytes, int sectorBytes, Func<long, int, byte[]> read)
{
    /// <summary>A table of 128 entries is usual. More than the kernel has minor numbers for are of no use.</summary>
    private const int MaxEntries = 256, MaxEntryBytes = 4096, MaxLogical = 100;

    private const int HeaderBytes = 92, EntryBytes = 16, EntriesAt = 446, FirstLogical = 5;
    private const byte ProtectiveType = 0xee;

    /// <summary>The partitions; none when there is no table.</summary>
    public List<Partition> Read()
    {
        if (sizeBytes < 2 * sectorBytes)
            return [];
        var boot = read(0, 512);
        if (boot[510] != 0x55 || boot[511] != 0xaa)
            return [];
        var entries = Entries(boot);
        if (entries.Any(entry => entry.Type == ProtectiveType))
            return Guid(1) ?? Guid(sizeBytes / sectorBytes - 1) ?? [];
        // A boot sector of a file system ends in the same two bytes, but has something else there.
        if (entries.Any(entry => entry.Status is not (0 or 0x80)))
            return [];
        var partitions = new List<Partition>();
        for (var i = 0; i < entries.Length; i++)
        {
            var (_, type, start, count) = entries[i];
            if (count == 0 || type == 0)
                continue;
            if (IsExtended(type))
                AddLogical(partitions, start);
            else
                Add(partitions, i + 1, start, count);
        }
        return partitions;
    }

    private void Add(List<Partition> partitions, int number, long start, long count)
    {
        if (start > 0 && count > 0 && start <= sizeBytes / sectorBytes - count)
            partitions.Add(new Partition(number, start * sectorBytes, count * sectorBytes));
    }

    // Each record of the chain has one partition, relative to itself, and the place of the next record, relative to the first.
    private void AddLogical(List<Partition> partitions, long first)
    {
        var number = FirstLogical;
        for (var at = first; number < FirstLogical + MaxLogical && at > 0 && at < sizeBytes / sectorBytes;)
        {
            var record = read(at * sectorBytes, 512);
            if (record[510] != 0x55 || record[511] != 0xaa)
                return;
            var (from, next) = (at, 0L);
            foreach (var (_, type, start, count) in Entries(record))
            {
                if (count == 0 || type == 0)
                    continue;
                if (IsExtended(type))
                    next = first + start;
                else
                    Add(partitions, number++, from + start, count);
            }
            // Only forward, so that there is an end.
            at = next > at ? next : 0;
        }
    }

    private List<Partition>? Guid(long sector)
    {
        var header = read(sector * sectorBytes, 512);
        if (!header.AsSpan(0, 8).SequenceEqual("EFI PART"u8))
            return null;
        var headerBytes = BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(12));
        var sum = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(16));
        header.AsSpan(16, 4).Clear();
        var (entriesAt, count, entryBytes) = (BinaryPrimitives.ReadInt64LittleEndian(header.AsSpan(72)),
            BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(80)), BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(84)));
        if (headerBytes is < HeaderBytes or > 512 || Crc32.HashToUInt32(header.AsSpan(0, headerBytes)) != sum
            || BinaryPrimitives.ReadInt64LittleEndian(header.AsSpan(24)) != sector
            || count is < 1 or > MaxEntries || entryBytes is < 128 or > MaxEntryBytes
            || entriesAt < 1 || entriesAt > (sizeBytes - (long)count * entryBytes) / sectorBytes)
            return null;
        var table = read(entriesAt * sectorBytes, count * entryBytes);
        if (Crc32.HashToUInt32(table) != BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(88)))
            return null;
        var partitions = new List<Partition>();
        for (var i = 0; i < count; i++)
        {
            var entry = table.AsSpan(i * entryBytes, entryBytes);
            var (start, last) = (BinaryPrimitives.ReadInt64LittleEndian(entry[32..]), BinaryPrimitives.ReadInt64LittleEndian(entry[40..]));
            if (entry[..16].IndexOfAnyExcept((byte)0) >= 0 && last >= start && last < long.MaxValue)
                Add(partitions, i + 1, start, last - start + 1);
        }
        return partitions;
    }

    private static bool IsExtended(byte type) => type is 0x05 or 0x0f or 0x85;

    private static (byte Status, byte Type, uint Start, uint Count)[] Entries(byte[] sector) => [.. Enumerable.Range(0, 4).Select(i =>
    {
        var entry = sector.AsSpan(EntriesAt + i * EntryBytes, EntryBytes);
        return (entry[0], entry[4], BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]),
            BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]));
    })];
}
