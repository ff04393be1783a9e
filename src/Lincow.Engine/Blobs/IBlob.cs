namespace Lincow.Blobs;

/// <summary>
/// Bytes at rest that are read: an origin. Every operation completes on the owner's loop, never before the call that started it has
/// returned; results are 0 or a negative errno, and final: short transfers have been finished inside, and an error that passes has been
/// tried again for as long as the implementation says.
/// </summary>
internal interface IReadableBlob : IDisposable
{
    /// <summary>The path, for messages.</summary>
    string Name { get; }

    /// <summary>What offsets, lengths and addresses must be multiples of, in bytes: 1 unless direct I/O is used.</summary>
    int AlignmentBytes { get; }

    /// <summary>Told of what the blob's owner should know, a sentence each.</summary>
    Action<LincowError>? Report { get; set; }

    /// <summary>It tells of operations that failed by itself.</summary>
    bool TellsErrors => false;

    /// <summary>Reads exactly <paramref name="byteCount"/> bytes; the end of the file within them is EIO.</summary>
    void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation);

    /// <summary>
    /// Finds which of a range may hold data and which is holes, from its start on, as far as there is room for runs. What can't be told is
    /// data. The runs belong to the operation until it has ended.
    /// </summary>
    void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation);

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

/// <summary>
/// The one seam between the engine and what it keeps: an overlay's data or its map. What <see cref="IReadableBlob"/> says of operations
/// holds here, too; and after a sync that failed nothing may be tried again, so the owner is failed. Implementations:
/// <see cref="FileBlob"/> over a loop (io_uring or plain system calls), and simulated ones in the tests.
/// </summary>
internal interface IBlob : IReadableBlob
{
    void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation);

    /// <summary>All writes that have completed before this call are on stable storage when it completes with 0 (fdatasync).</summary>
    void Flush(BlobOperation operation);

    /// <summary>Completes with 0 when what is ready now has gone on: for an operation that others, just arrived, may share.</summary>
    void Yield(BlobOperation operation);

    /// <summary>
    /// Completes with 0 in the loop's next turn, so that others are served before: for work that would take too long in one go.
    /// </summary>
    void NextTurn(BlobOperation operation);

    /// <summary>Completes with 0 after a time.</summary>
    void Delay(int milliseconds, BlobOperation operation);

    /// <summary>Gives a range's space back; 0 also where that isn't supported, for the range's content no longer matters.</summary>
    void PunchHole(long byteOffset, long byteLength, BlobOperation operation);

    /// <summary>Makes sure that writes to a range won't lack space; 0 also where that isn't supported.</summary>
    void Reserve(long byteOffset, long byteLength, BlobOperation operation);
}
