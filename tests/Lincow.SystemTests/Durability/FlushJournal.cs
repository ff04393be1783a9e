using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Durability;

/// <summary>
/// What the workload in the guest noted (tests/guest/log-writes.py says in which words), followed from mark to mark: after a mark, what the
/// flushes in front of it covered must be there; what was asked for before the next mark may be.
/// </summary>
internal sealed class FlushJournal
{
    private readonly string[][] _lines;
    private readonly StampedSectors _sectors;
    private readonly Dictionary<long, int> _indexes;
    private readonly Queue<long[]> _flushes = new();

    /// <summary>Lines whose answers, and lines whose requests, have been taken.</summary>
    private int _answered, _asked;

    private bool _isResetting;

    public FlushJournal(string path, IEnumerable<int> sectors)
    {
        _lines = [.. File.ReadLines(path).Select(line => line.Split(' '))];
        _sectors = new StampedSectors(sectors.Select(sector => (long)sector));
        _indexes = Enumerable.Range(0, _sectors.Count).ToDictionary(_sectors.Number);
    }

    /// <summary>The last mark that was passed. The first one says that the overlay has been made.</summary>
    public int Mark { get; private set; }

    public bool HasBegun => Mark > 0;

    public bool IsAtEnd => _answered == _lines.Length;

    public void GoTo(int mark)
    {
        Assert.True(mark == Mark + 1, $"mark {mark} follows mark {Mark}");
        if (Mark == 0)
            TakeRequests();
        TakeAnswers();
        TakeRequests();
        Mark = mark;
    }

    /// <summary>All tracked sectors, in order: null, or what is wrong.</summary>
    public string? Judge(ReadOnlySpan<byte> content)
    {
        if (_isResetting && IsOrigin(content))
            return null;
        for (var i = 0; i < _sectors.Count; i++)
        {
            if (_sectors.Judge(i, content.Slice(i * StampedSectors.SectorBytes, StampedSectors.SectorBytes)) is { } complaint)
                return complaint;
        }
        return null;
    }

    /// <summary>What was asked for up to the next mark, which may be on the disk before that mark is.</summary>
    private void TakeRequests()
    {
        _isResetting = false;
        while (_asked < _lines.Length)
        {
            var line = _lines[_asked++];
            switch (line[0])
            {
                case "i" or "z":
                    Assert.Equal(Number(line[2]), _sectors.Issue(Index(line), line[0] == "z"));
                    break;
                case "r":
                    _isResetting = true;
                    break;
                case "m":
                    return;
            }
        }
    }

    private void TakeAnswers()
    {
        while (true)
        {
            var line = _lines[_answered++];
            switch (line[0])
            {
                case "a":
                    _sectors.Acknowledge(Index(line), Number(line[2]));
                    break;
                case "d":
                    _sectors.Flushed(Index(line), Number(line[2]));
                    break;
                case "f":
                    _flushes.Enqueue(_sectors.BeforeFlush());
                    break;
                case "F":
                    _sectors.Flushed(_flushes.Dequeue());
                    break;
                case "c":
                    _sectors.Flushed(_sectors.BeforeFlush());
                    break;
                case "R":
                    _sectors.BackToOrigin();
                    break;
                case "m":
                    return;
            }
        }
    }

    private bool IsOrigin(ReadOnlySpan<byte> content)
    {
        Span<byte> sector = stackalloc byte[StampedSectors.SectorBytes];
        for (var i = 0; i < _sectors.Count; i++)
        {
            StampedSectors.Fill(sector, _sectors.Number(i), 0);
            if (!content.Slice(i * StampedSectors.SectorBytes, StampedSectors.SectorBytes).SequenceEqual(sector))
                return false;
        }
        return true;
    }

    private int Index(string[] line) => _indexes[Number(line[1])];

    private static long Number(string word) => long.Parse(word, CultureInfo.InvariantCulture);
}
