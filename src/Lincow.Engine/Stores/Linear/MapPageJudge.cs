using Lincow.Layers;

namespace Lincow.Stores.Linear;

/// <summary>Judges a page's two slots and puts the judgement into words.</summary>
internal static class MapPageJudge
{
    public static PageVerdict Judge(ReadOnlySpan<byte> pair, Superblock superblock, long page, bool wasClean) => PageVerdict.Choose(
        MapFormat.Inspect(pair[..MapFormat.PageBytes], superblock.Uuid, page),
        MapFormat.Inspect(pair[MapFormat.PageBytes..], superblock.Uuid, page),
        superblock.Generation, wasClean);

    public static (long Start, long End) DeviceRange(Superblock superblock, long page)
    {
        var bytesPerPage = (long)ChunkMap.ChunksPerPage << superblock.ChunkShift;
        return (page * bytesPerPage, Math.Min((page + 1) * bytesPerPage, superblock.DeviceBytes));
    }

    public static LincowError Describe(PageVerdict verdict, Superblock superblock, long page, string path)
    {
        var (start, end) = DeviceRange(superblock, page);
        return LinearErrors.MapPageDamaged(path, page, LinearStore.PageOffset(page, 0), start, end, verdict.Finding!, verdict.IsDamaged);
    }
}
