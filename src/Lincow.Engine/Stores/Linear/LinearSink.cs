using Lincow.Layers;
using Lincow.Linux;

namespace Lincow.Stores.Linear;

/// <summary>
/// Writes an overlay as it is after a clean close, in one pass: data at the shift, each map page once both its slots' content is known, and
/// the superblocks last.
/// </summary>
internal sealed class LinearSink : IChangeSink
{
    private readonly LinuxFile _file;
    private readonly Superblock _superblock;
    private readonly Geometry _geometry;
    private readonly ulong[] _words = new ulong[MapFormat.WordsPerPage];
    private readonly byte[] _pair = new byte[MapFormat.PairBytes];
    private long _page = -1;

    public LinearSink(ChangeSinkOptions options)
    {
        _file = options.File;
        DeviceSize.Require(options.DeviceBytes, options.OriginUri);
        using var origin = StoreOrigin.Open(options.OriginUri);
        _superblock = new LinearPlan(LinearPlan.Plan(origin, options.DeviceBytes, options.DeviceBytes,
            DeviceSize.ChunkShift(options.ChunkBytes), separateData: null)).Superblock;
        _geometry = _superblock.Geometry;
        LinearPlan.RequireRoom(_superblock, _file, _file);
    }

    public void Begin() => LinearPlan.Prepare(_superblock, _file, _file, preallocate: false);

    public void Write(long byteOffset, ReadOnlySpan<byte> content)
    {
        _file.Write(content, _superblock.DataOffset + byteOffset);
        Mark(byteOffset, content.Length, ChunkState.Data);
    }

    public void Zero(long byteOffset, long byteLength) => Mark(byteOffset, byteLength, ChunkState.Zero);

    public void Complete()
    {
        WritePage();
        _file.Sync();
        SuperblockFile.Create(_file, _superblock);
        _file.Sync();
    }

    public void Dispose()
    {
    }

    private void Mark(long byteOffset, long byteLength, ChunkState state)
    {
        var end = _geometry.ChunkFrom(byteOffset + byteLength).Value;
        for (var chunk = _geometry.ChunkAt(byteOffset).Value; chunk < end; chunk++)
        {
            var page = ChunkMap.PageOf(chunk);
            if (page != _page)
            {
                WritePage();
                _page = page;
            }
            var index = (int)(chunk - page * ChunkMap.ChunksPerPage);
            _words[index / ChunkMap.ChunksPerWord] |= (ulong)state << (2 * (index % ChunkMap.ChunksPerWord));
        }
    }

    private void WritePage()
    {
        if (_page < 0)
            return;
        // Twins are equal at rest.
        MapFormat.Encode(_pair.AsSpan(0, MapFormat.PageBytes), _words, _superblock.Uuid, _page, sequence: 1, _superblock.Generation);
        _pair.AsSpan(0, MapFormat.PageBytes).CopyTo(_pair.AsSpan(MapFormat.PageBytes));
        _file.Write(_pair, Superblock.MapOffsetBytes + MapFormat.PairOffset(_page));
        _words.AsSpan().Clear();
    }
}
