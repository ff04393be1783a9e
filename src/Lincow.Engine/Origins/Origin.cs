using Lincow.Blobs;
using Lincow.Requests;

namespace Lincow.Origins;

/// <summary>
/// What lies below the overlay: a file, a block device or nothing. Opened read-only and never written. Its holes are found with SEEK_DATA as
/// they are met and remembered, since the origin doesn't change while it is open.
/// </summary>
public sealed class Origin : IDisposable
{
    /// <summary>Remembered extents; beyond it the memory is emptied. 24 bytes each.</summary>
    private const int MaxExtents = 1 << 20;

    /// <summary>Remembered extents that are moved aside for a unit of work.</summary>
    private const int MovedPerUnit = 64;

    private readonly IBlob? _blob;
    private long[] _starts = new long[64], _ends = new long[64];
    private bool[] _isHole = new bool[64];
    private int _count;

    public Origin(string uri, OriginIdentity identity, IBlob? blob)
    {
        Uri = uri;
        Identity = identity;
        _blob = blob;
        SizeBytes = blob is null ? 0 : identity.SizeBytes;
    }

    /// <summary>As the user names it: a path, or zero:SIZE.</summary>
    public string Uri { get; }

    public OriginIdentity Identity { get; }

    /// <summary>Bytes that can be read from it: 0 for an origin of nothing, whose every byte is beyond the end.</summary>
    public long SizeBytes { get; }

    /// <summary>What the device that looks may do in a turn: to look for a hole is a call or two, and to remember it may move many others.</summary>
    internal TurnWork? Turns { get; set; }

    public IBlob Blob => _blob ?? throw new InvalidOperationException("an origin of nothing has no storage");

    /// <summary>Told of what an origin in a program's code has thrown, a sentence each.</summary>
    internal Action<string>? Report
    {
        set
        {
            if (_blob is not null)
                _blob.Report = value;
        }
    }

    /// <inheritdoc cref="IBlob.CancelReads"/>
    internal void CancelReads() => _blob?.CancelReads();

    public int AlignmentBytes => _blob?.AlignmentBytes ?? 1;

    /// <summary>Whether the bytes from an offset on are a hole, and for how long, up to <paramref name="byteEnd"/>.</summary>
    public (bool IsHole, long ByteLength) RunAt(long byteOffset, long byteEnd)
    {
        if (byteOffset >= SizeBytes)
            return (true, byteEnd - byteOffset);
        byteEnd = Math.Min(byteEnd, SizeBytes);
        var index = Array.BinarySearch(_starts, 0, _count, byteOffset);
        if (index < 0)
            index = ~index - 1;
        if (index >= 0 && byteOffset < _ends[index])
            return (_isHole[index], Math.Min(_ends[index], byteEnd) - byteOffset);
        index = Learn(byteOffset / AlignmentBytes * AlignmentBytes);
        return (_isHole[index], Math.Min(_ends[index], byteEnd) - byteOffset);
    }

    public void Dispose() => _blob?.Dispose();

    private int Learn(long byteOffset)
    {
        var (start, end, hole) = (byteOffset, SizeBytes, true);
        if (Blob.TryFindData(byteOffset, SizeBytes, out var dataStart, out var dataEnd))
            (end, hole) = dataStart > byteOffset ? (dataStart, true) : (dataEnd, false);
        // Reads that must be aligned must not be cut at an unaligned hole.
        if (AlignmentBytes > 1 && end < SizeBytes)
            end = hole ? Math.Max(end / AlignmentBytes * AlignmentBytes, start) : (end + AlignmentBytes - 1) / AlignmentBytes * AlignmentBytes;
        if (end == start)
            (end, hole) = (Math.Min(start + AlignmentBytes, SizeBytes), false);
        return Insert(start, end, hole);
    }

    private int Insert(long start, long end, bool hole)
    {
        if (_count >= MaxExtents)
            _count = 0;
        if (_count == _starts.Length)
        {
            Array.Resize(ref _starts, _count * 2);
            Array.Resize(ref _ends, _count * 2);
            Array.Resize(ref _isHole, _count * 2);
        }
        var index = ~Array.BinarySearch(_starts, 0, _count, start);
        Turns?.Spend((2 * TurnWork.UnitsPerCall) + ((_count - index) / MovedPerUnit));
        if (index < _count)
            end = Math.Min(end, _starts[index]);
        Array.Copy(_starts, index, _starts, index + 1, _count - index);
        Array.Copy(_ends, index, _ends, index + 1, _count - index);
        Array.Copy(_isHole, index, _isHole, index + 1, _count - index);
        (_starts[index], _ends[index], _isHole[index]) = (start, end, hole);
        _count++;
        return index;
    }
}
