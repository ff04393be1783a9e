using System.Globalization;
using System.Text;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// What a device must hold, as an array in memory, and random operations of any alignment that are done to both: to the array here, to the
/// device by libnbd, with many requests in flight as long as they don't overlap. Failures name the seed.
/// </summary>
internal sealed class DeviceModel
{
    /// <summary>Writes take their bytes from a pool of random ones, so that the client's script only needs an offset into it.</summary>
    private const int PoolBytes = 1 << 20;

    /// <summary>Requests go round several connections: what one has been answered, the others see.</summary>
    private const string Player = """
        uri, operations, pool, reads = sys.argv[1:]
        pool = open(pool, 'rb').read()
        handles = [connect(uri) for _ in range(3)]
        pending = [[] for _ in handles]

        def drain_all():
            for h, cookies in zip(handles, pending):
                drain(h, cookies)

        with open(reads, 'wb') as out:
            for number, line in enumerate(open(operations)):
                word, offset, length, source = line.split()
                offset, length, source = int(offset), int(length), int(source)
                h = handles[number % len(handles)]
                add = pending[number % len(handles)].append
                if word == 'barrier':
                    drain_all()
                elif word == 'write':
                    add(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(pool[source:source + length])), offset))
                elif word == 'fua':
                    add(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(pool[source:source + length])), offset, flags=nbd.CMD_FLAG_FUA))
                elif word == 'trim':
                    add(h.aio_trim(length, offset))
                elif word == 'zero':
                    add(h.aio_zero(length, offset))
                elif word == 'keep':
                    add(h.aio_zero(length, offset, flags=nbd.CMD_FLAG_NO_HOLE))
                elif word == 'cache':
                    add(h.aio_cache(length, offset))
                elif word == 'flush':
                    add(h.aio_flush())
                elif word == 'read':
                    out.write(h.pread(length, offset))
            drain_all()
        for h in handles:
            h.shutdown()
        """;

    private readonly int _seed;
    private readonly Random _random;
    private readonly byte[] _pool;
    private readonly StringBuilder _operations = new();
    private readonly MemoryStream _expectedReads = new();
    private readonly List<(int Start, int End)> _inFlight = [];

    public DeviceModel(byte[] content, int seed)
    {
        (Content, _seed, _random) = (content, seed, new Random(seed));
        _pool = Scratch.RandomBytes(PoolBytes, seed);
        Written = new bool[content.Length];
    }

    public byte[] Content { get; }

    /// <summary>Bytes whose content came from a write, and not from a later trim or zeroing.</summary>
    public bool[] Written { get; }

    /// <summary>An origin that is shorter than the device and has a hole, so that every kind of chunk comes up.</summary>
    public static byte[] OriginContent(int deviceBytes, int seed)
    {
        var content = Scratch.RandomBytes(deviceBytes * 3 / 4 / 512 * 512, seed);
        content.AsSpan(content.Length / 3, content.Length / 4).Clear();
        return content;
    }

    /// <summary>Everything is the origin's again: after a reset.</summary>
    public void Reset(byte[] origin)
    {
        origin.CopyTo(Content, 0);
        Content.AsSpan(origin.Length).Clear();
        Written.AsSpan().Clear();
    }

    public void Write(int offset, int length, string word = "write")
    {
        var source = _random.Next(PoolBytes - length + 1);
        _pool.AsSpan(source, length).CopyTo(Content.AsSpan(offset));
        Written.AsSpan(offset, length).Fill(true);
        Add(word, offset, length, source);
    }

    public void Zero(int offset, int length, string word = "zero")
    {
        Content.AsSpan(offset, length).Clear();
        Written.AsSpan(offset, length).Clear();
        Add(word, offset, length, 0);
    }

    public void Read(int offset, int length)
    {
        _expectedReads.Write(Content.AsSpan(offset, length));
        Add("read", offset, length, 0);
    }

    /// <summary>A flush that covers everything before it: what was sent has been answered first.</summary>
    public void Flush()
    {
        Barrier();
        Line("flush", 0, 0, 0);
        Barrier();
    }

