using System.Runtime.CompilerServices;
using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>What a blob can be locked for.</summary>
internal enum BlobLock
{
    /// <summary>Its content: shared by those who read it, exclusive for who writes.</summary>
    Content,

    /// <summary>Held exclusively by who serves an origin itself, for writing, with snapshots of it.</summary>
    Live,
}

/// <summary>
/// The control half of the seam: all that is asked of bytes at rest, apart from their data, before they are on a loop and beside it. What
/// may wait for a disk, a network or somebody's code is asynchronous, and never waits on a thread that runs a loop
/// (<see cref="LoopThread.IsCurrent"/>). Any thread may call. Errors of the system come as <see cref="LinuxException"/> or
/// <see cref="IOException"/>.
///
///     opened --look, lock, label, resize--> OnLoop --its data half is the owner's: IReadableBlob, IBlob--> disposed of
/// </summary>
internal interface IBlobControl : IDisposable
{
    /// <summary>A path or another name, for messages.</summary>
    string Name { get; }

    /// <summary>What offsets, lengths and addresses of its data half must be multiples of, in bytes.</summary>
    int AlignmentBytes { get; }

    /// <summary>The logical sectors of a block device, in bytes; 0 for anything else.</summary>
    int SectorBytes => 0;

    /// <summary>What it was when it was opened.</summary>
    BlobFacts Facts { get; }

    /// <summary>What it is now.</summary>
    ValueTask<BlobFacts> ReadFactsAsync(CancellationToken stop = default);

    /// <summary>Reads as much of a range as there is, and returns how many bytes that was. The memory needn't be aligned.</summary>
    ValueTask<int> ReadAsync(long byteOffset, Memory<byte> target, CancellationToken stop = default);

    /// <summary>Locks it, until it is disposed of. Null when that is done, or else who is in the way: "process 12 (lincow)".</summary>
    /// <param name="what">What is locked.</param>
    /// <param name="exclusive">Nobody else may have it.</param>
    /// <param name="outlast">Tries for a second when nobody alive is found that has it: somebody who was killed may hold it a moment
    /// longer.</param>
    ValueTask<string?> LockAsync(BlobLock what, bool exclusive, bool outlast = false);

    /// <summary>Who else has locked it exclusively; null when nobody has.</summary>
    ValueTask<string?> FindHolderAsync(BlobLock what);

    /// <summary>A label that was put on it; null when there is none.</summary>
    ValueTask<string?> GetLabelAsync(string name);

    /// <summary>Puts a label on it; false where labels can't be kept.</summary>
    ValueTask<bool> TrySetLabelAsync(string name, string value);

    /// <summary>Takes a label off, if it is there.</summary>
    ValueTask RemoveLabelAsync(string name);

    /// <summary>Makes it so many bytes long. What is new reads as zeroes.</summary>
    ValueTask ResizeAsync(long sizeBytes);

    /// <summary>What was written, and its size, are on stable storage afterwards.</summary>
    ValueTask SyncAsync();

    /// <summary>
    /// The same, read past the page cache, where its size allows that; this one is disposed of then. For what is open for reading.
    /// </summary>
    ValueTask<IBlobControl> WithoutCacheAsync();

    /// <summary>Its data half, on a loop; null where there are no bytes to read.</summary>
    IReadableBlob? OnLoop(IoLoop loop);
}

/// <summary>How the control half is waited for by callers with a thread of their own.</summary>
internal static class BlobControlWait
{
    /// <summary>Waits, on a thread that serves nobody. Off a loop most answers are there at once.</summary>
    public static T Now<T>(this ValueTask<T> answer) => answer.IsCompleted ? answer.GetAwaiter().GetResult()
        : answer.AsTask().GetAwaiter().GetResult();

    /// <inheritdoc cref="Now{T}"/>
    public static void Now(this ValueTask answer)
    {
        if (answer.IsCompleted)
            answer.GetAwaiter().GetResult();
        else
            answer.AsTask().GetAwaiter().GetResult();
    }

    /// <summary>
    /// What follows this may wait: it goes on where it is, or on a thread of the pool if this one runs a loop, on which others are served.
    /// </summary>
    public static OffLoop LeaveLoop() => default;

    public readonly struct OffLoop : ICriticalNotifyCompletion
    {
        public OffLoop GetAwaiter() => this;

        // mutation: control-on-the-loop
        public bool IsCompleted => !LoopThread.IsCurrent;

        public void GetResult()
        {
        }

        public void OnCompleted(Action continuation) => ThreadPool.QueueUserWorkItem(static go => go(), continuation, preferLocal: false);

        public void UnsafeOnCompleted(Action continuation) =>
            ThreadPool.UnsafeQueueUserWorkItem(static go => go(), continuation, preferLocal: false);
    }
}
