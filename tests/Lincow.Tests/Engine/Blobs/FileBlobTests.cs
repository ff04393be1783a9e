using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Tests.Linux.Loops;

namespace Lincow.Tests.Engine.Blobs;

/// <summary>The blob of a real file, over both loops: what it promises whatever way an operation takes.</summary>
public sealed unsafe class FileBlobTests
{
    public static TheoryData<string, int> LoopsAndLengths
    {
        get
        {
            var data = new TheoryData<string, int>();
            foreach (var loop in new[] { "io_uring", "posix" })
            {
                // Around the piece, around what is still done in place, and several pieces with a rest.
                foreach (var length in new[] { 1, FileWrites.PieceBytes - 1, FileWrites.PieceBytes + 1, 128 << 10, (128 << 10) + 1,
                    (1 << 20) + 12_345 })
                    data.Add(loop, length);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(LoopsAndLengths))]
    public void A_write_of_any_length_arrives_as_a_whole(string loopName, int length)
    {
        using var loop = TestLoop.Make(loopName);
        using var file = LinuxFile.CreateUnnamed(Path.GetTempPath());
        using var blob = new FileBlob(file, loop);
        var buffer = loop.Buffers.Rent(length);
        var content = new Span<byte>((void*)buffer.Address, length);
        new Random(length).NextBytes(content);
        var expected = content.ToArray();
        Assert.Equal(0, blob.WriteNow(777, buffer, length));
        Assert.Equal(0, blob.FlushNow());
        content.Clear();
        Assert.Equal(0, blob.ReadNow(777, buffer, length));
        Assert.True(content.SequenceEqual(expected));
        Assert.Equal(777 + length, file.ReadFacts().SizeBytes);
        Assert.Equal(0, loop.FileOperations);
    }

    [Theory]
    [MemberData(nameof(LoopsAndLengths))]
    public void A_write_that_the_disk_refuses_says_so(string loopName, int length)
    {
        using var loop = TestLoop.Make(loopName);
        using var blob = new FileBlob(LinuxFile.Open("/dev/full", writable: true), loop);
        var buffer = loop.Buffers.Rent(length);
        Assert.Equal(-Errno.NoSpace, blob.WriteNow(0, buffer, length));
        Assert.Equal(0, loop.FileOperations);
    }

    [Fact]
    public void A_short_sync_is_made_in_place_unless_others_would_wait_for_it()
    {
        using var loop = new UringLoop();
        using var file = LinuxFile.CreateUnnamed("/dev/shm");
        file.SetLength(1 << 20);
        using var blob = new FileBlob(file, loop);
        // The first shows how long a sync takes here; on a busy machine it may take a few.
        for (var tries = 0; tries < 1000 && blob.SyncsInPlace == 0; tries++)
            Assert.Equal(0, blob.FlushNow());
        Assert.NotEqual(0, blob.SyncsInPlace);
        var (before, other) = (blob.SyncsInPlace, new Waiter());
        blob.Yield(other);
        Assert.Equal(0, blob.FlushNow());
        Assert.Equal(before, blob.SyncsInPlace);
        // A megabyte to write is no short sync.
        var buffer = loop.Buffers.Rent(2 << 20);
        Assert.Equal(0, blob.WriteNow(0, buffer, 2 << 20));
        Assert.Equal(0, blob.FlushNow());
        Assert.Equal(before, blob.SyncsInPlace);
    }

    [Fact]
    public void A_storage_takes_its_share_of_a_rings_workers_and_no_more()
    {
        using var loop = new UringLoop();
        using var blob = new FileBlob(LinuxFile.CreateUnnamed(Path.GetTempPath()), loop);
        using var other = new FileBlob(LinuxFile.CreateUnnamed(Path.GetTempPath()), loop);
        var trims = Enumerable.Range(0, 100).Select(_ => new Waiter()).ToList();
        foreach (var trim in trims)
            blob.PunchHole(0, 4096, trim);
        Assert.Equal(trims.Count - WorkerShare.MaxOperations, blob.WaitingForWorkers);
        // Of another blob, so it stands in no queue.
        var free = new Waiter();
        other.PunchHole(0, 4096, free);
        Assert.Equal(0, other.WaitingForWorkers);
        while (!trims.TrueForAll(trim => trim.Result == 0) || free.Result is null)
            loop.RunOnce();
        Assert.Equal((0, 0, 0), (blob.WaitingForWorkers, free.Result, loop.FileOperations));
    }

    [Fact]
    public void A_loop_that_was_busy_sleeps_when_nothing_comes()
    {
        using var ready = new ManualResetEventSlim();
        IoLoop? loop = null;
        var thread = new Thread(() =>
        {
            using var made = new UringLoop();
            loop = made;
            ready.Set();
            made.Run();
        });
        thread.Start();
        ready.Wait(TestContext.Current.CancellationToken);
        // Waits of some microseconds, so that it spins.
        for (var i = 0; i < 20_000; i++)
            loop!.Invoke(() => true);
        var start = loop!.Invoke(ThreadCpuNanoseconds);
        Thread.Sleep(1000);
        var spent = loop!.Invoke(ThreadCpuNanoseconds) - start;
        loop!.Post(loop.Stop);
        thread.Join();
        Assert.InRange(spent, 0, 20_000_000);
    }

    /// <summary>The first figure of schedstat: time on a processor (Documentation/scheduler/sched-stats.rst).</summary>
    private static long ThreadCpuNanoseconds() => long.Parse(File.ReadAllText("/proc/thread-self/schedstat").Split(' ')[0]);

    private sealed class Waiter : BlobOperation
    {
        public int? Result { get; private set; }

        public override void End(int result) => Result = result;
    }
}
