using Code = Lincow.LincowErrorCode;

namespace Lincow;

/// <summary>Errors of sizes, names and paths that can't be meant, whoever takes them.</summary>
internal static class ArgumentErrors
{
    /// <param name="argument">What the text was given as.</param>
    /// <param name="text">The text.</param>
    public static LincowError SizeMalformed(string argument, string text) => new(Code.SizeMalformed, null,
        $"{argument}: '{text}' is not a size. Write bytes, or a number with K, M, G, T or P, for example 64K or 20G",
        new("argument", argument), new("text", text));

    public static LincowError SizeFractional(string argument, string text) => new(Code.SizeFractional, null,
        $"{argument}: '{text}' is not a whole number of bytes", new("argument", argument), new("text", text));

    /// <param name="file">Where the size comes from; null where the caller gave it.</param>
    /// <param name="argument">What the caller gave it as.</param>
    public static LincowError DeviceEmpty(string? file, string argument) => new(Code.DeviceEmpty, file,
        $"{file ?? argument}: the device would have no bytes", new("argument", argument), new("sizeBytes", 0));

    public static LincowError DeviceNotSectors(string? file, string argument, long sizeBytes) => new(Code.DeviceNotSectors, file,
        $"{file ?? argument}: {sizeBytes} bytes is not a multiple of 512",
        new("argument", argument), new("sizeBytes", sizeBytes), new("roundedBytes", (sizeBytes + 511) / 512 * 512));

    public static LincowError DeviceTooLarge(string? file, string argument, long sizeBytes) => new(Code.DeviceTooLarge, file,
        $"{file ?? argument}: {sizeBytes} bytes is more than 2^60, the largest device",
        new("argument", argument), new("sizeBytes", sizeBytes));

    public static LincowError ChunkSizeInvalid(long chunkBytes) => new(Code.ChunkSizeInvalid, null,
        $"chunk size {chunkBytes}: must be a power of two from 512 bytes to 64 MiB, for example 4K or 64K",
            new LincowFact("chunkBytes", chunkBytes));

    public static LincowError SectorSizeInvalid(long sectorBytes, string why) => new(Code.SectorSizeInvalid, null,
        $"sector size {sectorBytes}: {why}", new("sectorBytes", sectorBytes), new("why", why));

    /// <param name="what">Of what the path was to be.</param>
    public static LincowError PathEmpty(string what) => new(Code.PathEmpty, null,
        $"the path of the {what} is empty; give a file or block device", new LincowFact("what", what));

    public static LincowError PathTooLong(string path, long pathBytes, long maxBytes) => new(Code.PathTooLong, path,
        $"the path '{Begin(path)}...' has {pathBytes} bytes, and an overlay can remember {maxBytes}. Use a shorter path, for example "
        + "through a symbolic link", new("pathBytes", pathBytes), new("maxBytes", maxBytes));

    public static LincowError StoreUnknown(string name, string known) => new(Code.StoreUnknown, null,
        $"the store '{name}' is unknown; use {known}", new("name", name), new("known", known));

    /// <summary>As much of a long path as a sentence can bear.</summary>
    internal static string Begin(string path) => path[..Math.Min(40, path.Length)];
}
