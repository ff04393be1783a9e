using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// The one seam between the engine and the bytes at rest: an origin, an overlay's data or its map. Every operation completes on the owner's
/// loop, never before the call that started it has returned; results are 0 or a negative errno, short transfers having been finished
/// inside. Implementations: <see cref="FileBlob"/> over a loop (io_uring or plain system calls), and a simulated one in the tests.
/// </summary>
public interface IBlob : IDisposable
{
    /// <summary>The path, for messages.</summary>
    string Name { get; }

    /// <summary>What offsets, lengths and addresses must be multiples of, in bytes: 1 unless direct I/O is used.</summary>
    int AlignmentBytes { get; }

    /// <summary>Told of what the blob's owner should know, a sentence each.</summary>
    Action<LincowError>? Report { get; set; }

    /// <summary>Reads exactly <paramref name="byteCount"/> bytes; the end of the file within them is EIO.</summary>
    void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation);

    void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation);

    /// <summary>All writes that have completed before this call are on stable storage when it completes with 0 (fdatasync).</summary>
    void Flush(BlobOperation operation);

    /// <summary>Completes with 0 when what is ready now has gone on: for an operation that others, just arrived, may share.</summary>
    void Yield(BlobOperation operation);

    /// <summary>
    /// Completes with 0 in the loop's next turn, so that others are served before: for work that would take too long in one go.
    /// </summary>
    void NextTurn(BlobOperation operation);

    /// <summary>Gives a range's space back; 0 also where that isn't supported, for the range's content no longer matters.</summary>
    void PunchHole(long byteOffset, long byteLength, BlobOperation operation);

    /// <summary>Makes sure that writes to a range won't lack space; 0 also where that isn't supported.</summary>
    void Reserve(long byteOffset, long byteLength, BlobOperation operation);

    /// <summary>
    /// Finds which of a range may hold data and which is holes, from its start on, as far as there is room for runs. What can't be told is
    /// data. The runs belong to the operation until it has ended.
    /// </summary>
    void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation);

    /// <summary>
    /// The next range that may hold data at or after an offset and before an end; false when only holes follow. It may wait for the disk,
    /// so it is for the control plane; on a loop that serves others there is <see cref="FindRuns"/>.
    /// </summary>
    bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd);

    /// <summary>
    /// Nobody waits for reads and searches any longer, and none will be started: those in flight end as soon as they can, at the latest
    /// after a time that the implementation names. What can't wait for long has nothing to do here.
    /// </summary>
    void CancelReads();

    /// <summary>A hint that a range will be read soon.</summary>
    void WillNeed(long byteOffset, long byteLength);

    /// <summary>Lets the loop take one turn: how the control plane waits for its own operations.</summary>
    void Turn();
}

/// <summary>One operation in flight on a storage; owned and reused by whoever starts it.</summary>
public abstract class BlobOperation : IoCompletion
{
    internal FileBlob? Blob { get; set; }
    internal FileCall Call { get; set; }
    internal long ByteOffset { get; set; }
    internal nint Buffer { get; set; }
    internal int ByteCount { get; set; }
    internal long ByteLength { get; set; }
    internal BlobRuns? Runs { get; set; }
    internal RunSearch? Search { get; set; }
    internal int PiecesLeft { get; set; }
    internal int PieceError { get; set; }

    /// <summary>It is on its way, and counts as one that may take a worker thread.</summary>
    internal bool HasWorker { get; set; }

    /// <summary>Called once with 0 or a negative errno.</summary>
    public abstract void End(int result);

    public sealed override void Complete(int result)
    {
        if (Blob is { } blob)
            blob.Continue(this, result);
        else
            End(result);
    }
}

internal enum FileCall
{
    Read,
    Write,

    /// <summary>Inside a storage: a part of a large write.</summary>
    WritePiece,
    Flush,
    Yield,
    PunchHole,
    Reserve,
    FindRuns,
}

/// <summary>Waits for single operations: the control plane's way to read and write superblocks and map pages.</summary>
public static class StorageWait
{
    private const int WriteAttempts = 3;

    public static int ReadNow(this IBlob blob, long byteOffset, NativeBuffer buffer, int byteCount)
    {
        var operation = new Waiter();
        blob.Read(byteOffset, buffer.Address, byteCount, operation);
        return operation.Await(blob);
    }

    public static int WriteNow(this IBlob blob, long byteOffset, NativeBuffer buffer, int byteCount)
    {
        var operation = new Waiter();
        blob.Write(byteOffset, buffer.Address, byteCount, operation);
        return operation.Await(blob);
    }

    /// <summary>
    /// As <see cref="WriteNow"/>, for what may be written again, the same bytes at the same place, when that fails: an error that passes is
    /// none. No sync comes between, for after one that failed nothing may be tried again.
    /// </summary>
    public static int WriteUntilItSucceeds(this IBlob blob, long byteOffset, NativeBuffer buffer, int byteCount)
    {
        var result = 0;
        for (var attempt = 0; attempt < WriteAttempts; attempt++)
        {
            result = blob.WriteNow(byteOffset, buffer, byteCount);
            if (result == 0 || Errno.IsLackOfSpace(result))
                break;
        }
        return result;
    }

    public static int PunchHoleNow(this IBlob blob, long byteOffset, long byteLength)
    {
        var operation = new Waiter();
        blob.PunchHole(byteOffset, byteLength, operation);
        return operation.Await(blob);
    }

    public static int FindRunsNow(this IBlob blob, long byteOffset, long byteEnd, BlobRuns runs)
    {
        var operation = new Waiter();
        blob.FindRuns(byteOffset, byteEnd, runs, operation);
        return operation.Await(blob);
    }

    public static int FlushNow(this IBlob blob)
    {
        var operation = new Waiter();
        blob.Flush(operation);
        return operation.Await(blob);
    }

    private sealed class Waiter : BlobOperation
    {
        private int? _result;

        public override void End(int result) => _result = result;

        public int Await(IBlob blob)
        {
            while (_result is null)
                blob.Turn();
            return _result.Value;
        }
    }
}
