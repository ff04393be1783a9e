using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores;

namespace Lincow.Conversion;

/// <summary>COW files of User-mode Linux, version 3: a bitmap of changed sectors, then the device's own layout at a shift.</summary>
internal sealed class UmlCowFormat : IChangeFormat
{
    public string Name => "uml";

    public bool Recognises(LinuxFile file, ReadOnlySpan<byte> head) => UmlCowHeader.HasMagic(head);

    public IChangeSource Open(ChangeSourceOptions options)
    {
        var store = StorePath.OpenUnused(options.Path);
        OriginFile? origin = null;
        try
        {
            var block = new byte[UmlCowHeader.SizeBytes];
            var header = UmlCowHeader.Decode(block.AsSpan(0, store.Read(block, 0)), out var problem)
                ?? throw new LincowException(ConversionErrors.UmlHeaderDamaged(options.Path, problem));
            if (store.Facts.SizeBytes < header.BitmapOffset + header.BitmapBytes)
                throw new LincowException(ConversionErrors.UmlBitmapTruncated(options.Path, store.Facts.SizeBytes,
                    header.BitmapOffset + header.BitmapBytes));
            origin = StoreOrigin.Open(RecordedOrigin.Resolve(options.Path, header.BackingPath, options.Origin));
            RequireSameOrigin(options.Path, header, origin, options.AcceptOrigin);
            return new UmlCowSource(store, header, origin);
        }
        catch
        {
            store.Dispose();
            origin?.Dispose();
            throw;
        }
    }

    public int ChunkFor(long? wanted, int source, long deviceBytes) => wanted is null or UmlCowHeader.SectorBytes
        ? UmlCowHeader.SectorBytes
        : throw new LincowException(ConversionErrors.UmlChunkInvalid(wanted.Value, UmlCowHeader.SectorBytes));

    public IChangeSink Create(ChangeSinkOptions options) => new UmlCowSink(options);

    // As User-mode Linux does it: size and time, to the second.
    private static void RequireSameOrigin(string path, UmlCowHeader header, OriginFile origin, bool accept)
    {
        var identity = origin.Identity;
        if (identity.SizeBytes > header.DeviceBytes)
            throw new LincowException(ConversionErrors.UmlOriginTooLarge(origin.Uri, path, identity.SizeBytes, header.DeviceBytes));
        var difference = identity.SizeBytes != header.DeviceBytes ? $"it has {identity.SizeBytes} bytes now and had {header.DeviceBytes}"
            : identity.Kind == OriginKind.File && (uint)identity.ModifiedSeconds != header.ModifiedSeconds
                ? $"it was modified at {identity.ModifiedSeconds} (seconds since 1970), and at {header.ModifiedSeconds} when the COW "
                    + "file was made"
            : null;
        if (difference is not null && !accept)
            throw new LincowException(ConversionErrors.UmlOriginDiffers(origin.Uri, path, difference));
    }
}

internal sealed class UmlCowSource(LinuxFile store, UmlCowHeader header, OriginFile origin) : IChangeSource
{
    /// <summary>How much of the bitmap is in memory at once: 256 MiB of device.</summary>
    private const int WindowBytes = 64 << 10;

    private readonly byte[] _window = new byte[WindowBytes];
    private long _windowStart = -1;

    /// <summary>Whole sectors, which is what User-mode Linux reads and writes.</summary>
    public long DeviceBytes => header.SectorCount * UmlCowHeader.SectorBytes;

    public int GranularityBytes => UmlCowHeader.SectorBytes;

    public string OriginUri => origin.Uri;

    public IEnumerable<ChangedRange> Changes()
    {
        long start = -1, end = -1, cursor = 0;
        var bitmapEnd = header.BitmapOffset + header.BitmapBytes;
        // Holes of the bitmap hold no bits, and aren't read.
        while (store.TryFindData(header.BitmapOffset + cursor, bitmapEnd, out var dataStart, out var dataEnd))
        {
            var first = (dataStart - header.BitmapOffset) * 8;
            var last = Math.Min((dataEnd - header.BitmapOffset) * 8, header.SectorCount);
            for (var sector = first; sector < last;)
            {
                var (isSet, count) = RunAt(sector, last);
                if (isSet && sector == end)
                {
                    end += count;
                }
                else if (isSet)
                {
                    if (start >= 0)
                        yield return Range(start, end);
                    (start, end) = (sector, sector + count);
                }
                sector += count;
            }
            cursor = dataEnd - header.BitmapOffset;
        }
        if (start >= 0)
            yield return Range(start, end);
    }

    public void Read(long byteOffset, Span<byte> buffer)
    {
        while (buffer.Length > 0)
        {
            var place = Locate(byteOffset, buffer.Length, out var runBytes);
            var run = buffer[..(int)runBytes];
            if (place is not { } at)
                origin.Read(run, byteOffset);
            else if (store.Read(run, at) is var read && at + read < Math.Min(at + run.Length, header.DataOffset + header.DeviceBytes))
                throw new LincowException(ConversionErrors.UmlDataTruncated(store.Path, byteOffset, at, store.Facts.SizeBytes));
            else
                run[read..].Clear();
            buffer = buffer[run.Length..];
            byteOffset += run.Length;
        }
    }

    public void Dispose()
    {
        store.Dispose();
        origin.Dispose();
    }

