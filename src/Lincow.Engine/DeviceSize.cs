using System.Numerics;

namespace Lincow;

/// <summary>What a device's size and its chunks can be, with the sentences for what they can't.</summary>
internal static class DeviceSize
{
    /// <summary>Throws <see cref="LincowException"/> when no device can have so many bytes.</summary>
    /// <param name="bytes">The size in bytes.</param>
    /// <param name="what">Where the size comes from, for the message: an option, or a path.</param>
    public static void Require(long bytes, string what)
    {
        if (bytes <= 0)
            throw new LincowException($"{what}: the device would have no bytes. Give its size with --size");
        if (bytes % 512 != 0)
            throw new LincowException($"{what}: {bytes} bytes is not a multiple of 512. Give a size with --size, for example "
                + $"{(bytes + 511) / 512 * 512}");
        if (bytes > Geometry.MaxDeviceBytes)
            throw new LincowException($"{what}: {bytes} bytes is more than 2^60, the largest device");
    }

    /// <summary>
    /// A chunk size in bytes as a power of two. Throws <see cref="LincowException"/> when it isn't one, or is out of bounds.
    /// </summary>
    public static int ChunkShift(long chunkBytes)
    {
        if (chunkBytes < Geometry.MinChunkBytes || chunkBytes > Geometry.MaxChunkBytes || !BitOperations.IsPow2(chunkBytes))
            throw new LincowException($"chunk size {chunkBytes}: must be a power of two from 512 bytes to 64 MiB, for example 4K or 64K");
        return BitOperations.Log2((ulong)chunkBytes);
    }
}