    /// <summary>Adds operations: mostly writes, lengths from a byte to some chunks, alignments of every kind.</summary>
    public void AddRandomOperations(int count, int chunkBytes)
    {
        for (var i = 0; i < count; i++)
        {
            var (offset, length) = RandomRange(chunkBytes);
            switch (_random.Next(20))
            {
                case < 9:
                    Write(offset, length);
                    break;
                case 9:
                    Write(offset, length, "fua");
                    break;
                case < 12:
                    // Whole chunks: of others, nobody knows whether they are zeroes.
                    var start = offset / chunkBytes * chunkBytes;
                    Zero(start, Math.Min((offset + length + chunkBytes - 1) / chunkBytes * chunkBytes, Content.Length) - start, "trim");
                    break;
                case < 14:
                    Zero(offset, length);
                    break;
                case 14:
                    Zero(offset, length, "keep");
                    break;
                case < 18:
                    Read(offset, length);
                    break;
                case 18:
                    Line("cache", offset, length, 0);
                    break;
                default:
                    // Amid other requests, as clients do.
                    Line("flush", 0, 0, 0);
                    break;
            }
        }
    }

    /// <summary>Does what was added to the device, and compares what it read meanwhile.</summary>
    public void Play(Scratch scratch, string uri) =>
        Play(scratch, (operations, pool, reads) => Nbd.Script(Player, uri, operations, pool, reads));

    /// <summary>As <see cref="Play(Scratch, string)"/>, to a file or block device.</summary>
    public void PlayOnFile(Scratch scratch, string path) =>
        Play(scratch, (operations, pool, reads) => FilePlayer.Play(path, operations, pool, reads));

    private void Play(Scratch scratch, Action<string, string, string> play)
    {
        var (operations, pool, reads) = (scratch["operations"], scratch["pool"], scratch["reads"]);
        File.WriteAllText(operations, _operations.ToString());
        File.WriteAllBytes(pool, _pool);
        play(operations, pool, reads);
        AssertSame(_expectedReads.ToArray(), File.ReadAllBytes(reads), "what was read meanwhile");
        _operations.Clear();
        _inFlight.Clear();
        _expectedReads.SetLength(0);
    }

    /// <summary>Reads the whole device, with plain reads and with a client that follows the extents, and compares.</summary>
    public void AssertDeviceEquals(Scratch scratch, string uri)
    {
        AssertSame(Content, Nbd.ReadAll(scratch, uri), "the device by nbdcopy");
        var copy = scratch["plain.img"];
        Nbd.Script("""
            h = connect(sys.argv[1])
            with open(sys.argv[2], 'wb') as out:
                for offset in range(0, h.get_size(), 1 << 20):
                    out.write(h.pread(min(1 << 20, h.get_size() - offset), offset))
            """, uri, copy);
        AssertSame(Content, File.ReadAllBytes(copy), "the device by plain reads");
    }

    /// <summary>The linear promise: what was written at byte B lies at byte B + shift of the data file.</summary>
    public void AssertLinear(OverlayFacts facts)
    {
        var data = Scratch.ReadAt(facts.DataPath, facts.DataOffset, Content.Length);
        Assert.Contains(true, Written);
        for (var i = 0; i < Content.Length; i++)
        {
            if (Written[i] && data[i] != Content[i])
                Assert.Fail($"seed {_seed}: byte {i} of the device was written, and {facts.DataPath} holds something else at {i} + "
                    + $"{facts.DataOffset}");
        }
    }

    public void AssertSame(byte[] expected, byte[] actual, string what)
    {
        Assert.True(expected.Length == actual.Length, $"seed {_seed}: {what}: {expected.Length} bytes expected, {actual.Length} found");
        var difference = expected.AsSpan().CommonPrefixLength(actual);
        Assert.True(difference == expected.Length, $"seed {_seed}: {what}: differs from byte {difference} on");
    }

    private (int Offset, int Length) RandomRange(int chunkBytes)
    {
        var most = Math.Min(Math.Min(Content.Length, PoolBytes), 4 * chunkBytes);
        var length = _random.Next(4) switch
        {
            0 => _random.Next(1, 512),
            1 => 512 * _random.Next(1, Math.Max(2, most / 512)),
            _ => _random.Next(1, most + 1),
        };
        var offset = _random.Next(Content.Length - length + 1);
        var alignment = _random.Next(3) switch { 0 => 1, 1 => 512, _ => chunkBytes };
        return (offset / alignment * alignment, length);
    }

    private void Add(string word, int offset, int length, int source)
    {
        var end = offset + length;
        if (_inFlight.Count == 32 || _inFlight.Exists(other => other.Start < end && offset < other.End))
            Barrier();
        _inFlight.Add((offset, end));
        Line(word, offset, length, source);
    }

    private void Barrier()
    {
        Line("barrier", 0, 0, 0);
        _inFlight.Clear();
    }

    private void Line(string word, int offset, int length, int source) =>
        _operations.Append(CultureInfo.InvariantCulture, $"{word} {offset} {length} {source}\n");
}
