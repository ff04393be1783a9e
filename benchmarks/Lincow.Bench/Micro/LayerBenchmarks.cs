using BenchmarkDotNet.Attributes;
using Lincow.Layers;

namespace Lincow.Bench.Micro;

/// <summary>
/// Which of a stack of frozen layers holds a byte: 1 GiB of 4 KiB chunks, every layer with chunks of its own here and there; offsets at
/// random. What it costs doesn't grow with depth.
/// </summary>
[MemoryDiagnoser]
public class LayerBenchmarks
{
    private const int Lookups = 4096;
    private const long DeviceBytes = 1L << 30;

    private readonly long[] _offsets = new long[Lookups];
    private SharedIndex _index = null!;

    /// <summary>Frozen layers below the one that is written.</summary>
    [Params(1, 8, 64)]
    public int Depth { get; set; }

    [GlobalSetup]
    public void Fill()
    {
        var random = new Random(1);
        var geometry = new Geometry(DeviceBytes, 12);
        _index = new SharedIndex([.. Enumerable.Repeat(geometry, Depth)]);
        var words = new ulong[ChunkMap.WordsPerPage];
        for (var page = 0L; page < _index.PageCount; page++)
        {
            if (!SharedIndex.TryBegin(out var made))
                throw new InvalidOperationException("no memory");
            for (var layer = 0; layer < Depth; layer++)
            {
                Array.Clear(words);
                for (var i = 0; i < 256; i++)
                {
                    var chunk = random.Next(ChunkMap.ChunksPerPage);
                    words[chunk / 32] = (words[chunk / 32] & ~(3UL << (chunk % 32 * 2))) | (1UL << (chunk % 32 * 2));
                }
                _index.Enter(SharedIndex.Granules(made), page, layer, geometry, words);
            }
            _index.Publish(page, made);
        }
        for (var i = 0; i < Lookups; i++)
            _offsets[i] = random.NextInt64(DeviceBytes - (1 << 20));
    }

    [GlobalCleanup]
    public void Free() => _index.Leave();

    /// <summary>The run that starts at a byte, as far as 1 MiB.</summary>
    [Benchmark(OperationsPerInvoke = Lookups)]
    public long FindRun()
    {
        var sum = 0L;
        foreach (var offset in _offsets)
        {
            _index.TryRunAt(offset, offset + (1 << 20), out var holder, out var length);
            sum += length + holder;
        }
        return sum;
    }
}
