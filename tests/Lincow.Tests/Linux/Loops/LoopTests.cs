using Lincow.Linux;

namespace Lincow.Tests.Linux.Loops;

/// <summary>Both loops keep the same contract.</summary>
public unsafe class LoopTests
{
    public static TheoryData<string> Loops => ["io_uring", "posix"];

    private sealed class Waiter : IoCompletion
    {
        public int? Result { get; private set; }

        public override void Complete(int result) => Result = result;

        public int Await(IoLoop loop)
        {
            while (Result is null)
                loop.RunOnce();
            var result = Result.Value;
            Result = null;
            return result;
        }
    }

    private sealed class Again(IoLoop loop) : IoCompletion
    {
        public int Turns { get; private set; }

        public override void Complete(int result)
        {
            Turns++;
            loop.CompleteNextTurn(this);
        }
    }

    [Theory]
    [MemberData(nameof(Loops))]
    public void What_goes_on_in_the_next_turn_lets_one_turn_pass(string name)
    {
        using var loop = TestLoop.Make(name);
        using var file = LinuxFile.CreateUnnamed(Path.GetTempPath());
        var (again, waiter, buffer) = (new Again(loop), new Waiter(), loop.Buffers.Rent(512));
        loop.CompleteNextTurn(again);
        Assert.Equal(0, again.Turns);
        // Once a turn, and without waiting for anything, however often.
        for (var turn = 1; turn <= 50; turn++)
        {
            loop.RunOnce();
            Assert.Equal(turn, again.Turns);
        }
        loop.Write(file.Descriptor, buffer.Address, 512, 0, waiter);
        Assert.Equal(512, waiter.Await(loop));
        Assert.True(again.Turns > 50);
    }

    [Fact]
    public void Kernel_structures_have_the_kernel_s_sizes()
    {
        Assert.Equal((64, 16, 120, 40, 24),
            (sizeof(SubmissionEntry), sizeof(CompletionEntry), sizeof(RingParameters), sizeof(RingOffsets), sizeof(GetEventsArgument)));
        Assert.Equal((256, 32, 8, 56, 16),
            (sizeof(StatxBuffer), sizeof(FileLock), sizeof(PollDescriptor), sizeof(MessageHeader), sizeof(IoVector)));
    }

    [Theory]
    [MemberData(nameof(Loops))]
    public void Files_are_written_read_and_punched(string name)
    {
        using var loop = TestLoop.Make(name);
        using var file = LinuxFile.CreateUnnamed(Path.GetTempPath());
        var buffer = loop.Buffers.Rent(8192);
        var content = new Span<byte>((void*)buffer.Address, 8192);
        new Random(1).NextBytes(content);
        var expected = content.ToArray();
        var waiter = new Waiter();
        loop.Write(file.Descriptor, buffer.Address, 8192, 4096, waiter);
        Assert.Null(waiter.Result);
        Assert.Equal(8192, waiter.Await(loop));
        loop.SyncData(file.Descriptor, waiter);
        Assert.Equal(0, waiter.Await(loop));
        loop.Allocate(file.Descriptor, 3, 4096, 4096, waiter);
        Assert.Equal(0, waiter.Await(loop));
        content.Clear();
        loop.Read(file.Descriptor, buffer.Address, 8192, 4096, waiter);
        Assert.Equal(8192, waiter.Await(loop));
        Assert.Equal([.. new byte[4096], .. expected[4096..]], content.ToArray());
        loop.Read(-1, buffer.Address, 1, 0, waiter);
        Assert.Equal(-Errno.BadFile, waiter.Await(loop));
    }

    [Theory]
    [MemberData(nameof(Loops))]
    public void More_operations_than_the_ring_holds_all_complete(string name)
    {
        using var loop = TestLoop.Make(name);
        using var file = LinuxFile.CreateUnnamed(Path.GetTempPath());
        file.SetLength(1 << 20);
        var buffer = loop.Buffers.Rent(512);
        var waiters = Enumerable.Range(0, 20_000).Select(_ => new Waiter()).ToList();
        waiters.ForEach(waiter => loop.Read(file.Descriptor, buffer.Address, 512, 0, waiter));
        Assert.All(waiters, waiter => Assert.Equal(512, waiter.Await(loop)));
    }

    [Theory]
    [MemberData(nameof(Loops))]
    public void Sockets_carry_bytes_and_wait(string name)
    {
        using var loop = TestLoop.Make(name);
        var (first, second) = LinuxSocket.Pair();
        var buffer = loop.Buffers.Rent(4096);
        var (receiver, sender) = (new Waiter(), new Waiter());
        loop.Receive(second, buffer.Address + 2048, 2048, receiver);
        loop.RunOnceUntilIdle();
        Assert.Null(receiver.Result);
        new Span<byte>((void*)buffer.Address, 3).Fill(9);
        var vector = new IoVector { Base = buffer.Address, Length = 3 };
        var message = new MessageHeader { Vectors = &vector, VectorCount = 1 };
        loop.Send(first, &message, sender);
        Assert.Equal(3, sender.Await(loop));
        Assert.Equal(3, receiver.Await(loop));
        Assert.Equal(9, ((byte*)buffer.Address)[2050]);
        loop.Receive(second, buffer.Address, 16, receiver);
        LinuxSocket.Close(first);
        Assert.Equal(0, receiver.Await(loop));
        LinuxSocket.Close(second);
    }

    [Theory]
    [MemberData(nameof(Loops))]
    public void Work_from_other_threads_ends_a_wait(string name)
    {
        IoLoop? running = null;
        using var made = new ManualResetEventSlim();
        var thread = new Thread(() =>
        {
            var loop = TestLoop.Make(name);
            running = loop;
            made.Set();
            loop.Run();
            loop.Dispose();
        });
        thread.Start();
        made.Wait(TestContext.Current.CancellationToken);
        for (var i = 0; i < 2000; i++)
            Assert.Equal(i, running!.Invoke(() => i));
        var count = 0;
        Parallel.For(0, 2000, _ => running!.Post(() => count++));
        Assert.Equal(2000, running!.Invoke(() => count));
        running!.Post(running.Stop);
        Assert.True(thread.Join(10_000));
    }

    [Theory]
    [MemberData(nameof(Loops))]
    public void Timers_come_in_order(string name)
    {
        using var loop = TestLoop.Make(name);
        var (late, early) = (new Waiter(), new Waiter());
        loop.Delay(60, late);
        loop.Delay(10, early);
        Assert.Equal(0, early.Await(loop));
        Assert.Null(late.Result);
        Assert.Equal(0, late.Await(loop));
    }

    [Fact]
    public void Buffers_are_aligned_and_come_back()
    {
        using var pool = new BufferPool();
        foreach (var size in new[] { 1, 4096, 4097, 1 << 20, 64 << 20 })
        {
            var buffer = pool.Rent(size);
            Assert.True(buffer.SizeBytes >= size && buffer.Address % 4096 == 0);
            pool.Return(buffer);
        }
        Assert.Equal(0, pool.RentedBytes);
        var first = pool.Rent(4096);
        pool.Return(first);
        Assert.Equal(first, pool.Rent(4096));
    }
}

internal static class LoopExtensions
{
    /// <summary>Lets a few turns pass, none of which may wait: a timer that is due ends each.</summary>
    public static void RunOnceUntilIdle(this IoLoop loop)
    {
        for (var i = 0; i < 3; i++)
        {
            loop.Delay(1, new Nothing());
            loop.RunOnce();
        }
    }

    private sealed class Nothing : IoCompletion
    {
        public override void Complete(int result)
        {
        }
    }
}
