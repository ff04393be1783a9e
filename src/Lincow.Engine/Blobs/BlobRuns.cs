using System.Diagnostics;

namespace Lincow.Blobs;

/// <summary>
/// Which parts of a range may hold data and which are holes: runs that follow each other without gap, of one kind and the other in turn,
/// from where a search began. Made once and filled again and again (<see cref="IReadableBlob.FindRuns"/>).
/// </summary>
/// <param name="capacity">How many runs it takes; a search that would find more covers less.</param>
internal sealed class BlobRuns(int capacity = BlobRuns.UsualCapacity)
{
    /// <summary>2 KiB of memory, and less than a millisecond's search on a file system that has its map in memory.</summary>
    public const int UsualCapacity = 256;

    private readonly long[] _ends = new long[capacity];
    private bool _firstIsData;

    /// <summary>Where the first run begins.</summary>
    public long ByteOffset { get; private set; }

    /// <summary>Where the last one ends: the end of what was searched, or before it when there was no room for more.</summary>
    public long ByteEnd => Count == 0 ? ByteOffset : _ends[Count - 1];

    public int Count { get; private set; }

    public int Capacity => capacity;

    /// <summary>Whether a run may hold data; a hole reads as zeroes.</summary>
    public bool IsData(int index) => _firstIsData == (index % 2 == 0);

    public long StartOf(int index) => index == 0 ? ByteOffset : _ends[index - 1];

    public long EndOf(int index) => _ends[index];

    /// <summary>Empties it for runs from an offset on.</summary>
    public void Clear(long byteOffset) => (ByteOffset, Count) = (byteOffset, 0);

    /// <summary>
    /// The next run; one of the same kind as the last makes that longer. False, and nothing has changed, when there is no room.
    /// </summary>
    public bool TryAdd(long byteEnd, bool isData)
    {
        Debug.Assert(byteEnd > ByteEnd, "a run that is empty");
        if (Count > 0 && IsData(Count - 1) == isData)
        {
            _ends[Count - 1] = byteEnd;
            return true;
        }
        if (Count == capacity)
            return false;
        if (Count == 0)
            _firstIsData = isData;
        _ends[Count++] = byteEnd;
        return true;
    }
}
