using System.Diagnostics;

namespace Lincow.Blobs;

/// <summary>
/// What searches have found of data and holes of a blob that doesn't change: runs in order, with gaps where nobody has looked yet. It
/// forgets everything when it has grown too large, which costs a search again.
///
/// Invariant: runs don't overlap, and each is as long as it was found, or longer.
/// </summary>
internal sealed class KnownRuns
{
    /// <summary>18 MiB.</summary>
    private const int MaxRuns = 1 << 20;

    private long[] _starts = new long[64], _ends = new long[64];
    private bool[] _isHole = new bool[64];

    public int Count { get; private set; }

    /// <summary>What is known of the byte at an offset, and up to where that goes.</summary>
    public bool TryFind(long byteOffset, out bool isHole, out long byteEnd)
    {
        var index = LastAtOrBefore(byteOffset);
        if (index < 0 || byteOffset >= _ends[index])
        {
            (isHole, byteEnd) = (false, 0);
            return false;
        }
        (isHole, byteEnd) = (_isHole[index], _ends[index]);
        return true;
    }

    /// <summary>
    /// Adds what a search has found, up to where something is known already. Returns how many runs had to be moved aside.
    /// </summary>
    public int Add(BlobRuns runs)
    {
        if (Count + runs.Count > MaxRuns)
            Count = 0;
        var before = LastAtOrBefore(runs.ByteOffset);
        var start = before >= 0 ? Math.Max(runs.ByteOffset, _ends[before]) : runs.ByteOffset;
        var limit = before + 1 < Count ? _starts[before + 1] : long.MaxValue;
        var (from, to) = (0, runs.Count);
        while (from < to && runs.EndOf(from) <= start)
            from++;
        while (to > from && Math.Max(runs.StartOf(to - 1), start) >= limit)
            to--;
        if (from == to)
            return 0;
        if (before >= 0 && _ends[before] == start && _isHole[before] == !runs.IsData(from))
            _ends[before] = Math.Min(runs.EndOf(from++), limit);
        var moved = Count - (before + 1);
        MakeRoom(before + 1, to - from);
        for (var index = before + 1; from < to; index++, from++)
        {
            (_starts[index], _ends[index]) = (Math.Max(runs.StartOf(from), start), Math.Min(runs.EndOf(from), limit));
            _isHole[index] = !runs.IsData(from);
            Debug.Assert(_starts[index] < _ends[index] && (index == 0 || _ends[index - 1] <= _starts[index]), "runs don't overlap");
        }
        return moved;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear() => Count = 0;

    private int LastAtOrBefore(long byteOffset)
    {
        var index = Array.BinarySearch(_starts, 0, Count, byteOffset);
        return index >= 0 ? index : ~index - 1;
    }

    private void MakeRoom(int index, int count)
    {
        if (Count + count > _starts.Length)
        {
            var size = Math.Max(_starts.Length * 2, Count + count);
            Array.Resize(ref _starts, size);
            Array.Resize(ref _ends, size);
            Array.Resize(ref _isHole, size);
        }
        Array.Copy(_starts, index, _starts, index + count, Count - index);
        Array.Copy(_ends, index, _ends, index + count, Count - index);
        Array.Copy(_isHole, index, _isHole, index + count, Count - index);
        Count += count;
    }
}
