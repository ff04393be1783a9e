namespace Lincow.Linux;

/// <summary>
/// Writes to a descriptor by its number, whatever that leads to at the moment: .NET's own streams of standard output and error keep a
/// duplicate of what it led to at first.
/// </summary>
internal sealed unsafe class DescriptorStream(int descriptor) : Stream
{
    public override bool CanRead => false;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            for (var done = 0; done < buffer.Length;)
            {
                var written = Libc.write(descriptor, (nint)(start + done), buffer.Length - done);
                if (written >= 0)
                    done += (int)written;
                else if (Libc.LastError != Errno.Interrupted)
                    throw new IOException(Errno.Describe(Libc.LastError));
            }
        }
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
