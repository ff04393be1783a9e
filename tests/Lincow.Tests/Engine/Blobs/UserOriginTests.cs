using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;

namespace Lincow.Tests.Engine.Blobs;

public sealed class UserOriginTests : IDisposable
{
    private readonly PosixLoop _loop = new();
    private readonly NativeBuffer _buffer;

    public UserOriginTests() => _buffer = _loop.Buffers.Rent(1 << 16);

    public void Dispose()
    {
        _loop.Buffers.Return(_buffer);
        _loop.Dispose();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_a_program_makes_up_is_read_until_it_is_written(bool isQuick)
    {
        var session = OverlaySession.Open(new OverlayOptions { UserOrigin = new Numbers(1 << 20, isQuick) }, _loop);
        Assert.Equal(0, Do(session, BlockOperation.Read, 5000, 9000));
        Assert.True(Bytes(9000).SequenceEqual(Numbers.Content(5000, 9000)));
        Bytes(100).Fill(7);
        Assert.Equal(0, Do(session, BlockOperation.Write, 6000, 100));
        Assert.Equal(0, Do(session, BlockOperation.Read, 4096, 8192));
        var expected = Numbers.Content(4096, 8192);
        expected.AsSpan(6000 - 4096, 100).Fill(7);
        Assert.True(Bytes(8192).SequenceEqual(expected));
        session.Close();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_it_cannot_read_is_EIO_and_nothing_else_is(bool isQuick)
    {
        var session = OverlaySession.Open(new OverlayOptions { UserOrigin = new Numbers(1 << 20, isQuick) { BadFrom = 65536 } }, _loop);
        Assert.Equal(-Errno.IO, Do(session, BlockOperation.Read, 65536, 4096));
        Assert.Equal(-Errno.IO, Do(session, BlockOperation.Write, 65600, 10));
        Assert.Equal(0, Do(session, BlockOperation.Read, 0, 4096));
        Assert.True(Bytes(4096).SequenceEqual(Numbers.Content(0, 4096)));
        session.Close();
    }

    [Fact]
    public void A_persistent_overlay_recognises_it_by_its_content()
    {
        var directory = Directory.CreateTempSubdirectory("lincow-test-").FullName;
        try
        {
            var overlay = Path.Combine(directory, "work.cow");
            OverlayCreator.Create(new CreateOptions { Overlay = overlay, Origin = "", UserOrigin = new Numbers(1 << 20, true) });
            OverlaySession.Open(new OverlayOptions { Overlay = overlay, UserOrigin = new Numbers(1 << 20, true) }, _loop).Close();
            var error = Assert.Throws<LincowException>(() =>
                OverlaySession.Open(new OverlayOptions { Overlay = overlay, UserOrigin = new Numbers(1 << 20, true) { Shift = 1 } },
                _loop));
            Assert.Contains("its content differs", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Reads_that_wait_are_in_flight_together_and_end_in_any_order()
    {
        var origin = new Late(1 << 20);
        var session = OverlaySession.Open(new OverlayOptions { UserOrigin = origin }, _loop);
        var first = Begin(session, 0, 4096);
        var second = Begin(session, 4096, 4096);
        origin.Await(_loop, 2);
        // The loop goes on meanwhile.
        Assert.Equal(0, Do(session, BlockOperation.Flush, 0, 0));
        origin.Answer(4096);
        while (second.Result is null)
            _loop.RunOnce();
        Assert.Equal((0, null), (second.Result, first.Result));
        origin.Answer(0);
        while (first.Result is null)
            _loop.RunOnce();
        Assert.True(Bytes(8192).SequenceEqual(Numbers.Content(0, 8192)));
        session.Close();
        Assert.True(origin.IsDisposed);
    }

    [Fact]
    public void To_close_cancels_what_is_read()
    {
        var origin = new Late(1 << 20) { Cancels = true };
        var session = OverlaySession.Open(new OverlayOptions { UserOrigin = origin }, _loop);
        var reports = new List<string>();
        session.Report = error => reports.Add(error.Message);
        var read = Begin(session, 0, 4096);
        origin.Await(_loop, 1);
        session.Close();
        Assert.Equal(-Errno.IO, read.Result);
        Assert.True(origin.IsDisposed);
        Assert.Empty(reports);
    }

    [Fact]
    public void To_close_does_not_wait_for_a_read_that_is_dead_and_its_late_answer_reaches_nobody()
    {
        var origin = new Late(1 << 20);
        var session = OverlaySession.Open(new OverlayOptions { UserOrigin = origin }, _loop);
        var read = Begin(session, 0, 4096);
        origin.Await(_loop, 1);
        var closing = new Thread(session.Close) { IsBackground = true };
        closing.Start();
        Assert.True(closing.Join(TimeSpan.FromSeconds(60)));
        Assert.Equal(-Errno.IO, read.Result);
        // Its code may still be at work, on the origin and in the memory that it was given.
        Assert.False(origin.IsDisposed);
        Assert.True(_loop.Buffers.RentedBytes > _buffer.SizeBytes);
        Bytes(4096).Fill(1);
        origin.Answer(0);
        while (_loop.WorkElsewhere > 0)
            _loop.RunOnce();
        Assert.True(origin.IsDisposed);
        Assert.Equal(_buffer.SizeBytes, _loop.Buffers.RentedBytes);
        Assert.Equal(-1, Bytes(4096).IndexOfAnyExcept((byte)1));
        Assert.Equal(1, read.Ends);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_mistake_in_its_code_is_EIO_and_told_once_and_the_device_goes_on(bool isQuick)
    {
        var origin = new Mistaken(isQuick);
        var session = OverlaySession.Open(new OverlayOptions { UserOrigin = origin }, _loop);
        origin.IsServed = true;
        var reports = new List<string>();
        session.Report = error => reports.Add(error.Message);
        for (var i = 0; i < 3; i++)
            Assert.Equal(-Errno.IO, Do(session, BlockOperation.Read, 65536, 4096));
        Assert.Contains("DivideByZeroException", Assert.Single(reports), StringComparison.Ordinal);
        Assert.Equal(0, Do(session, BlockOperation.Write, 0, 4096));
        Assert.Equal(0, Do(session, BlockOperation.Flush, 0, 0));
        session.Close();
    }

    [Fact]
    public void A_read_of_it_allocates_nothing()
    {
        using var loop = new PosixLoop();
        using var blob = new UserBlob(new Still(), loop);
        var operation = new Ended();
        Read(1000);
        var least = long.MaxValue;
        for (var attempt = 0; attempt < 3 && least > 0; attempt++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            Read(1000);
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(0, least);

        void Read(int count)
        {
            for (var i = 0; i < count; i++)
            {
                operation.HasEnded = false;
                blob.Read(i * 512, _buffer.Address, 512, operation);
                while (!operation.HasEnded)
                    loop.RunOnce();
            }
        }
    }

    private Request Begin(OverlaySession session, long byteOffset, int byteLength)
    {
        var request = new Request
        {
            Operation = BlockOperation.Read,
            ByteOffset = byteOffset,
            ByteLength = byteLength,
            Buffer = _buffer.Address + (nint)byteOffset
        };
        session.Device.Submit(request);
        return request;
    }

    private Span<byte> Bytes(int count)
    {
        unsafe
        {
            return new Span<byte>((void*)_buffer.Address, count);
        }
    }

    private int Do(OverlaySession session, BlockOperation operation, long byteOffset, int byteLength)
    {
        var request = new Request { Operation = operation, ByteOffset = byteOffset, ByteLength = byteLength, Buffer = _buffer.Address };
        session.Device.Submit(request);
        while (request.Result is null)
            _loop.RunOnce();
        return request.Result.Value;
    }

    private sealed class Request : BlockRequest
    {
        public int? Result { get; private set; }

        public int Ends { get; private set; }

        protected internal override void OnCompleted(int result)
        {
            Result = result;
            Ends++;
        }
    }

    private sealed class Ended : BlobOperation
    {
        public bool HasEnded { get; set; }

        public override void End(int result) => HasEnded = true;
    }

    /// <summary>Answers when it is told to.</summary>
    private sealed class Late(long sizeBytes) : UserOrigin
    {
        private readonly Dictionary<long, (Memory<byte> Target, TaskCompletionSource Source)> _waiting = [];

        public bool Cancels { get; init; }

        public bool IsDisposed { get; private set; }

        public override string Name => "late";

        public override long SizeBytes => sizeBytes;

        public override ValueTask ReadAsync(long byteOffset, Memory<byte> target, CancellationToken cancellation)
        {
            // Samples, while it is opened.
            if (!cancellation.CanBeCanceled)
            {
                Numbers.Content(byteOffset, target.Length).CopyTo(target);
                return ValueTask.CompletedTask;
            }
            var source = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            if (Cancels)
                cancellation.Register(() => source.SetCanceled(cancellation));
            lock (_waiting)
                _waiting.Add(byteOffset, (target, source));
            return new ValueTask(source.Task);
        }

        /// <summary>Until so many reads wait for their answers.</summary>
        public void Await(IoLoop loop, int count)
        {
            while (true)
            {
                lock (_waiting)
                {
                    if (_waiting.Count == count)
                        return;
                }
                loop.Post(static () => { });
                loop.RunOnce();
            }
        }

        public void Answer(long byteOffset)
        {
            lock (_waiting)
            {
                Assert.True(_waiting.Remove(byteOffset, out var read));
                Numbers.Content(byteOffset, read.Target.Length).CopyTo(read.Target);
                read.Source.SetResult();
            }
        }

        protected override void Dispose(bool disposing) => IsDisposed = true;
    }

    private sealed class Mistaken(bool isQuick) : UserOrigin
    {
        /// <summary>What it throws while it is opened is the opener's.</summary>
        public bool IsServed { get; set; }

        public override string Name => "mistaken";

        public override long SizeBytes => 1 << 20;

        public override bool IsQuick => isQuick;

        public override void Read(long byteOffset, Span<byte> target)
        {
            if (IsServed)
                throw new DivideByZeroException();
        }

        public override bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd) =>
            throw new DivideByZeroException();
    }

    private sealed class Still : UserOrigin
    {
        public override string Name => "still";

        public override long SizeBytes => 1 << 30;

        public override void Read(long byteOffset, Span<byte> target) => target.Clear();
    }

    private sealed class Numbers(long sizeBytes, bool isQuick) : UserOrigin
    {
        public long BadFrom { get; init; } = long.MaxValue;

        public int Shift { get; init; }

        public override string Name => "numbers";

        public override long SizeBytes => sizeBytes;

        public override bool IsQuick => isQuick;

        public static byte[] Content(long byteOffset, int byteLength, int shift = 0) =>
            [.. Enumerable.Range(0, byteLength).Select(i => (byte)((byteOffset + i + shift) * 31 >> 3))];

        public override void Read(long byteOffset, Span<byte> target)
        {
            if (byteOffset + target.Length > BadFrom)
                throw new IOException("made up");
            Content(byteOffset, target.Length, Shift).CopyTo(target);
        }
    }
}
