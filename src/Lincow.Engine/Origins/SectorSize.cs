using System.Buffers.Binary;
using System.Numerics;
using Lincow.Blobs;

namespace Lincow.Origins;

/// <summary>
/// What a disk's logical sectors are: the unit in which it is addressed. Partition tables count in it, so the device over a disk of
/// 4096-byte sectors (4Kn) shows its partitions only if it has such sectors too. An image of one doesn't say so itself, but its partition
/// table lies in its second sector.
/// </summary>
internal static class SectorSize
{
    public const int Usual = 512;

    /// <summary>The kernel takes none that are larger than its page.</summary>
    public const int Largest = 4096;

    /// <summary>UEFI 2.10, section 5.3.2: the header of a GUID partition table.</summary>
    private const int HeaderBytes = 92;

    public static bool CanBe(long bytes) => bytes is >= Usual and <= Largest && BitOperations.IsPow2(bytes);

    /// <summary>An origin's: a block device's own, or what an image's partition table says.</summary>
    public static async ValueTask<int> OfAsync(IBlobControl blob, CancellationToken stop)
    {
        if (CanBe(blob.SectorBytes) || blob.Facts.Kind == BlobKind.Nothing)
            return CanBe(blob.SectorBytes) ? blob.SectorBytes : Usual;
        var head = new byte[2 * Largest];
        try
        {
            return OfImage(head.AsSpan(0, await blob.ReadAsync(0, head, stop).ConfigureAwait(false)));
        }
        catch (IOException)
        {
            // A disk that is failing there.
            return Usual;
        }
    }

    /// <summary>What an image's first bytes say.</summary>
    public static int OfImage(ReadOnlySpan<byte> head)
    {
        // The usual one first: behind it anything may lie where another one's would be.
        // mutation: partition-table-looked-for-in-one-place
        for (var bytes = Usual; bytes <= Largest; bytes *= 2)
        {
            if (head.Length >= bytes + HeaderBytes && IsTable(head[bytes..], bytes))
                return bytes;
        }
        return Usual;
    }

    /// <summary>
    /// The device's: what the caller wants, or else what the overlay remembers, or else the origin's if the device is a whole number of
    /// those. Throws <see cref="LincowException"/>.
    /// </summary>
    public static int Of(int? wanted, int? remembered, OriginFile origin, long deviceBytes)
    {
        if (wanted is { } chosen)
            Require(chosen, deviceBytes);
        return wanted ?? remembered ?? (deviceBytes % origin.SectorBytes == 0 ? origin.SectorBytes : Usual);
    }

    /// <summary>Throws <see cref="LincowException"/> when a device can't have such sectors.</summary>
    public static void Require(int bytes, long deviceBytes)
    {
        if (!CanBe(bytes))
            throw new LincowException(ArgumentErrors.SectorSizeInvalid(bytes, "must be 512, 1024, 2048 or 4096 bytes"));
        if (deviceBytes % bytes != 0)
            throw new LincowException(ArgumentErrors.SectorSizeInvalid(bytes, $"the device's {deviceBytes} bytes are no multiple of it"));
    }

    // Signature, and that it lies where it says.
    private static bool IsTable(ReadOnlySpan<byte> block, int sectorBytes) => block.StartsWith("EFI PART"u8)
        && BinaryPrimitives.ReadUInt32LittleEndian(block[12..]) is >= HeaderBytes and var bytes && bytes <= sectorBytes
        && BinaryPrimitives.ReadUInt64LittleEndian(block[24..]) == 1;
}
