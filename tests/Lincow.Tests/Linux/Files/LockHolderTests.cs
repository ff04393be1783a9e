using Lincow.Linux;

namespace Lincow.Tests.Linux.Files;

/// <summary>A process that was killed holds its locks a moment longer than it lives; a living one keeps them.</summary>
public class LockHolderTests
{
    [Fact]
    public async Task What_a_process_that_is_gone_still_holds_is_waited_for()
    {
        var path = Path.GetTempFileName();
        try
        {
            using var file = LinuxFile.Open(path, writable: true);
            var dying = LinuxFile.Open(path, writable: true);
            Assert.True(dying.TryLock(0, exclusive: true));
            // Our own locks aren't seen as anybody's: as those of a process that has no descriptors any more.
            var release = Task.Delay(100, TestContext.Current.CancellationToken).ContinueWith(_ => dying.Dispose(), TaskScheduler.Default);
            Assert.Same(file, LockHolder.Outlast(() => file.TryLock(0, exclusive: true) ? file
                : null, () => LockHolder.Find(file.Facts), out var holder));
            Assert.Null(holder);
            await release;
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Nobody_waits_for_a_living_holder()
    {
        var attempts = 0;
        Assert.Null(LockHolder.Outlast<object>(() => { attempts++; return null; }, () => "process 1 (init)", out var holder));
        Assert.Equal(("process 1 (init)", 1), (holder, attempts));
    }
}
