using Lincow.Blobs;
using Lincow.Origins;
using Lincow.Requests;

namespace Lincow.Layers;

/// <summary>
/// Which layer holds a byte? The only place that decides where data lives: an overlay's chunk lies where its exception store says (in a linear
/// one at byte offset + shift), everything else at the same offset of the origin.
/// </summary>
internal sealed class LayerStack(ExceptionStore overlay, IBlob data, Origin origin)
{
    public ExceptionStore Overlay { get; } = overlay;

    public ChunkMap Map { get; } = overlay.Map;

    public IBlob Data { get; } = data;

    public Origin Origin { get; } = origin;

    public Geometry Geometry { get; } = overlay.Map.Geometry;

    /// <summary>Direct I/O on either layer makes its unit the device's.</summary>
    public int AlignmentBytes { get; } = Math.Max(data.AlignmentBytes, origin.AlignmentBytes);

    /// <summary>The source of the bytes from an offset on, and how many share it, up to <paramref name="byteEnd"/>. The map page is loaded.</summary>
    public BlockExtent RunAt(long byteOffset, long byteEnd)
    {
        var chunk = Geometry.ChunkAt(byteOffset);
        var (state, count) = Map.RunAt(chunk, Geometry.ChunkFrom(byteEnd) - chunk);
        var length = Math.Min(byteEnd, Geometry.StartOf(chunk + count)) - byteOffset;
        switch (state)
        {
            case ChunkState.Data:
                return new BlockExtent(length, RunSource.Data);
            case ChunkState.Zero:
                return new BlockExtent(length, RunSource.Zero);
            default:
                var (isHole, holeLength) = Origin.RunAt(byteOffset, byteOffset + length);
                return new BlockExtent(holeLength, isHole ? RunSource.OriginHole : RunSource.Origin);
        }
    }
}
