using CsCheck;
using Lincow.Device;
using Lincow.Requests;

namespace Lincow.Tests.Engine.Device;

public class RangeLocksTests
{
    private static TestRequest Request(BlockOperation operation, long start, long end)
    {
        var request = new TestRequest { Operation = operation };
        (request.LockStart, request.LockEnd) = (start, end);
        return request;
    }

    /// <summary>Those who hold their ranges now, who waited before.</summary>
    private static List<BlockRequest> Release(RangeLocks locks, BlockRequest request)
    {
        locks.Release(request);
        var result = new List<BlockRequest>();
        while (locks.HasWoken)
        {
            if (locks.WakeOne() is { } next)
                result.Add(next);
        }
        return result;
    }

    [Fact]
    public void Readers_share_and_a_writer_is_alone()
    {
        var locks = new RangeLocks();
        var (first, second, writer) =
            (Request(BlockOperation.Read, 0, 10), Request(BlockOperation.Read, 5, 15), Request(BlockOperation.Write, 9, 10));
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
        var (reader, writer, late) = (Request(BlockOperation.Read, 0, 10), Request(BlockOperation.Write, 5, 15),
            Request(BlockOperation.Read, 12, 13));
        Assert.True(locks.TryAcquire(reader));
        Assert.False(locks.TryAcquire(writer));
        // Nothing active is in its way, only the waiting writer.
        Assert.False(locks.TryAcquire(late));
        Assert.Equal([writer], Release(locks, reader));
        Assert.Equal([late], Release(locks, writer));
    }

    [Fact]
    public void Who_is_woken_is_in_the_way_of_those_who_come_until_somebody_looks_at_it()
    {
        var locks = new RangeLocks();
        var (first, waiter, late) = (Request(BlockOperation.Write, 0, 10), Request(BlockOperation.Write, 0, 10),
            Request(BlockOperation.Read, 0, 10));
        Assert.True(locks.TryAcquire(first));
        Assert.False(locks.TryAcquire(waiter));
        locks.Release(first);
        Assert.True(locks.HasWoken);
        Assert.False(locks.TryAcquire(late));
        Assert.Equal(waiter, locks.WakeOne());
        Assert.False(locks.HasWoken);
        Assert.Equal([late], Release(locks, waiter));
    }

    [Fact]
    public void Who_needs_more_than_it_was_given_asks_anew_and_keeps_its_place()
    {
        var locks = new RangeLocks();
        var (first, waiter, other, late) = (Request(BlockOperation.Write, 0, 10), Request(BlockOperation.Write, 5, 8),
            Request(BlockOperation.Write, 20, 30), Request(BlockOperation.Write, 0, 40));
        Assert.True(locks.TryAcquire(first));
        Assert.False(locks.TryAcquire(waiter));
        Assert.True(locks.TryAcquire(other));
        Assert.False(locks.TryAcquire(late));
        Assert.Equal([waiter], Release(locks, first));
        (waiter.LockStart, waiter.LockEnd) = (6, 8);
        Assert.True(locks.TryAcquire(waiter));
        (waiter.LockStart, waiter.LockEnd) = (0, 25);
        Assert.False(locks.TryAcquire(waiter));
        Assert.Equal([waiter], Release(locks, other));
        Assert.Equal([late], Release(locks, waiter));
        Assert.Empty(Release(locks, late));
        Assert.True(locks.IsIdle);
    }

    private sealed record Step(int Kind, int Start, int Length, int Choice);

    private static readonly Gen<Step> Steps =
        Gen.Select(Gen.Int[0, 4], Gen.Int[0, 200], Gen.OneOf(Gen.Int[1, 5], Gen.Int[1, 5], Gen.Int[1, 200]), Gen.Int[0, int.MaxValue],
        (kind, start, length, choice) => new Step(kind, start, length, choice));

