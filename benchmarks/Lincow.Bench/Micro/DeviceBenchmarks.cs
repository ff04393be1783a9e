using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linear;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Storage;

namespace Lincow.Bench.Micro;

/// <summary>The whole device over storage that does nothing: what the engine itself adds to a request of 4 KiB, 32 in flight, at random.</summary>
[MemoryDiagnoser]
public class DeviceBenchmarks
{
    private const int Requests = 1 << 16, InFlight = 32;
    private const long DeviceBytes = 1L << 30;

    private readonly Request[] _requests = new Request[InFlight];
    private readonly long[] _offsets = new long[Requests];
    private readonly NullStorage _storage = new();
    private BufferPool _buffers = null!;
    private CowDevice _device = null!;
    private int _next;

    [GlobalSetup]
    public void Open()
    {
        var superblock = new Superblock
        {
            Uuid = Guid.NewGuid(),
            Generation = 1,
            DeviceBytes = DeviceBytes,
            MaxDeviceBytes = DeviceBytes,
            ChunkShift = 12,
            Layout = LinearLayout.Separate,
            DataOffset = 0,
            Origin = default,
            OriginUri = "zero:1G",
        };
        _buffers = new BufferPool();
        var origin = new Origin("origin", new OriginIdentity(OriginKind.File, DeviceBytes, 0, 0, 0), _storage);
        _device = new CowDevice(new LayerStack(new LinearStore(superblock, null, _buffers), _storage, 0, origin), _buffers, isReadOnly: false);
        var random = new Random(2);
        for (var i = 0; i < Requests; i++)
            _offsets[i] = random.NextInt64(DeviceBytes >> 12) << 12;
        for (var i = 0; i < InFlight; i++)
            _requests[i] = new Request(this);
    }

    [GlobalCleanup]
    public void Close() => _buffers.Dispose();

    [Benchmark(OperationsPerInvoke = Requests)]
    public void Read() => Run(BlockOperation.Read);

    /// <summary>Whole chunks; all of them are in the overlay after the first rounds, so this is the overwrite.</summary>
    [Benchmark(OperationsPerInvoke = Requests)]
    public void Write() => Run(BlockOperation.Write);

    private void Run(BlockOperation operation)
    {
        _next = 0;
        foreach (var request in _requests)
        {
            request.Operation = operation;
            Submit(request);
        }
        while (_storage.TryEndOne())
        {
        }
    }

    private void Submit(Request request)
    {
        if (_next == Requests)
            return;
        request.ByteOffset = _offsets[_next++];
        _device.Submit(request);
    }

    private sealed unsafe class Request : BlockRequest
    {
        private readonly DeviceBenchmarks _owner;

        public Request(DeviceBenchmarks owner)
        {
            _owner = owner;
            ByteLength = 4096;
            Buffer = (nint)NativeMemory.AlignedAlloc(4096, 4096);
        }

        protected internal override void OnCompleted(int result) => _owner.Submit(this);
    }
}
