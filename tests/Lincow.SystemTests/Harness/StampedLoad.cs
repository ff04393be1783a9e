using System.Net.Sockets;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// Connections that change stamped sectors, each its own, which lie so that chunks are shared by all; with flushes amid the writes, and
/// FUA, zeroing and trimming now and then. Goes on until it is told to stop, or until the server is gone.
/// </summary>
internal sealed class StampedLoad : IDisposable
{
    /// <summary>
    /// Neighbouring sectors that belong to one connection: few, and no power of two, so that requests are aligned to nothing.
    /// </summary>
    private const int OwnedSectors = 3;

    private readonly StampedSectors _sectors;
    private readonly bool _canTrim;
    private readonly int _chunkSectors;
    private readonly Thread[] _threads;
    private readonly List<string> _failures = [];
    private volatile bool _isStopped;
    private int _flushes, _changes;

    public StampedLoad(StampedSectors sectors, string uri, int connections, int seed, bool canTrim = true, int chunkBytes = 4096)
    {
        (_sectors, _canTrim, _chunkSectors) = (sectors, canTrim, chunkBytes / StampedSectors.SectorBytes);
        _threads = [.. Enumerable.Range(0, connections)
            .Select(i => new Thread(() => Run(uri, i, connections, new Random((seed * 31) + i))))];
        foreach (var thread in _threads)
            thread.Start();
    }

    /// <summary>Answered ones.</summary>
    public int Flushes => _flushes;

    public int Changes => _changes;

    /// <summary>Ends after what is in flight has been answered.</summary>
    public void Stop()
    {
        _isStopped = true;
        Join();
    }

    /// <summary>The server was ended, so the connections end by themselves.</summary>
    public void Join()
    {
        foreach (var thread in _threads)
            Assert.True(thread.Join(Tool.Timeout), "a client still waits for its server");
        Assert.True(_failures.Count == 0, string.Join('\n', _failures));
    }

    public void Dispose()
    {
        _isStopped = true;
        foreach (var thread in _threads)
            thread.Join(Tool.Timeout);
    }

    private void Run(string uri, int connection, int connections, Random random)
    {
        try
        {
            using var client = RawClient.Ready(uri);
            while (!_isStopped)
                Batch(client, connection, connections, random);
        }
        catch (Exception e) when (e is SocketException or EndOfStreamException)
        {
            if (_isStopped)
                Fail($"connection {connection}: {e.Message}");
        }
        catch (Exception e)
        {
            Fail($"connection {connection}: {e}");
        }
    }

    private void Batch(RawClient client, int connection, int connections, Random random)
    {
        var inFlight = new Dictionary<ulong, Change>();
        var busy = new HashSet<int>();
        (ulong Cookie, long[] Covers)? flush = null;
        var count = random.Next(1, 7);
        var flushAt = random.Next(3) == 0 ? random.Next(count) : -1;
        for (var i = 0; i < count; i++)
        {
            if (i == flushAt)
            {
                flush = (client.NextCookie(), _sectors.BeforeFlush());
                client.Send(RawClient.Request(RawClient.Flush, flush.Value.Cookie, 0, 0));
            }
            var block = (random.Next(_sectors.Count / OwnedSectors / connections) * connections) + connection;
            if (busy.Add(block))
                Send(client, client.NextCookie(), block, random, inFlight);
        }
        for (var left = inFlight.Count + (flush is null ? 0 : 1); left > 0; left--)
        {
            var (cookie, error) = client.Reply();
            Assert.True(error == 0, $"error {error} for a request that has to succeed");
            if (inFlight.TryGetValue(cookie, out var change))
                Answered(change);
            else if (flush is { } sent && cookie == sent.Cookie)
                Answered(sent.Covers);
            else
                Assert.Fail($"an answer to a request that nobody sent: {cookie}");
        }
    }

    private void Send(RawClient client, ulong cookie, int block, Random random, Dictionary<ulong, Change> inFlight)
    {
        var first = random.Next(OwnedSectors);
        var count = random.Next(1, OwnedSectors - first + 1);
        var index = (block * OwnedSectors) + first;
        var command = random.Next(8) switch { 0 when _canTrim => RawClient.Trim, 1 => RawClient.WriteZeroes, _ => RawClient.Write };
        var isFua = random.Next(16) == 0;
        var payload = new byte[command == RawClient.Write ? count * StampedSectors.SectorBytes : 0];
        var versions = new long[count];
        for (var i = 0; i < count; i++)
        {
            versions[i] = _sectors.Issue(index + i, command != RawClient.Write);
            if (command == RawClient.Write)
                StampedSectors.Fill(payload.AsSpan(i * StampedSectors.SectorBytes), _sectors.Number(index + i), versions[i]);
        }
        // No trim here covers more than a sector's chunk, and of a chunk in part it may leave what was there.
        var isSure = command != RawClient.Trim || _chunkSectors == 1;
        inFlight.Add(cookie, new Change(index, versions, isFua, isSure));
        var offset = (ulong)_sectors.Number(index) * StampedSectors.SectorBytes;
        client.Send([.. RawClient.Request(command, cookie, offset, (uint)count * StampedSectors.SectorBytes, (ushort)(isFua ? 1 : 0)),
            .. payload]);
    }

    private void Answered(Change change)
    {
        for (var i = 0; i < change.Versions.Length && change.IsSure; i++)
        {
            if (change.IsFua)
                _sectors.Flushed(change.Index + i, change.Versions[i]);
            else
                _sectors.Acknowledge(change.Index + i, change.Versions[i]);
        }
        Interlocked.Increment(ref _changes);
    }

    private void Answered(long[] covers)
    {
        _sectors.Flushed(covers);
        Interlocked.Increment(ref _flushes);
    }

    private void Fail(string what)
    {
        lock (_failures)
            _failures.Add(what);
    }

    private readonly record struct Change(int Index, long[] Versions, bool IsFua, bool IsSure);
}
