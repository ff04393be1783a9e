using Lincow.Linux;
using Lincow.Overlays;
using Lincow.Snapshot;

namespace Lincow.Conversion;

/// <summary>
/// Persistent exception stores of the kernel's dm-snapshot. Such a store names no origin and no size: the origin is the user's word, and the
/// device is as large as it.
/// </summary>
public sealed class SnapshotStoreFormat : IChangeFormat
{
    public string Name => "snapshot";

    public bool Recognises(LinuxFile file, ReadOnlySpan<byte> head) => SnapshotHeader.HasMagic(head);

    public IChangeSource Open(ChangeSourceOptions options)
    {
        if (options.Origin is null)
            throw new LincowException($"{options.Path}: is a dm-snapshot store, and such a store doesn't know its origin. Give it with --origin ORIGIN");
        var store = StoreSource.OpenStore(options.Path);
        OriginFile? origin = null;
        try
        {
            origin = OriginFile.Open(options.Origin);
            return new SnapshotStoreSource(store, origin);
        }
        catch
        {
            store.Dispose();
            origin?.Dispose();
            throw;
        }
    }

    public int ChunkFor(long? wanted, int source, long deviceBytes) => 1 << OverlayCreator.ChunkShift(wanted ?? Math.Max(source, OverlayConverter.UsualChunkBytes));

    public IChangeSink Create(ChangeSinkOptions options) => new SnapshotStoreSink(options);
}

/// <summary>
/// Reads the whole list of exceptions at once, as the kernel does when it activates a snapshot, and sorts it. Whatever the kernel would not
/// have written is refused.
/// </summary>
internal sealed class SnapshotStoreSource : StoreSource
{
    private readonly SnapshotLayout _layout;
    private readonly List<long> _old = [];
    private readonly long[] _sortedOld, _new;

    public SnapshotStoreSource(LinuxFile store, OriginFile origin)
        : base(store, origin)
    {
        Span<byte> sector = stackalloc byte[SnapshotHeader.SizeBytes];
        sector.Clear();
        store.Read(sector, 0);
        var header = SnapshotHeader.Decode(sector, out var problem) ?? throw Damage(problem!);
        if (!header.IsValid)
            throw Damage("the kernel has marked it as invalid, which it does when a snapshot has run out of space: what it holds is not the snapshot any more");
        _layout = new SnapshotLayout(header.ChunkShift);
        DeviceBytes = (origin.Identity.SizeBytes + 511) / 512 * 512;
        var places = new List<long>();
        ReadAreas(places);
        _sortedOld = [.. _old];
        _new = [.. places];
        Array.Sort(_sortedOld, _new);
        for (var i = 1; i < _sortedOld.Length; i++)
        {
            if (_sortedOld[i] == _sortedOld[i - 1])
                throw Damage($"chunk {_sortedOld[i]} of the device is listed twice");
        }
    }

    public override long DeviceBytes { get; }

    public override int GranularityBytes => _layout.ChunkBytes;

    public override IEnumerable<ChangedRange> Changes()
    {
        for (var i = 0; i < _sortedOld.Length;)
        {
            var first = i++;
            while (i < _sortedOld.Length && _sortedOld[i] == _sortedOld[i - 1] + 1)
                i++;
            var start = _sortedOld[first] << _layout.ChunkShift;
            yield return new ChangedRange(start, Math.Min((_sortedOld[i - 1] + 1) << _layout.ChunkShift, DeviceBytes) - start, IsZero: false);
        }
    }

    protected override long? Locate(long byteOffset, long byteLength, out long runBytes)
    {
        var chunk = byteOffset >> _layout.ChunkShift;
        var index = Array.BinarySearch(_sortedOld, chunk);
        if (index < 0)
        {
            index = ~index;
            var next = index < _sortedOld.Length ? _sortedOld[index] << _layout.ChunkShift : long.MaxValue;
            runBytes = Math.Min(next - byteOffset, byteLength);
            return null;
        }
        var within = byteOffset - (chunk << _layout.ChunkShift);
        var count = 1;
        while (index + count < _sortedOld.Length && ((long)count << _layout.ChunkShift) - within < byteLength
            && _sortedOld[index + count] == chunk + count && _new[index + count] == _new[index] + count)
            count++;
        runBytes = Math.Min(((long)count << _layout.ChunkShift) - within, byteLength);
        return (_new[index] << _layout.ChunkShift) + within;
    }

