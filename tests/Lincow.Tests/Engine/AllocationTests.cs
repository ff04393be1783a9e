using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linear;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Storage;

namespace Lincow.Tests.Engine;

/// <summary>The data path allocates nothing in steady state.</summary>
public class AllocationTests
{
    private const int Requests = 100_000, InFlight = 32;

    [Theory]
    [InlineData(BlockOperation.Read)]
    [InlineData(BlockOperation.Write)]
    [InlineData(BlockOperation.WriteZeroes)]
    public void A_request_allocates_nothing(BlockOperation operation)
    {
        using var buffers = new BufferPool();
        var storage = new NullStorage();
        var superblock = new Superblock
        {
            Uuid = Guid.NewGuid(),
            Generation = 1,
            DeviceBytes = 1L << 30,
            MaxDeviceBytes = 1L << 30,
            ChunkShift = 12,
            Layout = LinearLayout.Separate,
            DataOffset = 0,
            Origin = default,
            OriginUri = "zero:1G",
        };
        var identity = new OriginIdentity(OriginKind.File, 1L << 30, 0, 0, 0);
        var device = new CowDevice(new LayerStack(new LinearStore(superblock, null, buffers), storage, 0, new Origin("o", identity, storage)), buffers, false);
        var driver = new Driver(device, operation);
        driver.Run(storage, Requests);
        var before = GC.GetAllocatedBytesForCurrentThread();
        driver.Run(storage, Requests);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private sealed class Driver
    {
        private readonly CowDevice _device;
        private readonly Request[] _requests = new Request[InFlight];
        private readonly Random _random = new(3);

        public Driver(CowDevice device, BlockOperation operation)
        {
            _device = device;
            for (var i = 0; i < InFlight; i++)
                _requests[i] = new Request(this) { Operation = operation, ByteLength = 4096 };
        }

        private int Left { get; set; }

        public void Run(NullStorage storage, int count)
        {
            Left = count;
            foreach (var request in _requests)
                Next(request);
            while (storage.TryEndOne())
            {
            }
        }

        private void Next(Request request)
        {
            if (Left-- <= 0)
                return;
            // Some unaligned, so that copy-up takes its turn.
            request.ByteOffset = _random.NextInt64((1L << 30) - 8192) / 512 * 512;
            _device.Submit(request);
        }

        private sealed unsafe class Request : BlockRequest
        {
            private readonly Driver _driver;

            public Request(Driver driver)
            {
                _driver = driver;
                Buffer = (nint)NativeMemory.AlignedAlloc(4096, 4096);
            }

            protected internal override void OnCompleted(int result)
            {
                if (result != 0)
                    throw new InvalidOperationException($"result {result}");
                _driver.Next(this);
            }
        }
    }
}
