using BenchmarkDotNet.Attributes;
using Lincow.Requests;
using Lincow.Tests.Engine.Device;

namespace Lincow.Bench.Micro;

/// <summary>
/// The whole device over a blob that does nothing: what the engine itself adds to a request of 4 KiB, 32 in flight, at random.
/// </summary>
[MemoryDiagnoser]
public class DeviceBenchmarks
{
    private const int Requests = 1 << 16;

    private readonly long[] _offsets = new long[Requests];
    private NullDevice _device = null!;
    private int _next;

    [GlobalSetup]
    public void Open()
    {
        var random = new Random(2);
        for (var i = 0; i < Requests; i++)
            _offsets[i] = random.NextInt64(NullDevice.SizeBytes >> 12) << 12;
        _device = new NullDevice(() => _offsets[_next++ % Requests]);
    }

    [GlobalCleanup]
    public void Close() => _device.Dispose();

    [Benchmark(OperationsPerInvoke = Requests)]
    public void Read() => Run(BlockOperation.Read);

    /// <summary>Whole chunks; all of them are in the overlay after the first rounds, so this is the overwrite.</summary>
    [Benchmark(OperationsPerInvoke = Requests)]
    public void Write() => Run(BlockOperation.Write);

    private void Run(BlockOperation operation)
    {
        _next = 0;
        _device.Run(operation, Requests);
    }
}
