using Lincow.Blobs;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>What front ends serve: a device that takes requests of any alignment, on one loop.</summary>
internal abstract class BlockDevice
{
    private readonly EndedRequests _ended;

    /// <param name="blob">A blob on the device's loop.</param>
    private protected BlockDevice(IBlob blob) => _ended = new EndedRequests(blob, Tell);

    /// <summary>Size and chunks.</summary>
    public abstract Geometry Geometry { get; }

    public long SizeBytes => Geometry.DeviceBytes;

    /// <summary>
    /// The logical sectors that front ends show, in bytes; requests may be smaller. Set before the first request.
    /// </summary>
    public int SectorBytes { get; set; } = 512;

    /// <summary>Writes, zeroings and discards are EPERM.</summary>
    public abstract bool IsReadOnly { get; }

    /// <summary>Whether there is <see cref="BlockOperation.Discard"/>; if not, it is EOPNOTSUPP.</summary>
    public abstract bool CanDiscard { get; }

    /// <summary>The longest zeroing or discard, in bytes.</summary>
    public abstract long MaxZeroBytes { get; }

    /// <summary>The longest range of extents or read-ahead, in bytes.</summary>
    public abstract long MaxExtentsBytes { get; }

    /// <summary>False for a transient overlay: another process that opens it finds nothing of what was written.</summary>
    public abstract bool IsPersistent { get; }

    /// <summary>
    /// Whether what only this process's memory knows is needed to find what was written: it would be lost with the process, even if the
    /// machine goes on.
    /// </summary>
    public abstract bool HasUncommitted { get; }

    /// <summary>
    /// Whoever uses the device goes on when its server was killed and another one took its place, so what was answered must not die with a
    /// process: a change is answered once the metadata is on stable storage. Set before the first request.
    /// </summary>
    public bool OutlivesServer { get; set; }

    /// <summary>Requests submitted since the device was opened.</summary>
    public abstract long RequestCount { get; }

    /// <summary>Nothing is in flight, for clients or inside.</summary>
    public abstract bool IsIdle { get; }

    /// <summary>Whether zeroing a range costs less than writing it.</summary>
    public abstract bool IsFastToZero(long byteOffset, long byteLength);

    /// <summary>
    /// Starts a request; it ends after this call has returned. The caller has checked that the range lies within the device (an assertion
    /// here). Errors come as a negative errno in <see cref="BlockRequest.OnCompleted"/>: EIO for a failed device or lost content, ENOSPC,
    /// or what the blob said.
    /// </summary>
    public void Submit(BlockRequest request)
    {
        if (request.Operation != BlockOperation.Flush
            && (request.ByteOffset < 0 || request.ByteLength < 0 || request.ByteLength > SizeBytes - request.ByteOffset))
            throw new ArgumentOutOfRangeException(nameof(request), "the range must lie within the device");
        request.AssertBegins();
        _ended.BeginSubmit();
        Start(request);
        _ended.EndSubmit();
    }

    private protected abstract void Start(BlockRequest request);

    /// <summary>A request has ended: its owner is told, now or soon.</summary>
    private protected void Complete(BlockRequest request, int result) => _ended.Add(request, result);

    /// <summary>Calls <see cref="BlockRequest.OnCompleted"/>: from here on the request is its owner's again.</summary>
    private protected abstract void Tell(BlockRequest request, int result);
}
