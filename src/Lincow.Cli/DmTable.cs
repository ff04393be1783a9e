using System.Globalization;
using Lincow.Operations;
using Lincow.Stores;

namespace Lincow.Cli;

/// <summary>
/// A device-mapper table line as dmsetup takes it: <c>START LENGTH cow|snapshot ORIGIN OVERLAY P|PO|N CHUNK [MAP]</c>, lengths in sectors
/// of 512 bytes (Documentation/admin-guide/device-mapper/snapshot.rst for the words; <c>cow</c> is lincow's own, for linear overlays).
/// </summary>
/// <param name="Store">cow: linear; snapshot: the kernel's exception store.</param>
/// <param name="SizeBytes">The device's size.</param>
/// <param name="Origin">The origin's path.</param>
/// <param name="Overlay">The overlay's path.</param>
/// <param name="Kind">P: persistent; PO: persistent, and when full only the write fails; N: transient.</param>
/// <param name="ChunkBytes">The chunk size.</param>
/// <param name="Map">A separate map's path (cow only).</param>
internal sealed record DmTable(StoreTraits Store, long SizeBytes, string Origin, string Overlay, string Kind, long ChunkBytes, string? Map)
{
    private const string Form = "Write '0 SECTORS cow ORIGIN OVERLAY P|N CHUNK_SECTORS [MAP]' or '0 SECTORS snapshot ORIGIN COW P|PO|N "
        + "CHUNK_SECTORS'";

    public bool IsPersistent => Kind != "N";

    public static DmTable Parse(string text)
    {
        string[] words = [.. DmWords.Split(text)];
        if (words.Length < 7)
            throw new UsageException($"--table '{text}': has {words.Length} words. {Form}");
        if (words[0] != "0")
            throw new UsageException($"--table '{text}': must start at sector 0. {Form}");
        var store = StoreTraits.All.FirstOrDefault(store =>
            store.DmTarget == words[2]) ?? throw new UsageException($"--table: the target '{words[2]}' is unknown. {Form}");
        var kind = words[5].ToUpperInvariant();
        if (kind is not ("P" or "N" or "PO") || (kind == "PO" && !store.CanBeFull))
            throw new UsageException($"--table: '{words[5]}' is neither P (persistent) nor N "
                + $"(transient){(store.CanBeFull ? " nor PO (persistent, survives being full)" : "")}. {Form}");
        if (!store.TakesMap && words.Length > 7 && words[7..] is not ["0"])
            throw new UsageException($"--table: the features '{string.Join(' ', words[7..])}' of the {store.DmTarget} target are not "
                + $"there. {Form}");
        if (words.Length > 8)
            throw new UsageException($"--table '{text}': has {words.Length} words. {Form}");
        var map = store.TakesMap && words.Length == 8 ? words[7] : null;
        return new DmTable(store, Sectors(words[1], "length"), words[3], words[4], kind, Sectors(words[6], "chunk size"), map);
    }

    private static long Sectors(string word, string what) =>
        long.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var sectors) && sectors is > 0 and <= long.MaxValue / 512
            ? sectors * 512
            : throw new UsageException($"--table: the {what} '{word}' is not a number of sectors. {Form}");
}
