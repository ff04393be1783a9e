using Lincow.Blobs;
using Lincow.Layers;

namespace Lincow.Stores.Linear;

/// <summary>A linear overlay that others stand on: its superblock and its files are all that is needed of it.</summary>
internal sealed class FrozenLinear(Superblock superblock, IReadableBlob map, IReadableBlob data) : IFrozenLayer
{
    public Geometry Geometry => superblock.Geometry;

    public IReadableBlob Data => data;

    public long DataOffset => superblock.DataOffset;

    public int ImageBytes => MapFormat.PairBytes;

    public void ReadImage(long page, nint buffer, BlobOperation operation) =>
        map.Read(LinearStore.PageOffset(page, 0), buffer, MapFormat.PairBytes, operation);

    public bool TryDecode(long page, ReadOnlySpan<byte> image, Span<ulong> words, Action<LincowError>? report)
    {
        var verdict = MapPageJudge.Judge(image, superblock, page, wasClean: !superblock.InUse);
        if (verdict.Finding is not null)
            report?.Invoke(MapPageJudge.Describe(verdict, superblock, page, map.Name));
        if (verdict.IsDamaged)
            return false;
        if (verdict.Slot < 0)
            words.Clear();
        else
            MapFormat.CopyStates(image.Slice(verdict.Slot * MapFormat.PageBytes, MapFormat.PageBytes), words);
        return true;
    }

    public void Dispose()
    {
        map.Dispose();
        if (!ReferenceEquals(map, data))
            data.Dispose();
    }
}
