using System.Buffers.Binary;
using Lincow.Conversion;

namespace Lincow.Fuzz.Targets;

/// <summary>COW files of User-mode Linux.</summary>
internal sealed class UmlTarget() : StoreBase(new UmlCowFormat(), Sector)
{
    private const int HeaderBytes = 4128;

    // Half of the damage in the header's numbers, some in its path, the rest in the bitmap.
    protected override int Metadata(int number, int storeBytes) => number switch
    {
        < 128 => 0,
        < 140 => 32 + number,
        _ => 8192 + number % 64,
    };

    protected override long Find(byte[] store, long sector)
    {
        long size = BinaryPrimitives.ReadInt64BigEndian(store.AsSpan(12)),
            alignment = BinaryPrimitives.ReadUInt32BigEndian(store.AsSpan(24));
        var bitmap = (HeaderBytes + alignment - 1) / alignment * alignment;
        var data = (bitmap + ((size + 511) / 512 + 7) / 8 + alignment - 1) / alignment * alignment;
        return (store[bitmap + sector / 8] & 1 << (int)(sector % 8)) == 0 ? -1 : data + sector * Sector;
    }
}
