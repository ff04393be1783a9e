using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Layers;

/// <summary>
/// Which chunks of the device the overlay holds, where it holds them, and how that is made to last: what the linear store and the kernel's
/// have in common, and all that the device knows of them. States are in memory, in <see cref="Map"/>, once <see cref="TryLoad"/> has said
/// so.
/// </summary>
internal abstract class ExceptionStore(ChunkMap map, IBlob? metadataBlob, bool knowsZeroes) : IDisposable
{
    /// <summary>The state of each chunk.</summary>
    public ChunkMap Map { get; } = map;

    /// <summary>Where headers and tables lie; null for a transient overlay.</summary>
    public IBlob? MetadataBlob { get; } = metadataBlob;

    /// <summary>
    /// Whether a chunk can be zero without holding zeroes. If not, zeroes are written like any data, and there is no discard.
    /// </summary>
    public bool KnowsZeroes { get; } = knowsZeroes;

    /// <summary>
    /// Set by a failed sync, or a failed write of what says which state counts: what is on disk is no longer known, so everything later is
    /// EIO until the overlay is opened again. A sync that failed once may "succeed" when repeated although its data is gone; so it is never
    /// repeated.
    /// </summary>
    public string? FailedBecause { get; private set; }

    /// <summary>The last <see cref="TryTakeImage"/> found no memory for one.</summary>
    public bool LacksMemory { get; protected set; }

    /// <summary>Nothing is being loaded.</summary>
    public abstract bool IsIdle { get; }

    /// <summary>Told once of each thing that a person should know: damage found, device failed.</summary>
    public Action<LincowError>? Report { get; set; }

    /// <summary>The device's, to be told what look-ups cost. Null on the control plane.</summary>
    public virtual TurnWork? Turns { get; set; }

    /// <summary>
    /// A turn has begun: resumes those that wait for one of the few loads at once, if there is one free and earlier turns had no units for
    /// them.
    /// </summary>
    public abstract void ResumeWaiting();

    /// <summary>Called when what a request waited for may be there.</summary>
    public Action<BlockRequest>? Resume { get; set; }

    public void Fail(string reason)
    {
        if (FailedBecause is not null)
            return;
        FailedBecause = reason;
        Report?.Invoke(DeviceErrors.Failed(MetadataBlob?.Name ?? "transient overlay", reason));
    }

    /// <summary>
    /// True when the states of a run of chunks are in memory. Otherwise starts reading what is missing and false: the request is resumed
    /// when something has come.
    /// </summary>
    public abstract bool TryLoad(ChunkIndex first, ChunkIndex end, BlockRequest request);

    /// <summary>Whether the content of a chunk in the run is lost or unknown.</summary>
    public abstract bool IsDamaged(ChunkIndex first, ChunkIndex end);

    /// <summary>
    /// Makes sure of room for what a request is going to change in its locked range: chunks that the overlay doesn't hold, and memory for
    /// what is then known of them. Whatever could be missing is missing now, before anything has been written. 0 or a negative errno.
    /// </summary>
    public abstract int Reserve(BlockRequest request);

    /// <summary>
    /// Where bytes lie that the overlay holds, or that a request with a reservation is writing; a request asks from lower to higher
    /// offsets. A length of 0: the request waits and will be resumed, unless its <see cref="BlockRequest.Error"/> has been set.
    /// </summary>
    public abstract Place Locate(BlockRequest request, long byteOffset, long byteEnd);

    /// <summary>As <see cref="Locate"/>, for the control plane: waits in place. The bytes are in the overlay.</summary>
    public abstract Place LocateNow(long byteOffset, long byteEnd);

    /// <summary>All bytes of a run of chunks are in the overlay now.</summary>
    public abstract void Record(BlockRequest request, ChunkIndex first, ChunkIndex end);

    /// <summary>The request has ended without recording what it had reserved.</summary>
    public abstract void GiveUp(BlockRequest request);

    /// <summary>Something was recorded that isn't on stable storage.</summary>
    public abstract bool HasUncommitted { get; }

    /// <summary>A flush round begins: what was recorded up to now is what it commits.</summary>
    public abstract void BeginRound();

    /// <summary>
    /// All images of the round are committed. True when it goes on, with images that had to wait for that: what had been recorded when it
    /// began, behind what an earlier round failed to write.
    /// </summary>
    public virtual bool TryContinueRound() => false;

    /// <summary>
    /// Gives the round's next piece of metadata to write; false when there is none left, or no memory for one (<see cref="LacksMemory"/>).
    /// </summary>
    public abstract bool TryTakeImage(MetadataImage image);

    /// <summary>The image is on stable storage, behind everything that it names.</summary>
    public abstract void Committed(MetadataImage image);

    /// <summary>
    /// There was no space for images, or writing them failed, and no sync has: any part of the batch may be on disk, and the next round
    /// tries again.
    /// </summary>
    public abstract void KeepForLater(List<MetadataImage> batch);

    /// <summary>
    /// The clean close, when no request is in flight and the last flush round has ended.
    /// </summary>
    /// <param name="reclaimed">What an earlier generation left behind has all been given back.</param>
    public abstract void CloseCleanly(bool reclaimed);

    /// <summary>
    /// It is no snapshot of its origin any more, for good: the origin is about to change, and what it was couldn't be kept. Calls back when
    /// that is on stable storage.
    /// </summary>
    public virtual void GiveUpForGood(string reason, Action written)
    {
        Fail(reason);
        written();
    }

    public abstract void Dispose();
}

/// <summary>A place in the overlay's data.</summary>
/// <param name="DataOffset">The byte in the data blob.</param>
/// <param name="ByteLength">How many bytes lie together there.</param>
internal readonly record struct Place(long DataOffset, long ByteLength);

/// <summary>A piece of metadata on its way to the disk; the flush rounds own and reuse it.</summary>
internal abstract class MetadataImage : BlobOperation
{
    /// <summary>What to write; rented by the store, given back by the round.</summary>
    public NativeBuffer Image { get; set; }

    /// <summary>Where, in the metadata blob.</summary>
    public long TargetOffset { get; set; }

    public int ImageBytes { get; set; }

    /// <summary>
    /// Nothing points at it yet, so it may be written before the data is on stable storage; the sync of the data covers it.
    /// </summary>
    public bool IsEarly { get; set; }

    /// <summary>The store's own: which page or area it is, and which of its slots.</summary>
    public long Page { get; set; }

    public int Slot { get; set; }
}