    private void ReadAreas(List<long> places)
    {
        var deviceChunks = (ulong)((DeviceBytes + _layout.ChunkBytes - 1) >> _layout.ChunkShift);
        var storeChunks = (ulong)(Store.Facts.SizeBytes >> _layout.ChunkShift);
        byte[]? bytes = null;
        for (long area = 0; ; area++)
        {
            if ((ulong)_layout.AreaChunk(area) >= storeChunks || Store.Read(bytes ??= new byte[_layout.ChunkBytes], _layout.AreaOffset(area)) < bytes.Length)
                throw Damage($"its list of exceptions goes on at byte {_layout.AreaOffset(area)}, and the store has {Store.Facts.SizeBytes} bytes");
            for (var i = 0; i < _layout.EntriesPerArea; i++)
            {
                var entry = ExceptionEntry.Read(bytes, i);
                if (entry.NewChunk == 0)
                    return;
                if (entry.OldChunk >= deviceChunks)
                    throw Damage($"it holds chunk {entry.OldChunk} of the device, and the origin {OriginUri} has only {deviceChunks} chunks of {_layout.ChunkBytes} bytes. Is it the right origin?");
                if (_layout.IsMetadata(entry.NewChunk) || entry.NewChunk >= storeChunks)
                    throw Damage($"chunk {entry.OldChunk} of the device should be in its chunk {entry.NewChunk}, where no data can be (the store has {storeChunks} chunks)");
                _old.Add((long)entry.OldChunk);
                places.Add((long)entry.NewChunk);
            }
        }
    }

    private LincowException Damage(string what) => new($"{Store.Path}: can't be read as a dm-snapshot store: {what}") { IsDamage = true };
}

/// <summary>Chunks in the order in which they come, their areas behind them, the header last: until then it is no store.</summary>
internal sealed class SnapshotStoreSink : IChangeSink
{
    private readonly LinuxFile _file;
    private readonly SnapshotLayout _layout;
    private readonly byte[] _area, _zeroes;
    private readonly bool _isDevice;
    private long _count;

    public SnapshotStoreSink(ChangeSinkOptions options)
    {
        _file = options.File;
        _isDevice = _file.Facts.Kind == FileKind.BlockDevice;
        _layout = new SnapshotLayout(OverlayCreator.ChunkShift(options.ChunkBytes));
        (_area, _zeroes) = (new byte[_layout.ChunkBytes], new byte[_layout.ChunkBytes]);
        using var origin = OriginFile.Open(options.OriginUri);
        if (options.DeviceBytes - origin.Identity.SizeBytes is < 0 or >= 512)
            throw new LincowException($"{origin.Uri}: has {origin.Identity.SizeBytes} bytes and the device {options.DeviceBytes}, and a dm-snapshot is as large as its origin. Convert to qcow2, which can be larger");
    }

    public void Write(long byteOffset, ReadOnlySpan<byte> content)
    {
        while (content.Length > 0)
        {
            // Up to the next area, chunks lie one behind the other.
            var chunks = Math.Min((content.Length + _layout.ChunkBytes - 1) >> _layout.ChunkShift, _layout.EntriesPerArea - _layout.IndexInArea(_count));
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
            throw new LincowException($"{_file.Path}: the block device has {_file.Facts.SizeBytes} bytes, and the changes need more. Use a larger one");
    }

    private void List(long byteOffset, int chunks)
    {
        for (var i = 0; i < chunks; i++)
        {
            new ExceptionEntry((ulong)(byteOffset >> _layout.ChunkShift) + (ulong)i, (ulong)_layout.ChunkOfData(_count)).Write(_area, _layout.IndexInArea(_count));
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