    /// <summary>Next to a list of who holds and one of who waits, in order.</summary>
    [Fact]
    public void At_every_moment_those_hold_who_may() =>
        Gen.Select(Steps.Array[1, 400], Gen.Int[1, 4]).Sample((steps, releaseOneIn) =>
        {
            var locks = new RangeLocks();
            var (held, waiting) = (new List<TestRequest>(), new List<TestRequest>());
            foreach (var step in steps)
            {
                if (step.Choice % (releaseOneIn + 1) == 0 && held.Count > 0)
                {
                    var leaving = held[step.Choice / 8 % held.Count];
                    held.Remove(leaving);
                    var granted = Release(locks, leaving);
                    var expected = new List<BlockRequest>();
                    for (var i = 0; i < waiting.Count; i++)
                    {
                        if (held.Exists(other => Conflict(other, waiting[i]))
                            || waiting.GetRange(0, i).Exists(other => Conflict(other, waiting[i])))
                            continue;
                        expected.Add(waiting[i]);
                        held.Add(waiting[i]);
                        waiting.RemoveAt(i--);
                    }
                    Assert.Equal(expected.OrderBy(request => request.Arrival), granted.OrderBy(request => request.Arrival));
                }
                else
                {
                    var request = Request(step.Kind < 3 ? BlockOperation.Read : BlockOperation.Write, step.Start, step.Start + step.Length);
                    var mayHold = !held.Exists(other => Conflict(other, request)) && !waiting.Exists(other => Conflict(other, request));
                    Assert.Equal(mayHold, locks.TryAcquire(request));
                    (mayHold ? held : waiting).Add(request);
                }
            }
            while (held.Count > 0)
            {
                var leaving = held[^1];
                held.Remove(leaving);
                foreach (var next in Release(locks, leaving))
                    held.Add((TestRequest)next);
            }
            Assert.True(locks.IsIdle);
        }, iter: 2000);

    private static bool Conflict(TestRequest one, TestRequest other) =>
        (one.Operation == BlockOperation.Write || other.Operation == BlockOperation.Write) && one.LockStart < other.LockEnd
            && other.LockStart < one.LockEnd;

    private const int Many = 20_000;

    /// <summary>What a search of a tree with so many nodes may cost, in nodes, and how often a request may be looked at again.</summary>
    private const int MostVisits = 500;

    /// <summary>
    /// Releases everybody in the order that they came to hold, and returns the nodes of trees that were looked at for each request.
    /// </summary>
    private static long VisitsEach(Func<int, TestRequest> make, bool lastFirst = false)
    {
        var locks = new RangeLocks();
        var held = new LinkedList<BlockRequest>();
        for (var i = 0; i < Many; i++)
        {
            var request = make(i);
            if (locks.TryAcquire(request))
                held.AddLast(request);
        }
        var done = 0;
        for (; held.Count > 0; done++)
        {
            var leaving = lastFirst ? held.Last!.Value : held.First!.Value;
            held.Remove(lastFirst ? held.Last! : held.First!);
            foreach (var next in Release(locks, leaving))
                held.AddLast(next);
        }
        Assert.Equal(Many, done);
        Assert.True(locks.IsIdle);
        return locks.Visits / Many;
    }

    [Fact]
    public void Many_that_wait_behind_one_cost_a_few_searches_each() =>
        Assert.InRange(VisitsEach(i => i == 0 ? Request(BlockOperation.Discard, 0, Many) : Request(BlockOperation.Write, i, i + 1)), 1,
            MostVisits);

    [Fact]
    public void Many_that_want_the_same_range_cost_a_few_searches_each() =>
        Assert.InRange(VisitsEach(_ => Request(BlockOperation.Write, 0, 1)), 1, MostVisits);

    [Fact]
    public void Many_that_hold_cost_a_search_each() =>
        Assert.InRange(VisitsEach(i => Request(i % 2 == 0 ? BlockOperation.Read : BlockOperation.Write, i, i + 1)), 1, MostVisits);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Many_that_wait_for_many_are_not_looked_at_for_each_of_them(bool lastFirst) =>
        Assert.InRange(VisitsEach(i => i < Many / 2 ? Request(BlockOperation.Write, i, i + 1)
            : Request(BlockOperation.Read, 0, Many), lastFirst), 1, MostVisits);

    [Fact]
    public void Chains_of_neighbours_cost_a_few_searches_each() =>
        Assert.InRange(VisitsEach(i => Request(BlockOperation.Write, i, i + 2)), 1, MostVisits);
}
