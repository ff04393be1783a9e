using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Sockets;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Concurrency;

/// <summary>
/// Several connections read and write a few sectors at once, and the device behaves like one that does one thing at a time: each sector's
/// history is linearizable. What is watched is finer than sectors, cells of 64 bytes, and requests begin and end at any cell: so heads and
/// tails of chunks, which are read and written back, lose nothing that others write beside them.
/// </summary>
public class LinearizabilityTests
{
    private const int CellBytes = 64, Connections = 5;

    [Theory]
    [InlineData(512, 2 << 10, "")]
    [InlineData(4 << 10, 16 << 10, "")]
    [InlineData(4 << 10, 16 << 10, "posix")]
    [InlineData(64 << 10, 128 << 10, "")]
    public void Histories_of_several_connections_are_linearizable(int chunkBytes, int deviceBytes, string io)
    {
        var seed = Seeds.Pick(chunkBytes + io.Length);
        using var scratch = new Scratch();
        var total = 0;
        // Chunks are copied up once; so there are many short histories, each over a new overlay.
        for (var round = 0; round < 12; round++)
        {
            var history = new CellHistory(deviceBytes / CellBytes);
            var origin = scratch["origin.img"];
            File.WriteAllBytes(origin, history.Origin());
            Cli.Ok("create", scratch["o.cow"], "--origin", origin, "--chunk", $"{chunkBytes}", "--force");
            using var server = LincowServer.Start(["--nbd", "unix:" + scratch.NewSocket(), scratch["o.cow"]],
                environment: new() { ["LINCOW_IO"] = io });
            var errors = new List<string>();
            var threads = Enumerable.Range(0, Connections).Select(i => new Thread(() =>
            {
                try
                {
                    Work(server.Uri, history, new Random((seed * 1009) + (round * 31) + i));
                }
                catch (Exception e)
                {
                    lock (errors)
                        errors.Add(e.ToString());
                }
            })).ToList();
            threads.ForEach(thread => thread.Start());
            threads.ForEach(thread => thread.Join());
            Assert.True(errors.Count == 0, $"seed {seed}, round {round}: {string.Join('\n', errors)}");
            if (history.Judge() is { } complaint)
                Assert.Fail($"seed {seed}, round {round}: {complaint}");
            total += history.Operations;
            server.Stop();
        }
        Assert.True(total > 5000, $"{total} operations are too few");
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {total} operations");
    }

    private static void Work(string uri, CellHistory history, Random random)
    {
        for (var session = 0; session < 3; session++)
        {
            using var client = RawClient.Ready(uri);
            for (var i = 0; i < 60; i++)
            {
                var cells = Range(history, random);
                if (random.Next(12) == 0)
                    Assert.Equal(0u, client.Ask(RawClient.Flush, 0, 0).Error);
                else if (random.Next(2) == 0)
                    Read(client, history, cells);
                else
                    Write(client, history, cells, (ushort)(random.Next(10) == 0 ? 1 : 0));
            }
            // Goes away amid a write: nobody will know what became of it.
            if (session < 2)
                Abandon(client, history, Range(history, random), random.Next(3) == 0);
        }
    }

    private static (int First, int Count) Range(CellHistory history, Random random)
    {
        var count = random.Next(1, Math.Min(history.Count, 160));
        return (random.Next(history.Count - count + 1), count);
    }

    private static void Read(RawClient client, CellHistory history, (int First, int Count) cells)
    {
        var called = Stopwatch.GetTimestamp();
        var (error, data) = client.Ask(RawClient.Read, (ulong)cells.First * CellBytes, (uint)cells.Count * CellBytes);
        var answered = Stopwatch.GetTimestamp();
        Assert.Equal(0u, error);
        history.Read(cells.First, data, called, answered);
    }

    private static void Write(RawClient client, CellHistory history, (int First, int Count) cells, ushort flags)
    {
        var (value, payload) = history.NewWrite(cells.First, cells.Count);
        var called = Stopwatch.GetTimestamp();
        var (error, _) = client.Ask(RawClient.Write, (ulong)cells.First * CellBytes, (uint)payload.Length, payload, flags);
        history.Wrote(cells.First, cells.Count, value, called, error == 0 ? Stopwatch.GetTimestamp() : RegisterHistory.Never);
        Assert.Equal(0u, error);
    }

    private static void Abandon(RawClient client, CellHistory history, (int First, int Count) cells, bool isCut)
    {
        var (value, payload) = history.NewWrite(cells.First, cells.Count);
        // A write whose payload didn't come whole must never happen, so the history doesn't know it.
        if (!isCut)
            history.Wrote(cells.First, cells.Count, value, Stopwatch.GetTimestamp(), RegisterHistory.Never);
        byte[] request = [.. RawClient.Request(RawClient.Write, client.NextCookie(), (ulong)cells.First * CellBytes, (uint)payload.Length),
            .. payload];
        try
        {
            client.Send(isCut ? request[..(request.Length / 2)] : request);
        }
        catch (SocketException)
        {
        }
    }

    /// <summary>A register for each cell, whose content says which cell and which write it is from.</summary>
    private sealed class CellHistory(int count)
    {
        private readonly Lock _gate = new();
        private readonly RegisterHistory[] _cells = [.. Enumerable.Range(0, count).Select(_ => new RegisterHistory(1))];
        private readonly List<string> _torn = [];
        private long _value = 1;

        public int Count => count;

        public int Operations { get; private set; }

        public byte[] Origin() => Content(0, Count, 1);

        public (long Value, byte[] Payload) NewWrite(int first, int cellCount)
        {
            var value = Interlocked.Increment(ref _value);
            return (value, Content(first, cellCount, value));
        }

        public void Wrote(int first, int cellCount, long value, long called, long answered)
        {
            lock (_gate)
            {
                Operations++;
                for (var i = first; i < first + cellCount; i++)
                    _cells[i].Write(value, called, answered);
            }
        }

        public void Read(int first, byte[] data, long called, long answered)
        {
            lock (_gate)
            {
                Operations++;
                for (var i = 0; i < data.Length / CellBytes; i++)
                {
                    var cell = data.AsSpan(i * CellBytes, CellBytes);
                    var value = BinaryPrimitives.ReadInt64LittleEndian(cell);
                    if (!cell.SequenceEqual(Content(first + i, 1, value)))
                        _torn.Add($"cell {first + i}: torn or foreign: {Convert.ToHexString(cell)}");
                    else
                        _cells[first + i].Read(value, called, answered);
                }
            }
        }

        public string? Judge()
        {
            if (_torn.Count > 0)
                return _torn[0];
            for (var i = 0; i < Count; i++)
            {
                if (_cells[i].Judge() is { } complaint)
                    return $"cell {i}: {complaint}";
            }
            return null;
        }

        private static byte[] Content(int first, int cellCount, long value)
        {
            var content = new byte[cellCount * CellBytes];
            for (var at = 0; at < content.Length; at += 16)
            {
                BinaryPrimitives.WriteInt64LittleEndian(content.AsSpan(at), value);
                BinaryPrimitives.WriteInt64LittleEndian(content.AsSpan(at + 8), first + (at / CellBytes));
            }
            return content;
        }
    }
}
