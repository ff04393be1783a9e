using Lincow.Linux;
using Lincow.Serving.Hosting;

namespace Lincow.Tests.Serving.Hosting;

/// <summary>Which devices share a loop, and when one ends.</summary>
public sealed class LoopPoolTests : IDisposable
{
    private readonly LoopPool _pool = new(null, _ => { });
    private readonly List<LoopThread> _taken = [];

    [Fact]
    public void Devices_share_a_loop_only_with_those_on_the_same_disks()
    {
        var (here, there) = (new List<LoopThread>(), new List<LoopThread>());
        for (var i = 0; i < 3 * Environment.ProcessorCount; i++)
        {
            here.Add(Take("8:1"));
            there.Add(Take("8:1 8:2"));
        }
        Assert.Empty(here.Intersect(there));
        Assert.Equal(Environment.ProcessorCount, here.Distinct().Count());
        // In turn: none has more than another.
        Assert.All(here.GroupBy(thread => thread), loop => Assert.Equal(3, loop.Count()));
        Assert.Equal(2 * Environment.ProcessorCount, _pool.Count);
    }

    [Fact]
    public void A_loop_ends_with_its_last_device_and_newcomers_get_another()
    {
        var threads = Enumerable.Range(0, 2 * Environment.ProcessorCount).Select(_ => Take("8:1")).ToList();
        var first = threads[0];
        Assert.False(Release(first));
        Assert.True(Release(first));
        first.Stop();
        Assert.Equal(Environment.ProcessorCount - 1, _pool.Count);
        Assert.NotSame(first, Take("8:1"));
        Assert.Equal(Environment.ProcessorCount, _pool.Count);
        // The one that has just come has the fewest devices.
        Assert.Same(_taken[^1], Take("8:1"));
    }

    [Fact]
    public void A_lost_loop_gets_no_device_any_more()
    {
        var lost = Take("8:1");
        Assert.False(_pool.Lose(lost));
        Assert.NotSame(lost, Take("8:1"));
        Assert.False(_pool.Release(lost));
        Assert.True(_pool.Lose(lost));
        _taken.Remove(lost);
        lost.Stop();
    }

    public void Dispose()
    {
        foreach (var thread in _taken)
        {
            if (_pool.Release(thread))
                thread.Stop();
        }
        _pool.Dispose();
    }

    private LoopThread Take(string places)
    {
        _taken.Add(_pool.Take(places));
        return _taken[^1];
    }

    private bool Release(LoopThread thread)
    {
        _taken.Remove(thread);
        return _pool.Release(thread);
    }
}
