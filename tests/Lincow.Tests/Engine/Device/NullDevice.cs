using System.Runtime.InteropServices;
using Lincow.Blobs;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Engine.Device;

/// <summary>
/// A device of 1 GiB in chunks of 4 KiB, linear and transient or an exception store as dm-snapshot has it, over a
/// <see cref="NothingBlob"/>, kept busy with requests of 4 KiB: the engine by itself. For the test of allocations and for the benchmark,
/// which must not measure different things.
/// </summary>
internal sealed class NullDevice : IDisposable
{
    public const long SizeBytes = 1L << 30;

    public const int RequestBytes = 4096;

    private const int InFlight = 32;

    private readonly BufferPool _buffers = new();
    private readonly NothingBlob _blob = new();
    private readonly Request[] _requests = new Request[InFlight];
    private readonly CowDevice _device;
    private readonly Func<long> _nextOffset;
    private int _left;

    /// <param name="nextOffset">Where the next request begins, in bytes.</param>
    /// <param name="kind">How it keeps its chunks.</param>
    public NullDevice(Func<long> nextOffset, string kind = "linear")
    {
        _nextOffset = nextOffset;
        var origin = new OriginLayer("o", new OriginIdentity(OriginKind.File, SizeBytes, 0, 0, 0), _blob);
        _device = new CowDevice(new LayerStack(kind == "linear" ? Linear() : Snapshot(), _blob, origin), _buffers,
            isReadOnly: false);
        for (var i = 0; i < InFlight; i++)
            _requests[i] = new Request(this);
    }

    /// <summary>Makes so many requests, 32 at once.</summary>
    public void Run(BlockOperation operation, int count)
    {
        _left = count;
        foreach (var request in _requests)
        {
            request.Operation = operation;
            Next(request);
        }
        while (_blob.TryEndOne())
        {
        }
    }

    /// <summary>Has the device find out, once and for all, that the origin has no holes.</summary>
    public void LearnOrigin()
    {
        var request = _requests[0];
        (_left, request.Operation, request.ByteOffset, request.ByteLength) = (0, BlockOperation.Read, 0, 512);
        _device.Submit(request);
        while (_blob.TryEndOne())
        {
        }
    }

    public void Dispose()
    {
        foreach (var request in _requests)
            request.Free();
        _device.Stack.Top.Dispose();
        _buffers.Dispose();
    }

    private LinearStore Linear()
    {
        var superblock = new Superblock
        {
            Uuid = Guid.NewGuid(),
            Generation = 1,
            DeviceBytes = SizeBytes,
            MaxDeviceBytes = SizeBytes,
            ChunkShift = 12,
            Layout = LinearLayout.Separate,
            DataOffset = 0,
            Origin = default,
            OriginUri = "zero:1G",
        };
        return new LinearStore(superblock, null, _buffers);
    }

    private SnapshotStore Snapshot()
    {
        var geometry = new Geometry(SizeBytes, 12);
        var bytes = new SnapshotLayout(12).StoreBytesFor(geometry.ChunkCount);
        return new SnapshotStore(geometry, _blob, isPersistent: true, new SnapshotOptions(AreaCacheBytes: 64 << 20, WhenFull.FailWrites),
            () => bytes, _buffers);
    }

    private void Next(Request request)
    {
        if (_left-- <= 0)
            return;
        request.ByteOffset = _nextOffset();
        _device.Submit(request);
    }

    private sealed unsafe class Request : BlockRequest
    {
        private readonly NullDevice _owner;

        public Request(NullDevice owner)
        {
            _owner = owner;
            ByteLength = RequestBytes;
            Buffer = (nint)NativeMemory.AlignedAlloc(RequestBytes, 4096);
        }

        public void Free() => NativeMemory.AlignedFree((void*)Buffer);

        protected internal override void OnCompleted(int result)
        {
            if (result != 0)
                throw new InvalidOperationException($"result {result}");
            _owner.Next(this);
        }
    }
}
