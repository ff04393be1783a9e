using Lincow.Device;

namespace Lincow.Tests.Engine;

/// <summary>The data path allocates nothing in steady state.</summary>
public class AllocationTests
{
    private const int Requests = 100_000;

    [Theory]
    [InlineData(BlockOperation.Read)]
    [InlineData(BlockOperation.Write)]
    [InlineData(BlockOperation.WriteZeroes)]
    public void A_request_allocates_nothing(BlockOperation operation)
    {
        var random = new Random(3);
        // Some unaligned, so that copy-up takes its turn.
        using var device = new NullDevice(() => random.NextInt64(NullDevice.SizeBytes - 8192) / 512 * 512);
        device.Run(operation, Requests);
        var before = GC.GetAllocatedBytesForCurrentThread();
        device.Run(operation, Requests);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
