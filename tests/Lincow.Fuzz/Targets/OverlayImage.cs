using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>A sound overlay's files as they were, laid anew for every run with the run's damage in them.</summary>
internal sealed class OverlayImage
{
    /// <summary>Behind the files' ends: nobody may touch it.</summary>
    private const int GuardBytes = 4096;

    private const int MapOffset = 64 << 10;

    /// <summary>What is kept of a file: all metadata and the first data. Behind it a run finds zeroes.</summary>
    private const int KeptBytes = (1 << 20) + (128 << 10);

    private readonly byte[] _map, _data, _origin, _seenMap, _seenData, _now;
    private readonly long _mapBytes, _dataBytes;
    private readonly string _originPath;
    private readonly string? _mapPath;
    private long _laidBytes;

    public OverlayImage(string path, string? mapPath, string originPath)
    {
        (Path, _mapPath, _originPath) = (path, mapPath, originPath);
        (_map, _mapBytes) = (Head(mapPath ?? path), new FileInfo(mapPath ?? path).Length);
        (_data, _dataBytes) = (mapPath is null ? _map : Head(path), new FileInfo(path).Length);
        (_seenMap, _seenData, _now) = (new byte[_map.Length], new byte[_data.Length], new byte[Math.Max(_map.Length, _data.Length)]);
        _origin = File.Exists(originPath) ? File.ReadAllBytes(originPath) : [];
    }

    public string Path { get; }

    /// <summary>The file with the superblocks and the map.</summary>
    public string MapFile => _mapPath ?? Path;

    /// <summary>Lays the files without damage.</summary>
    public void Lay()
    {
        Write(Path, _mapPath is null ? _map : _data, _dataBytes);
        if (_mapPath is not null)
            Write(_mapPath, _map, _mapBytes);
    }

    /// <summary>Lays the files with what the input says is damaged: superblock slots, map pages, which of them are sealed again.</summary>
    public void Lay(ref FuzzInput input, int how)
    {
        var map = _now.AsSpan(0, _map.Length);
        _map.CopyTo(map);
        for (var slot = 0; slot < 2; slot++)
        {
            var block = map.Slice(slot * Seal.SlotBytes, Seal.SlotBytes);
            var whichSlot = input.U8();
            if ((whichSlot & 1) != 0)
                input.Patch(block);
            if ((whichSlot & 2) != 0 && slot == 1)
                map[..Seal.SlotBytes].CopyTo(block);
            if ((whichSlot & 4) == 0)
                Seal.Superblock(block);
        }
        var uuid = new Guid(map.Slice(16, 16), bigEndian: true);
        for (var page = 0; page < ((how & 8) == 0 ? 0 : 2); page++)
        {
            for (var slot = 0; slot < 2; slot++)
            {
                var offset = MapOffset + (2 * page + slot) * Seal.PageBytes;
                if (offset + Seal.PageBytes > map.Length)
                    continue;
                var image = map.Slice(offset, Seal.PageBytes);
                input.Patch(image);
                Seal.Page(image, uuid, page, input.U8());
            }
        }
        // A sparse file may be as long as it likes, and so may the device that it claims to be.
        _laidBytes = Math.Max(_dataBytes, (how & 16) == 0 ? 0 : 1L << 20 + (input.U8() & 15));
        Write(Path, _mapPath is null ? map : _data, _laidBytes);
        if (_mapPath is not null)
            Write(_mapPath, map, _mapBytes);
    }

    /// <summary>Remembers the files' content.</summary>
    public void Remember()
    {
        Read(_mapPath ?? Path, _seenMap);
        if (_mapPath is not null)
            Read(Path, _seenData);
    }

    /// <summary>Whether the files still have the content that is remembered.</summary>
    public bool IsAsRemembered()
    {
        Read(_mapPath ?? Path, _now);
        if (!_now.AsSpan(0, _seenMap.Length).SequenceEqual(_seenMap))
            return false;
        if (_mapPath is null)
            return true;
        Read(Path, _now);
        return _now.AsSpan(0, _seenData.Length).SequenceEqual(_seenData);
    }

    /// <summary>A sector of the data file as it is remembered.</summary>
    public void ReadData(long byteOffset, Span<byte> sector) => Copy(_mapPath is null ? _seenMap : _seenData, byteOffset, sector);

    public void ReadOrigin(long byteOffset, Span<byte> sector) => Copy(_origin, byteOffset, sector);

    /// <summary>The origin is as it was, no file has grown, and what lies beyond the device wasn't touched.</summary>
    public void RequireNothingElseChanged(long deviceEnd)
    {
        if (_origin.Length > 0)
            Require(IsOrigin(), "the origin never changes");
        RequireGuard(Path, _laidBytes, deviceEnd);
        if (_mapPath is not null)
            RequireGuard(_mapPath, _mapBytes, 0);
    }

    private bool IsOrigin()
    {
        Read(_originPath, _now);
        return _now.AsSpan(0, _origin.Length).SequenceEqual(_origin);
    }

    private static void RequireGuard(string path, long length, long deviceEnd)
    {
        using var file = File.OpenRead(path);
        Require(file.Length == length + GuardBytes, $"nothing is written beyond the end of {path}");
        var guard = new byte[GuardBytes];
        file.Position = length;
        file.ReadExactly(guard);
        Require(deviceEnd > length || guard.AsSpan().IndexOfAnyExcept((byte)0x99) < 0, $"nothing is written beyond the device in {path}");
    }

    private static byte[] Head(string path)
    {
        var head = new byte[Math.Min(KeptBytes, new FileInfo(path).Length)];
        Read(path, head);
        return head;
    }

    private static void Read(string path, byte[] target)
    {
        using var file = File.OpenHandle(path);
        RandomAccess.Read(file, target, 0);
    }

    private static void Copy(byte[] content, long byteOffset, Span<byte> sector)
    {
        sector.Clear();
        if (byteOffset >= 0 && byteOffset < content.Length)
            content.AsSpan((int)byteOffset, (int)Math.Min(sector.Length, content.Length - byteOffset)).CopyTo(sector);
    }

    private static void Write(string path, ReadOnlySpan<byte> content, long length)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite);
        // Holes stay holes: a map that was never written isn't read.
        RandomAccess.SetLength(file, 0);
        RandomAccess.SetLength(file, length);
        for (var start = 0; start < content.Length; start += 4096)
        {
            var block = content.Slice(start, Math.Min(4096, content.Length - start));
            if (block.IndexOfAnyExcept((byte)0) >= 0)
                RandomAccess.Write(file, block, start);
        }
        Span<byte> guard = stackalloc byte[GuardBytes];
        guard.Fill(0x99);
        RandomAccess.Write(file, guard, length);
    }
}
