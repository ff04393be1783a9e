using Lincow.Device;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Tests.Engine.Device;

/// <summary>A device that a test uses one request at a time, closes, opens again and resets, whatever its store is.</summary>
internal abstract class TestDevice : IDisposable
{
    /// <summary>The origin's content, with zeroes up to the device's end.</summary>
    public abstract byte[] OriginContent { get; }

    public abstract CowDevice Device { get; }

    public List<string> Reports { get; } = [];

    /// <summary>Where it gets its memory.</summary>
    public abstract BufferPool Buffers { get; }

    public abstract void Open();

    /// <summary>Flushes and closes as a session does. 0 or a negative errno.</summary>
    public abstract int Close();

    /// <summary>Makes the device, which is open, as its origin is again.</summary>
    public abstract void Reset();

    public abstract int Run(TestRequest request);

    public abstract void Dispose();

    public byte[] Read(long byteOffset, int byteLength)
    {
        using var request = new TestRequest { Operation = BlockOperation.Read, ByteOffset = byteOffset, ByteLength = byteLength };
        Assert.Equal(0, Run(request));
        return request.Content.ToArray();
    }

    /// <summary>0 or a negative errno, and nothing of what is there.</summary>
    public int TryRead(long byteOffset, int byteLength)
    {
        using var request = new TestRequest { Operation = BlockOperation.Read, ByteOffset = byteOffset, ByteLength = byteLength };
        return Run(request);
    }

    public int Write(long byteOffset, byte[] content, BlockFlags flags = BlockFlags.None)
    {
        using var request = new TestRequest
        {
            Operation = BlockOperation.Write,
            ByteOffset = byteOffset,
            ByteLength = content.Length,
            Flags = flags
        };
        content.CopyTo(request.Content);
        return Run(request);
    }

    public int Zero(long byteOffset, long byteLength, BlockOperation operation = BlockOperation.WriteZeroes,
        BlockFlags flags = BlockFlags.None) =>
        Run(new TestRequest { Operation = operation, ByteOffset = byteOffset, ByteLength = byteLength, Flags = flags });

    public int CopyUp(long byteOffset, long byteLength) =>
        Run(new TestRequest { Operation = BlockOperation.CopyUp, ByteOffset = byteOffset, ByteLength = byteLength });

    public int Flush() => Run(new TestRequest { Operation = BlockOperation.Flush });
}
