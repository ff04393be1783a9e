namespace Lincow.Blobs;

/// <summary>
/// A blob's share of the threads on which a ring, or the pool, waits for file systems; who finds none left waits in line.
/// </summary>
internal sealed class WorkerShare
{
    /// <summary>
    /// Operations of one blob that may take a worker thread of the ring's at once: as many as a machine with two processors has by
    /// itself. What one file system leaves standing takes no more of them, so that the others' syncs and trims go on.
    /// </summary>
    public const int MaxOperations = 8;

    private readonly Queue<BlobOperation> _waiting = new();
    private int _count;

    /// <summary>Operations that wait in line, for tests.</summary>
    public int WaitingCount => _waiting.Count;

    /// <summary>
    /// Takes a worker for an operation that has none yet; false when it has to wait, until <see cref="GiveBack"/> returns it.
    /// </summary>
    public bool TryTake(BlobOperation operation)
    {
        if (operation.HasWorker)
            return true;
        // mutation: blob-takes-all-workers
        if (_count == MaxOperations)
        {
            _waiting.Enqueue(operation);
            return false;
        }
        _count++;
        operation.HasWorker = true;
        return true;
    }

    /// <summary>An operation has ended; returns who may go on now.</summary>
    public BlobOperation? GiveBack(BlobOperation operation)
    {
        if (!operation.HasWorker)
            return null;
        operation.HasWorker = false;
        _count--;
        return _waiting.TryDequeue(out var next) ? next : null;
    }
}
