using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>Chunks in the order in which they come, their areas behind them, the header last: until then it is no store.</summary>
internal sealed class SnapshotSink : IChangeSink
{
    private readonly LinuxFile _file;
    private readonly SnapshotLayout _layout;
    private readonly byte[] _area, _zeroes;
    private readonly bool _isDevice;
    private readonly ChangeSinkOptions _options;
    private readonly OriginIdentity _origin;
    private long _count;

    public SnapshotSink(ChangeSinkOptions options)
    {
        (_options, _file) = (options, options.File);
        _isDevice = _file.Facts.Kind == FileKind.BlockDevice;
        _layout = new SnapshotLayout(DeviceSize.ChunkShift(options.ChunkBytes));
        (_area, _zeroes) = (new byte[_layout.ChunkBytes], new byte[_layout.ChunkBytes]);
        using var origin = StoreOrigin.Open(options.OriginUri);
        _origin = origin.Identity;
        if (options.DeviceBytes != origin.Identity.SizeBytes)
            throw new LincowException(SnapshotErrors.OriginSizeDiffers(origin.Uri, origin.Identity.SizeBytes, options.DeviceBytes));
        RequireRoom(_layout.AreaChunk(0));
    }

    public void Begin()
    {
    }

    public void Write(long byteOffset, ReadOnlySpan<byte> content)
    {
        while (content.Length > 0)
        {
            // Up to the next area, chunks lie one behind the other.
            var chunks = Math.Min((content.Length + _layout.ChunkBytes - 1) >> _layout.ChunkShift,
                _layout.EntriesPerArea - _layout.IndexInArea(_count));
            var run = content[..(int)Math.Min((long)chunks << _layout.ChunkShift, content.Length)];
            var place = Place(chunks);
            _file.Write(run, place);
            // The device's last chunk may be short, a chunk of the store can't.
            if (_isDevice && run.Length % _layout.ChunkBytes is var tail and > 0)
                _file.Write(_zeroes.AsSpan(tail), place + run.Length);
            List(byteOffset, chunks);
            content = content[run.Length..];
            byteOffset += run.Length;
        }
    }

    public void Zero(long byteOffset, long byteLength)
    {
        for (var end = byteOffset + byteLength; byteOffset < end; byteOffset += _layout.ChunkBytes)
        {
            // In a new file, what isn't written reads as zeroes.
            var place = Place(1);
            if (_isDevice)
                _file.Write(_zeroes, place);
            List(byteOffset, 1);
        }
    }

    public void Complete()
    {
        // The list ends within an area: the next one, when the last is full.
        var area = _layout.AreaOf(_count);
        RequireRoom(_layout.AreaChunk(area));
        _file.Write(_area, _layout.AreaOffset(area));
        if (!_isDevice)
            _file.SetLength(Math.Max(_layout.AreaChunk(area), _count == 0 ? 0 : _layout.ChunkOfData(_count - 1)) + 1 << _layout.ChunkShift);
        _file.Sync();
        var header = _zeroes.AsSpan();
        new SnapshotHeader(IsValid: true, _layout.ChunkShift).Encode(header);
        _file.Write(header, 0);
        header.Clear();
        if (!_isDevice)
            OriginNote.Write(_file, Guid.NewGuid(), _options.DeviceBytes, _origin, _options.OriginUri);
        _file.Sync();
    }

    public void Dispose()
    {
    }

    private long Place(int chunks)
    {
        var first = _layout.ChunkOfData(_count);
        RequireRoom(first + chunks - 1);
        return first << _layout.ChunkShift;
    }

    private void RequireRoom(long chunk)
    {
        if (_isDevice && chunk + 1 > _file.Facts.SizeBytes >> _layout.ChunkShift)
            throw new LincowException(SnapshotErrors.DeviceTooSmall(_file.Path, _file.Facts.SizeBytes));
    }

    private void List(long byteOffset, int chunks)
    {
        for (var i = 0; i < chunks; i++)
        {
            new ExceptionEntry((ulong)(byteOffset >> _layout.ChunkShift) + (ulong)i, (ulong)_layout.ChunkOfData(_count))
                .Write(_area, _layout.IndexInArea(_count));
            _count++;
        }
        if (_layout.IndexInArea(_count) != 0)
            return;
        var area = _layout.AreaOf(_count) - 1;
        RequireRoom(_layout.AreaChunk(area));
        _file.Write(_area, _layout.AreaOffset(area));
        _area.AsSpan().Clear();
    }
}
