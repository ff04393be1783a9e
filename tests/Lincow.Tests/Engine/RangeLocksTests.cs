using Lincow.Device;

namespace Lincow.Tests.Engine;

public class RangeLocksTests
{
    private long _ticket;

    private TestRequest Request(BlockOperation operation, long start, long end)
    {
        var request = new TestRequest { Operation = operation };
        (request.LockStart, request.LockEnd, request.Ticket) = (start, end, ++_ticket);
        return request;
    }

    private static List<BlockRequest> Release(RangeLocks locks, BlockRequest request)
    {
        RequestQueue runnable = default;
        locks.Release(request, ref runnable);
        var result = new List<BlockRequest>();
        while (runnable.Dequeue() is { } next)
            result.Add(next);
        return result;
    }

    [Fact]
    public void Readers_share_and_a_writer_is_alone()
    {
        var locks = new RangeLocks();
        var (first, second, writer) = (Request(BlockOperation.Read, 0, 10), Request(BlockOperation.Read, 5, 15), Request(BlockOperation.Write, 9, 10));
        Assert.True(locks.TryAcquire(first));
        Assert.True(locks.TryAcquire(second));
        Assert.False(locks.TryAcquire(writer));
        Assert.Empty(Release(locks, first));
        Assert.Equal([writer], Release(locks, second));
    }

    [Fact]
    public void Neighbours_do_not_conflict()
    {
        var locks = new RangeLocks();
        Assert.True(locks.TryAcquire(Request(BlockOperation.Write, 0, 10)));
        Assert.True(locks.TryAcquire(Request(BlockOperation.Write, 10, 20)));
    }

    [Fact]
    public void Nobody_overtakes_an_earlier_waiter_that_it_conflicts_with()
    {
        var locks = new RangeLocks();
        var (reader, writer, late) = (Request(BlockOperation.Read, 0, 10), Request(BlockOperation.Write, 5, 15), Request(BlockOperation.Read, 12, 13));
        Assert.True(locks.TryAcquire(reader));
        Assert.False(locks.TryAcquire(writer));
        // Nothing active is in its way, only the waiting writer.
        Assert.False(locks.TryAcquire(late));
        Assert.Equal([writer], Release(locks, reader));
        Assert.True(locks.TryAcquire(writer));
        Assert.Equal([late], Release(locks, writer));
    }
}