    /// <summary>
    /// Where in the file a byte of the device lies, null if it isn't there; and how many of the bytes that follow lie alike.
    /// </summary>
    private long? Locate(long byteOffset, long byteLength, out long runBytes)
    {
        var end = byteOffset + byteLength;
        var (isSet, count) = RunAt(byteOffset / UmlCowHeader.SectorBytes, (end + UmlCowHeader.SectorBytes - 1) / UmlCowHeader.SectorBytes);
        runBytes = Math.Min((byteOffset / UmlCowHeader.SectorBytes + count) * UmlCowHeader.SectorBytes, end) - byteOffset;
        if (!isSet)
            return null;
        // mutation: cow-data-elsewhere
        return header.DataOffset + byteOffset;
    }

    private static ChangedRange Range(long first, long end) =>
        new(first * UmlCowHeader.SectorBytes, (end - first) * UmlCowHeader.SectorBytes, IsZero: false);

    /// <summary>Whether a sector is in the COW file, and how many from it on are alike, up to an end.</summary>
    private (bool IsSet, long Count) RunAt(long sector, long end)
    {
        var isSet = IsSet(sector);
        var next = sector + 1;
        var same = isSet ? byte.MaxValue : (byte)0;
        while (next < end)
        {
            if (next % 8 == 0 && next + 8 <= end && ByteAt(next / 8) == same)
                next += 8;
            else if (IsSet(next) == isSet)
                next++;
            else
                break;
        }
        return (isSet, next - sector);
    }

    private bool IsSet(long sector) => (ByteAt(sector / 8) >> (int)(sector % 8) & 1) != 0;

    private byte ByteAt(long index)
    {
        var start = index / WindowBytes * WindowBytes;
        if (start != _windowStart)
        {
            _window.AsSpan().Clear();
            store.Read(_window.AsSpan(0, (int)Math.Min(WindowBytes, header.BitmapBytes - start)), header.BitmapOffset + start);
            _windowStart = start;
        }
        return _window[index - start];
    }
}

/// <summary>Data where it belongs, the bitmap in windows behind it, the header last.</summary>
internal sealed class UmlCowSink : IChangeSink
{
    private const int WindowBytes = 64 << 10;

    private readonly LinuxFile _file;
    private readonly UmlCowHeader _header;
    private readonly byte[] _head;
    private readonly byte[] _window = new byte[WindowBytes];
    private long _windowStart;

    public UmlCowSink(ChangeSinkOptions options)
    {
        _file = options.File;
        if (_file.Facts.Kind != FileKind.Regular)
            throw new LincowException(ConversionErrors.UmlNotRegular(_file.Path));
        if (OriginReference.Parse(options.OriginUri).IsNothing)
            throw new LincowException(ConversionErrors.UmlNeedsBacking(options.OriginUri, options.DeviceBytes));
        using var origin = StoreOrigin.Open(options.OriginUri);
        _header = new UmlCowHeader
        {
            DeviceBytes = origin.Identity.SizeBytes,
            ModifiedSeconds = (uint)origin.Facts.ModifiedSeconds,
            BackingPath = origin.Reference.Place
        };
        if (_header.SectorCount * UmlCowHeader.SectorBytes != options.DeviceBytes)
            throw new LincowException(ConversionErrors.UmlSizeDiffers(origin.Uri, origin.Identity.SizeBytes, options.DeviceBytes));
        if (_header.DataOffset > UmlCowHeader.MaxDataOffset)
            throw new LincowException(ConversionErrors.UmlDeviceTooLarge(origin.Uri));
        _head = _header.Encode();
    }

    public void Begin() => _file.SetLength(_header.DataOffset + _header.SectorCount * UmlCowHeader.SectorBytes);

    public void Write(long byteOffset, ReadOnlySpan<byte> content)
    {
        _file.Write(content, _header.DataOffset + byteOffset);
        Mark(byteOffset, content.Length);
    }

    // The file is new: what isn't written reads as zeroes.
    public void Zero(long byteOffset, long byteLength) => Mark(byteOffset, byteLength);

    public void Complete()
    {
        WriteWindow();
        _file.Sync();
        _file.Write(_head, 0);
        _file.Sync();
    }

    public void Dispose()
    {
    }

    private void Mark(long byteOffset, long byteLength)
    {
        var end = (byteOffset + byteLength + UmlCowHeader.SectorBytes - 1) / UmlCowHeader.SectorBytes;
        for (var sector = byteOffset / UmlCowHeader.SectorBytes; sector < end;)
        {
            var index = sector / 8;
            if (index - _windowStart >= WindowBytes)
            {
                WriteWindow();
                _windowStart = index / WindowBytes * WindowBytes;
            }
            var count = (int)Math.Min(8 - sector % 8, end - sector);
            _window[index - _windowStart] |= (byte)(((1 << count) - 1) << (int)(sector % 8));
            sector += count;
        }
    }

    private void WriteWindow()
    {
        var bytes = (int)Math.Min(WindowBytes, _header.BitmapBytes - _windowStart);
        if (_window.AsSpan(0, bytes).IndexOfAnyExcept((byte)0) >= 0)
            _file.Write(_window.AsSpan(0, bytes), _header.BitmapOffset + _windowStart);
        _window.AsSpan().Clear();
    }
}
