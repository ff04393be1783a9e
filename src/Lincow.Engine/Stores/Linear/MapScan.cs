using System.Numerics;
using Lincow.Layers;
using Lincow.Linux;

namespace Lincow.Stores.Linear;

/// <summary>Walks over the map pages on disk that were ever written; holes of the map are pages without content.</summary>
internal static class MapScan
{
    /// <summary>Map pages of the device as it is now, whether written or not.</summary>
    public static long PageCount(Superblock superblock) => ChunkMap.PagesFor(superblock.Geometry.ChunkCount);

    /// <summary>
    /// Every page that may hold something, with both its slots (the span is good until the next page), or why it can't be read.
    /// </summary>
    public static void ForEach(LinuxFile mapFile, Superblock superblock, PageVisitor visit, Action<long, LinuxException> unreadable)
    {
        var pair = new byte[MapFormat.PairBytes];
        var pages = PageCount(superblock);
        var mapEnd = LinearStore.PageOffset(pages, 0);
        var cursor = LinearStore.PageOffset(0, 0);
        while (mapFile.TryFindData(cursor, mapEnd, out var start, out var end))
        {
            var page = (start - LinearStore.PageOffset(0, 0)) / MapFormat.PairBytes;
            for (; page < pages && LinearStore.PageOffset(page, 0) < end; page++)
            {
                try
                {
                    pair.AsSpan().Clear();
                    mapFile.Read(pair, LinearStore.PageOffset(page, 0));
                }
                catch (LinuxException e)
                {
                    unreadable(page, e);
                    continue;
                }
                visit(page, pair);
            }
            cursor = LinearStore.PageOffset(page, 0);
        }
    }

    public delegate void PageVisitor(long page, ReadOnlySpan<byte> pair);

    /// <summary>Counts the chunks of a page image in states data and zero, up to the device's end.</summary>
    public static (long Data, long Zero) Count(ReadOnlySpan<byte> image, long page, Geometry geometry)
    {
        Span<ulong> words = stackalloc ulong[MapFormat.WordsPerPage];
        MapFormat.CopyStates(image, words);
        var chunks = Math.Min(ChunkMap.ChunksPerPage, geometry.ChunkCount - page * ChunkMap.ChunksPerPage);
        const ulong low = 0x5555555555555555;
        long data = 0, zero = 0;
        for (var i = 0; i * ChunkMap.ChunksPerWord < chunks; i++)
        {
            var rest = chunks - i * ChunkMap.ChunksPerWord;
            var word = rest >= ChunkMap.ChunksPerWord ? words[i] : words[i] & ((1UL << (int)(rest * 2)) - 1);
            data += BitOperations.PopCount(word & low);
            zero += BitOperations.PopCount((word >> 1) & low);
        }
        return (data, zero);
    }
}
