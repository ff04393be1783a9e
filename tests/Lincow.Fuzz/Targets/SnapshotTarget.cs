using System.Buffers.Binary;
using Lincow.Conversion;

namespace Lincow.Fuzz.Targets;

/// <summary>Exception stores of dm-snapshot: one with several areas, one with a single one.</summary>
internal sealed class SnapshotTarget() : StoreBase(StoreChangeFormat.Of("snapshot"), 512, 4096)
{
    // A quarter of the damage in the header, the rest in the first areas, whatever the chunk size.
    protected override int Metadata(int number, int storeBytes) => number switch
    {
        < 64 => 0,
        < 160 => number % 2 == 0 ? 512 : 4096,
        _ => 512 * (1 + 33 * (number % 8)) % storeBytes,
    };

    protected override long Find(byte[] store, long sector)
    {
        long chunk = BinaryPrimitives.ReadUInt32LittleEndian(store.AsSpan(12)) * 512L, entries = chunk / 16;
        for (long i = 0; ; i++)
        {
            var entry = store.AsSpan((int)((1 + i / entries * (entries + 1)) * chunk + i % entries * 16), 16);
            var place = BinaryPrimitives.ReadInt64LittleEndian(entry[8..]);
            if (place == 0)
                return -1;
            if (BinaryPrimitives.ReadInt64LittleEndian(entry) == sector * Sector / chunk)
                return place * chunk + sector * Sector % chunk;
        }
    }
}
