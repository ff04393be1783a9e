using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Stores.Linear;

/// <summary>Errors of linear overlays: their superblocks and maps.</summary>
internal static class LinearErrors
{
    public static LincowError MapIsOverlay(string map) => new(Code.MapIsOverlay, map,
        $"{map}: is an overlay with its map at the front, not a separate map");

    public static LincowError MapBeside(string map, string overlay) => new(Code.MapBeside, map,
        $"{map}: is the map of an earlier overlay at {overlay}, and would be taken for this one's. Remove it, or give another path",
        new LincowFact("overlay", overlay));

    public static LincowError CannotBeLive(string overlay) => new(Code.LinearCannotBeLive, overlay,
        $"{overlay}: is a linear overlay, and a snapshot of a live origin is kept in a dm-snapshot store");

    public static LincowError VersionUnknown(string file, long version, long known) => new(Code.VersionUnknown, file,
        $"{file}: its format is version {version}, and this lincow knows version {known} only. Use a newer lincow",
        new("version", version), new("known", known));

    public static LincowError FeatureUnknown(string file, int bit, ulong word) => new(Code.FeatureUnknown, file,
        $"{file}: uses the incompatible feature bit {bit} (word 0x{word:x}), which this lincow doesn't know. Use a newer lincow",
        new("bit", bit), new("word", $"0x{word:x}"));

    /// <param name="file">The file with the superblocks.</param>
    /// <param name="feature">The feature's name.</param>
    public static LincowError FeatureForbidsWriting(string file, string feature) => new(Code.FeatureForbidsWriting, file,
        $"{file}: uses {feature}, which this lincow doesn't know, so it can't write to it", new LincowFact("feature", feature));

    /// <param name="map">The map.</param>
    /// <param name="data">What it names.</param>
    /// <param name="why">Why that is not followed; a part of a sentence.</param>
    public static LincowError DataForeign(string map, string data, string why) => new(Code.DataForeign, map,
        $"{map}: is a separate map, and the data file that it names, {data}, is not opened on its word: {why}. If it is the right "
        + "one, give the data file itself, and this map", new("data", data), new("why", why));

    public static LincowError MapOfOriginal(string map, string original, string data) => new(Code.MapOfOriginal, map,
        $"{map}: is the map of {original}, which still exists, and {data} is a copy of it. Copy the map as well, beside the data",
        new("original", original), new("data", data));

    public static LincowError MapOfUntagged(string map, string data, string recorded) => new(Code.MapOfUntagged, map,
        $"{map}: is the wrong map for {data}: it was made for {recorded}, and the data file bears no tag",
        new("data", data), new("recorded", recorded));

    public static LincowError MapWrong(string map, string data, Guid uuid, string tag) => new(Code.MapWrong, map,
        $"{map}: is the wrong map for {data}: it belongs to overlay {uuid}, and the data file is tagged {tag}",
        new("data", data), new("uuid", uuid.ToString()), new("tag", tag));

    public static LincowError NotAnOverlay(string file, string hint) => new(Code.NotAnOverlay, file,
        $"{file}: is not a lincow overlay ({hint})", new LincowFact("hint", hint));

    public static LincowError SuperblocksDamaged(string file, long endOffset) => new(Code.SuperblocksDamaged, file,
        $"{file}: both superblocks are damaged (bytes 0 to {endOffset - 1}), so nothing in it can be trusted. Restore them from a copy, or "
        + "make the overlay anew", new LincowFact("endOffset", endOffset));

    public static LincowError SuperblockUnreadable(string file, int errno) => new(Code.SuperblockUnreadable, file,
        $"{file}: reading its superblocks failed: {Errno.Describe(errno)}", new LincowFact("errno", errno));

    public static LincowError SuperblockUnwritable(string file, int slot, int errno) => new(Code.SuperblockUnwritable, file,
        $"{file}: writing superblock slot {slot} failed: {Errno.Describe(errno)}", new("slot", slot), new("errno", errno));

    public static LincowError Truncated(string file, long fileBytes, long neededBytes) => new(Code.Truncated, file,
        $"{file}: is truncated: it has {fileBytes} bytes and needs {neededBytes}. What lies beyond its end is lost; restore it from a copy",
        new("fileBytes", fileBytes), new("neededBytes", neededBytes));

    public static LincowError TwinsNoSpace(string file) => new(Code.TwinsNoSpace, file,
        $"{file}: no space for the second copies of map pages. Everything is there; the overlay stays marked as in use until it is closed "
        + "with more room");

    public static LincowError MapPageUnreadable(string file, long page, int errno) => new(Code.MapPageUnreadable, file,
        $"{file}: reading map page {page} failed: {Errno.Describe(errno)}", new("page", page), new("errno", errno));

    /// <param name="file">The file with the map.</param>
    /// <param name="page">The page's number.</param>
    /// <param name="pageOffset">Where in the file it is, in bytes.</param>
    /// <param name="startOffset">The first byte of the device that it is about.</param>
    /// <param name="endOffset">The one after the last.</param>
    /// <param name="finding">What is wrong.</param>
    /// <param name="isLost">Neither of its copies can be used.</param>
    public static LincowError MapPageDamaged(string file, long page, long pageOffset, long startOffset, long endOffset, string finding,
        bool isLost) => new(isLost ? Code.MapPageDamaged : Code.MapPageMended, file,
            $"{file}: map page {page} at byte {pageOffset} (device bytes {startOffset} to {endOffset - 1}): {finding}; "
            + (isLost ? "requests there get an I/O error" : "nothing is lost"),
            new("page", page), new("pageOffset", pageOffset), new("startOffset", startOffset), new("endOffset", endOffset),
            new("finding", finding));

    /// <summary>What a check finds of a damaged page whose older copy is sound. The sentence goes without its file.</summary>
    public static LincowError MapPageOlderTwin(string file, long page, string finding) => new(Code.MapPageOlderTwin, file,
        $"map page {page}: {finding}; its older twin is sound, but chunks that were first written since then would show the origin again",
        new("page", page), new("finding", finding));
}
