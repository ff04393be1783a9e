using System.Globalization;

namespace Lincow.Cli;

/// <summary>
/// A device-mapper table line as dmsetup takes it: <c>START LENGTH cow ORIGIN OVERLAY P|N CHUNK [MAP]</c>, lengths in sectors of 512 bytes
/// (Documentation/admin-guide/device-mapper/snapshot.rst for the words that it borrows).
/// </summary>
/// <param name="SizeBytes">The device's size.</param>
/// <param name="Origin">The origin's path.</param>
/// <param name="Overlay">The overlay's path.</param>
/// <param name="IsPersistent">P, or N for a transient overlay.</param>
/// <param name="ChunkBytes">The chunk size.</param>
/// <param name="Map">A separate map's path.</param>
internal sealed record DmTable(long SizeBytes, string Origin, string Overlay, bool IsPersistent, long ChunkBytes, string? Map)
{
    private const string Form = "Write '0 SECTORS cow ORIGIN OVERLAY P|N CHUNK_SECTORS [MAP]'";

    public static DmTable Parse(string text)
    {
        var words = text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        if (words.Length is < 7 or > 8)
            throw new UsageException($"--table '{text}': has {words.Length} words. {Form}");
        if (words[0] != "0")
            throw new UsageException($"--table '{text}': must start at sector 0. {Form}");
        if (words[2] == "snapshot")
            throw new UsageException("--table: the target 'snapshot' (the kernel's own exception store) is not there yet; use 'cow'");
        if (words[2] != "cow")
            throw new UsageException($"--table: the target '{words[2]}' is unknown. {Form}");
        if (words[5] is not ("P" or "N"))
            throw new UsageException($"--table: '{words[5]}' is neither P (persistent) nor N (transient). {Form}");
        return new DmTable(Sectors(words[1], "length"), words[3], words[4], words[5] == "P", Sectors(words[6], "chunk size"), words.Length == 8 ? words[7] : null);
    }

    private static long Sectors(string word, string what) =>
        long.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var sectors) && sectors is > 0 and <= long.MaxValue / 512
            ? sectors * 512
            : throw new UsageException($"--table: the {what} '{word}' is not a number of sectors. {Form}");
}
