namespace Lincow.Linux;

/// <summary>
/// Standard output or error: what is written goes to the descriptor at once. .NET's own stream sets up the terminal with its first write:
/// it reads the terminal's description, and puts its keypad into a mode that nobody asked for and that stays.
/// </summary>
internal sealed unsafe class OutputStream(int descriptor) : Stream
{
    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <summary>Writes all of it, whatever that takes. To a reader who has gone, nothing: that is how a pipe is told to stop.</summary>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        fixed (byte* bytes = buffer)
        {
            for (nint done = 0; done < buffer.Length;)
            {
                var written = Libc.write(descriptor, (nint)bytes + done, buffer.Length - done);
                if (written >= 0)
                {
                    done += written;
                    continue;
                }
                switch (Libc.LastError)
                {
                    case Errno.Interrupted:
                        break;
                    // Somebody has made it a descriptor that doesn't wait.
                    case Errno.Again:
                        var wait = new PollDescriptor { Descriptor = descriptor, Events = PollDescriptor.Out };
                        _ = Libc.poll(&wait, 1, -1);
                        break;
                    case Errno.Pipe:
                        return;
                    case var error:
                        throw new LinuxException("write", descriptor == 2 ? "standard error" : "standard output", error);
                }
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
