using System.Numerics;

namespace Lincow;

/// <summary>What a device's size and its chunks can be, with the sentences for what they can't.</summary>
internal static class DeviceSize
{
    /// <summary>Throws <see cref="LincowException"/> when no device can have so many bytes.</summary>
    /// <param name="bytes">The size in bytes.</param>
    /// <param name="file">Whose size it is; null where the caller gave it.</param>
    /// <param name="argument">What the caller gave it as, in the command line's word for it.</param>
    public static void Require(long bytes, string? file, string argument = "size")
    {
        if (bytes <= 0)
            throw new LincowException(ArgumentErrors.DeviceEmpty(file, argument));
        if (bytes % 512 != 0)
            throw new LincowException(ArgumentErrors.DeviceNotSectors(file, argument, bytes));
        if (bytes > Geometry.MaxDeviceBytes)
            throw new LincowException(ArgumentErrors.DeviceTooLarge(file, argument, bytes));
    }

    /// <summary>
    /// A chunk size in bytes as a power of two. Throws <see cref="LincowException"/> when it isn't one, or is out of bounds.
    /// </summary>
    public static int ChunkShift(long chunkBytes)
    {
        if (chunkBytes < Geometry.MinChunkBytes || chunkBytes > Geometry.MaxChunkBytes || !BitOperations.IsPow2(chunkBytes))
            throw new LincowException(ArgumentErrors.ChunkSizeInvalid(chunkBytes));
        return BitOperations.Log2((ulong)chunkBytes);
    }
}
