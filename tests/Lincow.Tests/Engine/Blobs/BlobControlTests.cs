using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Tests.Engine.Blobs;

/// <summary>The control half of the seam, over files.</summary>
public sealed class BlobControlTests : IDisposable
{
    private readonly string _path = Path.GetTempFileName();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_file_says_what_it_is_and_becomes_another_size()
    {
        File.WriteAllBytes(_path, [1, 2, 3]);
        using var blob = new FileControl(LinuxFile.Open(_path, writable: true));
        await blob.ResizeAsync(4096);
        var facts = await blob.ReadFactsAsync(Cancellation);
        Assert.Equal((BlobKind.File, 4096L, 3L), (facts.Kind, facts.SizeBytes, blob.Facts.SizeBytes));
        Assert.True(facts.IsSame(blob.Facts));
        using var other = new FileControl(LinuxFile.Open("/dev/null", writable: false));
        Assert.False(facts.IsSame(other.Facts));
        var bytes = new byte[8];
        Assert.Equal(3, await blob.ReadAsync(4093, bytes, Cancellation));
        Assert.Equal(8, await blob.ReadAsync(0, bytes, Cancellation));
        Assert.Equal([1, 2, 3, 0, 0, 0, 0, 0], bytes);
    }

    [Fact]
    public async Task Who_is_in_the_way_of_a_lock_is_named()
    {
        using var writer = new FileControl(LinuxFile.Open(_path, writable: true));
        using var reader = new FileControl(LinuxFile.Open(_path, writable: true));
        Assert.Null(await reader.LockAsync(BlobLock.Content, exclusive: false));
        Assert.Null(await writer.FindHolderAsync(BlobLock.Content));
        Assert.NotNull(await writer.LockAsync(BlobLock.Content, exclusive: true));
        Assert.Null(await writer.LockAsync(BlobLock.Live, exclusive: true));
        // This process itself, which doesn't look for itself.
        Assert.Equal("another process", await reader.FindHolderAsync(BlobLock.Live));
    }

    [Fact]
    public async Task Labels_are_put_on_and_taken_off()
    {
        using var blob = new FileControl(LinuxFile.Open(_path, writable: true));
        Assert.SkipUnless(await blob.TrySetLabelAsync("user.lincow.test", "red"), "the file system keeps no labels");
        Assert.Equal("red", await blob.GetLabelAsync("user.lincow.test"));
        await blob.RemoveLabelAsync("user.lincow.test");
        Assert.Null(await blob.GetLabelAsync("user.lincow.test"));
    }

    [Fact]
    public async Task A_file_that_stands_still_is_not_waited_for_on_a_loop()
    {
        var thread = LoopThread.StartWithoutRing("lincow-test");
        var file = new StandingFile();
        try
        {
            var looking = new TaskCompletionSource<Task<OriginIdentity>>(TaskCreationOptions.RunContinuationsAsynchronously);
            thread.Loop.Post(() => looking.SetResult(OriginIdentity.OfAsync(new FileControl(file), Cancellation).AsTask()));
            await file.Entered.WaitAsync(Cancellation);
            var served = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            thread.Loop.Post(served.SetResult);
            await served.Task.WaitAsync(TimeSpan.FromSeconds(20), Cancellation);
            var identity = await looking.Task;
            Assert.False(identity.IsCompleted);
            file.Go();
            Assert.Equal(OriginKind.File, (await identity).Kind);
        }
        finally
        {
            file.Go();
            thread.Stop();
            file.Dispose();
        }
    }

    public void Dispose() => File.Delete(_path);

    /// <summary>A file whose reads wait until a test lets them go.</summary>
    private sealed class StandingFile()
        : LinuxFile("/standing", new FileFacts(FileKind.Regular, 8192, 8192, 0, 0, (0, 1), 1), direct: false)
    {
        private readonly ManualResetEventSlim _gate = new();
        private readonly TaskCompletionSource _entered = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Entered => _entered.Task;

        public void Go() => _gate.Set();

        public override FileFacts ReadFacts() => Facts;

        public override int Read(Span<byte> buffer, long byteOffset)
        {
            _entered.TrySetResult();
            _gate.Wait();
            return buffer.Length;
        }

        public override void Dispose()
        {
            _gate.Dispose();
            base.Dispose();
        }
    }
}
