using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>The next range that may hold data at or after an offset and before an end; false when only holes follow.</summary>
internal delegate bool DataSearch(long byteOffset, long byteEnd, out long dataStart, out long dataEnd);

/// <summary>
/// Fills a <see cref="BlobRuns"/>, on a thread that may wait. Whoever answers (a file system, a program's origin) isn't believed what can't
/// be true: that is data. Every answer takes the search on, and there are only so many questions, so it ends whatever the answers are.
/// </summary>
internal sealed class RunSearch(DataSearch find) : LoopWork
{
    /// <summary>No file system has smaller holes; smaller ones only cost reads.</summary>
    private const long MinHoleBytes = 512;

    private long _byteOffset, _byteEnd;
    private BlobRuns? _runs;

    public void Set(long byteOffset, long byteEnd, BlobRuns runs) => (_byteOffset, _byteEnd, _runs) = (byteOffset, byteEnd, runs);

    /// <summary>The search itself, for a thread that may wait.</summary>
    public int Run()
    {
        Fill(find, _byteOffset, _byteEnd, _runs!);
        return 0;
    }

    protected override void Begin() => End(Run());

    public static void Fill(DataSearch find, long byteOffset, long byteEnd, BlobRuns runs)
    {
        runs.Clear(byteOffset);
        var cursor = byteOffset;
        // Answers whose ranges touch make one run, so it isn't only the runs that bound the questions.
        for (var questions = 0; questions < runs.Capacity && cursor < byteEnd; questions++)
        {
            if (!find(cursor, byteEnd, out var start, out var end))
            {
                runs.TryAdd(byteEnd, isData: false);
                return;
            }
            // mutation: lie-of-holes-believed
            if (start < cursor || start >= byteEnd || end <= start)
                (start, end) = (cursor, byteEnd);
            start = Math.Max(start / MinHoleBytes * MinHoleBytes, cursor);
            end = end >= byteEnd ? byteEnd : Math.Min((end + MinHoleBytes - 1) / MinHoleBytes * MinHoleBytes, byteEnd);
            if ((start > cursor && !runs.TryAdd(start, isData: false)) || !runs.TryAdd(end, isData: true))
                return;
            cursor = end;
        }
    }
}
