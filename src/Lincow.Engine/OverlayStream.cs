using System.Buffers;
using Lincow.Linux;

namespace Lincow;

/// <summary>
/// An overlay's device as a stream of fixed length. It has no buffer of its own, so what one stream has written all others and the overlay
/// read at once.
/// </summary>
internal sealed class OverlayStream(Overlay overlay) : Stream
{
    /// <summary>What a synchronous call carries over at once; its span can't be kept for another thread.</summary>
    private const int SpanBytes = 1 << 16;

    private long _position;
    private bool _isClosed;

    public override bool CanRead => !_isClosed;

    public override bool CanSeek => !_isClosed;

    public override bool CanWrite => !_isClosed && !overlay.IsReadOnly;

    public override long Length => Open().SizeBytes;

    public override long Position
    {
        get
        {
            Open();
            return _position;
        }
        set
        {
            Open();
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            _position = value;
        }
    }

    public override long Seek(long offset, SeekOrigin origin)
    {
        var from = origin switch
        {
            SeekOrigin.Begin => 0,
            SeekOrigin.Current => Position,
            SeekOrigin.End => Length,
            _ => throw new ArgumentException("is none of Begin, Current and End", nameof(origin)),
        };
        Open();
        if (offset < -from || offset > long.MaxValue - from)
            throw new IOException("a position before the beginning, or beyond 2^63, was asked for");
        return _position = from + offset;
    }

    public override void SetLength(long value) => throw new NotSupportedException("an overlay's size doesn't change");

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = CountFor(buffer.Length);
        if (count == 0)
            return 0;
        await Open().ReadAsync(_position, buffer[..count], cancellationToken).ConfigureAwait(false);
        _position += count;
        return count;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        RequireRoom(buffer.Length);
        if (buffer.Length == 0)
            return;
        await overlay.WriteAsync(_position, buffer, cancellationToken).ConfigureAwait(false);
        _position += buffer.Length;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
    {
        ValidateBufferArguments(buffer, offset, count);
        return ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    }

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
    {
        ValidateBufferArguments(buffer, offset, count);
        return WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    }

    public override int Read(byte[] buffer, int offset, int count)
    {
        ValidateBufferArguments(buffer, offset, count);
        return ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();
    }

    public override void Write(byte[] buffer, int offset, int count)
    {
        ValidateBufferArguments(buffer, offset, count);
        WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();
    }

    public override int Read(Span<byte> buffer)
    {
        var total = CountFor(buffer.Length);
        var piece = ArrayPool<byte>.Shared.Rent(Math.Min(SpanBytes, total));
        try
        {
            for (var done = 0; done < total;)
            {
                var count = Read(piece, 0, Math.Min(piece.Length, total - done));
                piece.AsSpan(0, count).CopyTo(buffer[done..]);
                done += count;
            }
            return total;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(piece);
        }
    }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        RequireRoom(buffer.Length);
        var piece = ArrayPool<byte>.Shared.Rent(Math.Min(SpanBytes, buffer.Length));
        try
        {
            while (buffer.Length > 0)
            {
                var count = Math.Min(piece.Length, buffer.Length);
                buffer[..count].CopyTo(piece);
                Write(piece, 0, count);
                buffer = buffer[count..];
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(piece);
        }
    }

    public override void Flush() => FlushAsync(CancellationToken.None).GetAwaiter().GetResult();

    public override Task FlushAsync(CancellationToken cancellationToken) => Open().FlushAsync(cancellationToken).AsTask();

    protected override void Dispose(bool disposing)
    {
        _isClosed = true;
        base.Dispose(disposing);
    }

    private Overlay Open()
    {
        ObjectDisposedException.ThrowIf(_isClosed, this);
        return overlay;
    }

    private int CountFor(int wanted) => (int)Math.Clamp(Length - _position, 0, wanted);

    private void RequireRoom(int count)
    {
        if (Open().IsReadOnly)
            throw new NotSupportedException($"{overlay.Name}: is open for reading only");
        if (count > 0 && count > Length - _position)
            throw new OverlayIOException($"{overlay.Name}: {count} bytes at byte {_position} don't fit: the device has {Length} bytes",
                Errno.NoSpace, null);
    }
}
