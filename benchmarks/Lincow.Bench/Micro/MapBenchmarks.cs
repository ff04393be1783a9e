using BenchmarkDotNet.Attributes;
using Lincow.Layers;
using Lincow.Linux;

namespace Lincow.Bench.Micro;

/// <summary>The chunk map in memory: 1 GiB of 4 KiB chunks, every other run of 1 to 16 chunks in the overlay; chunks at random.</summary>
[MemoryDiagnoser]
public class MapBenchmarks
{
    private const int Lookups = 4096;
    private const long Chunks = 1 << 18;

    private readonly long[] _chunks = new long[Lookups];
    private ChunkMap _map = null!;

    [GlobalSetup]
    public void Fill()
    {
        var random = new Random(1);
        _map = new ChunkMap(new Geometry(Chunks << 12, 12), startsEmpty: true, new BufferPool());
        for (long chunk = 0; chunk < Chunks - 32;)
        {
            var count = random.Next(1, 17);
            _map.Set(new ChunkIndex(chunk), count, ChunkState.Data);
            chunk += count + random.Next(1, 17);
        }
        for (var i = 0; i < Lookups; i++)
            _chunks[i] = random.NextInt64(Chunks - 32);
    }

    [GlobalCleanup]
    public void Free() => _map.Dispose();

    /// <summary>One chunk's state.</summary>
    [Benchmark(OperationsPerInvoke = Lookups)]
    public int LookUp()
    {
        var sum = 0;
        foreach (var chunk in _chunks)
            sum += (int)_map.StateOf(new ChunkIndex(chunk));
        return sum;
    }

    /// <summary>The run that starts at a chunk, as far as 256 chunks: what a read of 1 MiB asks.</summary>
    [Benchmark(OperationsPerInvoke = Lookups)]
    public long FindRun()
    {
        var sum = 0L;
        foreach (var chunk in _chunks)
            sum += _map.RunAt(new ChunkIndex(chunk), 256).ChunkCount;
        return sum;
    }

    /// <summary>Marks a chunk that is marked already: each write to an allocated chunk.</summary>
    [Benchmark(OperationsPerInvoke = Lookups)]
    public void MarkAgain()
    {
        foreach (var chunk in _chunks)
            _map.Set(new ChunkIndex(chunk), 1, _map.StateOf(new ChunkIndex(chunk)));
    }

    /// <summary>Takes a chunk from one state to the other and back, with the page on the dirty list.</summary>
    [Benchmark(OperationsPerInvoke = 2 * Lookups)]
    public void Mark()
    {
        foreach (var chunk in _chunks)
        {
            var state = _map.StateOf(new ChunkIndex(chunk));
            _map.Set(new ChunkIndex(chunk), 1, state == ChunkState.Data ? ChunkState.Zero : ChunkState.Data);
            _map.Set(new ChunkIndex(chunk), 1, state);
        }
    }
}
