namespace Lincow.Blobs;

/// <summary>Keeps nothing and ends every operation well, in the order in which they came: for measuring the engine by itself.</summary>
internal sealed class NothingBlob : IBlob
{
    private readonly Queue<BlobOperation> _pending = new(1024);

    public string Name => "null";

    public Action<LincowError>? Report { get; set; }

    public int AlignmentBytes => 1;

    public bool TryEndOne()
    {
        if (!_pending.TryDequeue(out var operation))
            return false;
        operation.End(0);
        return true;
    }

    public void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation) => _pending.Enqueue(operation);

    public void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation) => _pending.Enqueue(operation);

    public void Flush(BlobOperation operation) => _pending.Enqueue(operation);

    public void Yield(BlobOperation operation) => _pending.Enqueue(operation);

    public void NextTurn(BlobOperation operation) => _pending.Enqueue(operation);

    public void Delay(int milliseconds, BlobOperation operation) => _pending.Enqueue(operation);

    public void PunchHole(long byteOffset, long byteLength, BlobOperation operation) => _pending.Enqueue(operation);

    public void Reserve(long byteOffset, long byteLength, BlobOperation operation) => _pending.Enqueue(operation);

    public void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
    {
        runs.Clear(byteOffset);
        if (byteOffset < byteEnd)
            runs.TryAdd(byteEnd, isData: true);
        _pending.Enqueue(operation);
    }

    public void CancelReads()
    {
    }

    public void WillNeed(long byteOffset, long byteLength)
    {
    }

    public void Turn() => TryEndOne();

    public void Dispose()
    {
    }
}
