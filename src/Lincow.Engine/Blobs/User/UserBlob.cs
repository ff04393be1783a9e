using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>A <see cref="UserOrigin"/> under the engine's seam. Only ever read.</summary>
internal sealed class UserBlob(UserOrigin origin, IoLoop loop) : IBlob
{
    public string Name => origin.Name;

    public int AlignmentBytes => 1;

    public void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        operation.Blob = null;
        if (origin.IsQuick)
            loop.CompleteSoon(operation, ReadNow(byteOffset, buffer, byteCount));
        else
            ThreadPool.UnsafeQueueUserWorkItem(_ => ReadElsewhere(byteOffset, buffer, byteCount, operation), null);
    }

    public void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation) => throw new InvalidOperationException("an origin is not written");

    public void Flush(BlobOperation operation) => throw new InvalidOperationException("an origin is not written");

    public void Yield(BlobOperation operation) => throw new InvalidOperationException("an origin is not written");

    public void NextTurn(BlobOperation operation) => throw new InvalidOperationException("an origin is not written");

    public void PunchHole(long byteOffset, long byteLength, BlobOperation operation) => throw new InvalidOperationException("an origin is not written");

    public void Reserve(long byteOffset, long byteLength, BlobOperation operation) => throw new InvalidOperationException("an origin is not written");

    public void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
    {
        operation.Blob = null;
        var search = new RunSearch(origin.TryFindData);
        search.Set(byteOffset, byteEnd, runs);
        loop.RunElsewhere(search, operation);
    }

    public bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd) => origin.TryFindData(byteOffset, byteEnd, out dataStart, out dataEnd);

    public void WillNeed(long byteOffset, long byteLength)
    {
    }

    public void Turn() => loop.RunOnce();

    public void Dispose() => origin.Dispose();

    private void ReadElsewhere(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        var result = ReadNow(byteOffset, buffer, byteCount);
        loop.Post(() => operation.End(result));
    }

    private unsafe int ReadNow(long byteOffset, nint buffer, int byteCount)
    {
        try
        {
            origin.Read(byteOffset, new Span<byte>((void*)buffer, byteCount));
            return 0;
        }
        catch (IOException)
        {
            return -Errno.IO;
        }
    }
}
