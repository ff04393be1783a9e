using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Device;

/// <summary>Whatever a request is, and however little there is to do for it, it ends after the call that submitted it.</summary>
public class CompletionTests
{
    private const int ChunkBytes = 4096;

    private static readonly OverlayShape _shape = new(256 * ChunkBytes, 12, IsSeparate: true, OriginBytes: 8 * ChunkBytes);

    [Theory]
    [InlineData("Read", 128 * ChunkBytes, ChunkBytes)]
    [InlineData("Read", 128 * ChunkBytes, 0)]
    [InlineData("Write", 128 * ChunkBytes, 0)]
    [InlineData("Write", 128 * ChunkBytes, 100)]
    [InlineData("WriteZeroes", 128 * ChunkBytes, ChunkBytes)]
    [InlineData("WriteZeroes", 128 * ChunkBytes + 1, 100)]
    [InlineData("Discard", 128 * ChunkBytes, 64 * ChunkBytes)]
    [InlineData("Discard", 128 * ChunkBytes + 1, 100)]
    [InlineData("Flush", 0, 0)]
    [InlineData("Extents", 0, 256 * ChunkBytes)]
    [InlineData("Cache", 128 * ChunkBytes, ChunkBytes)]
    [InlineData("CopyUp", 128 * ChunkBytes, 0)]
    [InlineData("Reclaim", 128 * ChunkBytes, ChunkBytes)]
    public void A_request_ends_after_the_call_that_submitted_it(string operation, long byteOffset, long byteLength)
    {
        using var overlay = new TestOverlay(new Random(1), _shape);
        // The second finds the map's page loaded and the origin's holes known.
        for (var i = 0; i < 2; i++)
            Assert.Equal(0, overlay.Run(Make(operation, byteOffset, byteLength)));
        overlay.Device.Stack.Fail("broken on purpose");
        Assert.True(overlay.Run(Make(operation, byteOffset, byteLength)) < 0);
    }

    [Theory]
    [InlineData("Read", 0)]
    [InlineData("Write", 0)]
    [InlineData("Discard", ChunkBytes)]
    [InlineData("Flush", 0)]
    [InlineData("Extents", ChunkBytes)]
    [InlineData("Cache", ChunkBytes)]
    public void So_does_one_to_a_live_origin(string operation, long byteLength)
    {
        var world = new SimulatedWorld(new Random(1));
        var device = new OriginDevice(new Geometry(16 * ChunkBytes, 12), new SimulatedBlob(world, 16 * ChunkBytes, "origin"), []);
        using var request = Make(operation, 0, byteLength);
        Assert.Equal(operation == "Discard" ? -Errno.NotSupported : 0, request.RunOn(device, world));
        Assert.True(device.IsIdle);
    }

    [Fact]
    public void A_long_chain_of_requests_with_nothing_to_do_takes_no_more_stack_than_a_short_one()
    {
        using var overlay = new TestOverlay(new Random(1), _shape);
        using var request = Make("Read", 128 * ChunkBytes, ChunkBytes);
        var (left, depth, deepest) = (1000, 0, 0);
        request.Completed = _ =>
        {
            deepest = Math.Max(deepest, ++depth);
            if (left-- > 0)
                request.SubmitTo(overlay.Device);
            depth--;
        };
        request.SubmitTo(overlay.Device);
        while (request.Result is null || left >= 0)
            overlay.World.Turn();
        Assert.Equal(1, deepest);
    }

    [Fact]
    public void Those_that_end_while_another_is_submitted_are_told_in_the_order_in_which_they_ended()
    {
        using var overlay = new TestOverlay(new Random(1), _shape);
        Assert.Equal(0, overlay.Run(Make("Read", 128 * ChunkBytes, ChunkBytes)));
        var told = new List<int>();
        var requests = Enumerable.Range(0, 10).Select(_ => Make("Read", 128 * ChunkBytes, ChunkBytes)).ToList();
        for (var i = 0; i < requests.Count; i++)
        {
            var index = i;
            requests[i].Completed = _ => told.Add(index);
            requests[i].SubmitTo(overlay.Device);
        }
        Assert.Equal(requests.Count, overlay.Device.InFlight);
        Assert.False(overlay.Device.IsIdle);
        while (told.Count < requests.Count)
            overlay.World.Turn();
        Assert.Equal(Enumerable.Range(0, 10), told);
        requests.ForEach(request => request.Dispose());
    }

    private static TestRequest Make(string operation, long byteOffset, long byteLength)
    {
        var request = new TestRequest
        {
            Operation = Enum.Parse<BlockOperation>(operation),
            ByteOffset = byteOffset,
            ByteLength = byteLength,
        };
        if (request.Operation == BlockOperation.Extents)
        {
            request.ExtentCount = 16;
            // Room for the records, of which the range's length is no measure.
            _ = request.Content;
        }
        return request;
    }
}
