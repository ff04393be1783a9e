using Lincow.Layers;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Stores.Linear;

namespace Lincow.Conversion;

/// <summary>lincow's own overlays.</summary>
public sealed class LinearFormat : IChangeFormat
{
    public string Name => "linear";

    // One whose map lies apart begins with the guest's bytes, which must not pass for another format.
    public bool Recognises(LinuxFile file, ReadOnlySpan<byte> head) =>
        Superblock.HasMagic(head) || Superblock.HasMagic(head[Superblock.SizeBytes..]) || file.GetAttribute(OverlayFiles.MapAttribute) is not null || OverlayFiles.FindBeside(file.Path) is not null;

    public IChangeSource Open(ChangeSourceOptions options) => new OverlaySource(options);

    public int ChunkFor(long? wanted, int source, long deviceBytes) => 1 << OverlayCreator.ChunkShift(wanted ?? Math.Max(source, OverlayConverter.UsualChunkBytes));

    public IChangeSink Create(ChangeSinkOptions options) => new LinearSink(options);
}

/// <summary>
/// Writes an overlay as it is after a clean close, in one pass: data at the shift, each map page once both its slots' content is known, and the
/// superblocks last.
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
        OverlayCreator.RequireSize(options.DeviceBytes, options.OriginUri);
        using var origin = OriginFile.Open(options.OriginUri);
        _superblock = OverlayCreator.Plan(origin, options.DeviceBytes, options.DeviceBytes, OverlayCreator.ChunkShift(options.ChunkBytes), separateData: null);
        _superblock.Encode(new byte[Superblock.SizeBytes]);
        _superblock = _superblock.Marked();
        _geometry = _superblock.Geometry;
        OverlayCreator.RequireRoom(_superblock, _file, _file);
    }

    public void Begin() => OverlayCreator.Prepare(_superblock, _file, _file, preallocate: false);

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
            var page = MapFormat.PageOf(chunk);
            if (page != _page)
            {
                WritePage();
                _page = page;
            }
            var index = (int)(chunk - page * MapFormat.ChunksPerPage);
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
