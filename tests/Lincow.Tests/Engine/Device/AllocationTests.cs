using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Device;

/// <summary>The data path allocates nothing in steady state.</summary>
public class AllocationTests
{
    private const int Requests = 100_000;

    [Theory]
    [InlineData(nameof(BlockOperation.Read))]
    [InlineData(nameof(BlockOperation.Write))]
    [InlineData(nameof(BlockOperation.WriteZeroes))]
    public void A_request_allocates_nothing(string name)
    {
        var operation = Enum.Parse<BlockOperation>(name);
        var random = new Random(3);
        // Some unaligned, so that copy-up takes its turn.
        using var device = new NullDevice(() => random.NextInt64(NullDevice.SizeBytes - 8192) / 512 * 512);
        device.Run(operation, Requests);
        var before = GC.GetAllocatedBytesForCurrentThread();
        device.Run(operation, Requests);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory]
    [InlineData(nameof(BlockOperation.Read))]
    [InlineData(nameof(BlockOperation.Write))]
    [InlineData(nameof(BlockOperation.WriteZeroes))]
    public void A_request_of_a_snapshot_store_allocates_nothing(string name)
    {
        var operation = Enum.Parse<BlockOperation>(name);
        var random = new Random(3);
        var order = new int[NullDevice.SizeBytes / NullDevice.RequestBytes];
        for (var i = 0; i < order.Length; i++)
            order[i] = i;
        random.Shuffle(order);
        var next = 0;
        // First half of the chunks, so that the others come while it is measured; in any order, so that neighbours lie apart.
        Func<long> offset = () => order[next++] * (long)NullDevice.RequestBytes;
        using var device = new NullDevice(() => offset(), "snapshot");
        device.LearnOrigin();
        while (next < order.Length / 2)
            Round(BlockOperation.Write);
        // Then as many operations at once as there can be.
        offset = () => random.NextInt64(order.Length - 1) * NullDevice.RequestBytes + 512;
        Round(BlockOperation.Read);
        Round(operation);
        offset = () => random.NextInt64(NullDevice.SizeBytes - 8192) / 512 * 512;
        for (var done = 0; done < Requests / 4; done += 1024)
            Round(operation);
        // A request that allocates does so each time; a queue that is longer than ever before grows once.
        var least = long.MaxValue;
        for (var attempt = 0; attempt < 3 && least > 0; attempt++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var done = 0; done < Requests; done += 1024)
                Round(operation);
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(0, least);

        void Round(BlockOperation what)
        {
            device.Run(what, 1024);
            device.Run(BlockOperation.Flush, 3);
        }
    }

    [Fact]
    public void An_area_that_is_read_allocates_nothing()
    {
        using var buffers = new BufferPool();
        var blob = new NothingBlob();
        var cache = new AreaCache(blob, new SnapshotLayout(12), buffers, 64 * 4096, static _ => { });
        var random = new Random(3);
        var requests = new TestRequest[32];
        for (var i = 0; i < requests.Length; i++)
            requests[i] = new TestRequest();
        Load(Requests / 4);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Load(Requests);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(64 * 4096, buffers.RentedBytes);

        void Load(int count)
        {
            for (var i = 0; i < count; i += requests.Length)
            {
                foreach (var request in requests)
                {
                    var area = random.NextInt64(1000);
                    if (cache.Find(area).IsEmpty)
                        cache.Load(area, request);
                }
                while (blob.TryEndOne())
                {
                }
            }
        }
    }
}
