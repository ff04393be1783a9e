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
        var session = OverlaySession.Open(new SessionOptions { UserOrigin = new Numbers(1 << 20, isQuick) }, _loop);
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
        var session = OverlaySession.Open(new SessionOptions { UserOrigin = new Numbers(1 << 20, isQuick) { BadFrom = 65536 } }, _loop);
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
            OverlaySession.Open(new SessionOptions { Overlay = overlay, UserOrigin = new Numbers(1 << 20, true) }, _loop).Close();
            var error = Assert.Throws<LincowException>(() => OverlaySession.Open(new SessionOptions { Overlay = overlay, UserOrigin = new Numbers(1 << 20, true) { Shift = 1 } }, _loop));
            Assert.Contains("its content differs", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
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

        protected internal override void OnCompleted(int result) => Result = result;
    }

    private sealed class Numbers(long sizeBytes, bool isQuick) : UserOrigin
    {
        public long BadFrom { get; init; } = long.MaxValue;

        public int Shift { get; init; }

        public override string Name => "numbers";

        public override long SizeBytes => sizeBytes;

        public override bool IsQuick => isQuick;

        public static byte[] Content(long byteOffset, int byteLength, int shift = 0) => [.. Enumerable.Range(0, byteLength).Select(i => (byte)((byteOffset + i + shift) * 31 >> 3))];

        public override void Read(long byteOffset, Span<byte> target)
        {
            if (byteOffset + target.Length > BadFrom)
                throw new IOException("made up");
            Content(byteOffset, target.Length, Shift).CopyTo(target);
        }
    }
}
