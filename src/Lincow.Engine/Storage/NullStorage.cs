namespace Lincow.Storage;

/// <summary>Keeps nothing and ends every operation well, in the order in which they came: for measuring the engine by itself.</summary>
internal sealed class NullStorage : IStorage
{
    private readonly Queue<StorageOperation> _pending = new(1024);

    public string Name => "null";

    public int AlignmentBytes => 1;

    public bool TryEndOne()
    {
        if (!_pending.TryDequeue(out var operation))
            return false;
        operation.End(0);
        return true;
    }

    public void Read(long byteOffset, nint buffer, int byteCount, StorageOperation operation) => _pending.Enqueue(operation);

    public void Write(long byteOffset, nint buffer, int byteCount, StorageOperation operation) => _pending.Enqueue(operation);

    public void Flush(StorageOperation operation) => _pending.Enqueue(operation);

    public void Yield(StorageOperation operation) => _pending.Enqueue(operation);

    public void NextTurn(StorageOperation operation) => _pending.Enqueue(operation);

    public void PunchHole(long byteOffset, long byteLength, StorageOperation operation) => _pending.Enqueue(operation);

    public void Reserve(long byteOffset, long byteLength, StorageOperation operation) => _pending.Enqueue(operation);

    public bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
    {
        (dataStart, dataEnd) = (byteOffset, byteEnd);
        return byteOffset < byteEnd;
    }

    public void WillNeed(long byteOffset, long byteLength)
    {
    }

    public void Turn() => TryEndOne();

    public void Dispose()
    {
    }
}
