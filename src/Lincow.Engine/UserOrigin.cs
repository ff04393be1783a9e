namespace Lincow;

/// <summary>
/// An origin that a program decides on, chunk by chunk, in C#: content that is decrypted, unpacked, fetched or made up. It is served like
/// any other, through <see cref="OverlayOptions.UserOrigin"/>: what was written lies in the overlay, and everything else is asked
/// for here. Its content must not change while overlays of it exist; they recognise it by size and by a hash of samples.
/// A program overrides <see cref="ReadAsync"/>, or <see cref="Read"/> when it has nothing to await.
/// </summary>
/// <remarks>
/// An <see cref="IOException"/> becomes EIO for whoever reads that range. So does any other exception, and it is reported with its stack:
/// the device goes on. An error that passes is for the origin to try again; what it throws is final.
/// </remarks>
public abstract class UserOrigin : IDisposable
{
    /// <summary>A name for messages; overlays remember it as user:NAME.</summary>
    public abstract string Name { get; }

    /// <summary>Its size in bytes, a multiple of 512.</summary>
    public abstract long SizeBytes { get; }

    /// <summary>
    /// True when a read takes microseconds and never waits: <see cref="Read"/> is called on the event loop then. Else
    /// <see cref="ReadAsync"/> is, on the thread pool.
    /// </summary>
    public virtual bool IsQuick => false;

    /// <summary>
    /// Fills the target with the content from a byte offset on; the range lies within the origin. Reads come from several threads at once,
    /// unless the origin is quick.
    /// </summary>
    /// <param name="byteOffset">Where the range begins.</param>
    /// <param name="target">What is to be filled, all of it.</param>
    /// <exception cref="IOException">The range can't be read.</exception>
    public virtual void Read(long byteOffset, Span<byte> target) =>
        throw new NotImplementedException($"{GetType()} overrides neither Read nor ReadAsync, or is quick and doesn't override Read");

    /// <summary>
    /// As <see cref="Read"/>, for an origin that waits for something: many reads are in flight at once, and none of them needs a thread
    /// while it waits. Without an override, it is <see cref="Read"/>.
    /// </summary>
    /// <param name="byteOffset">Where the range begins.</param>
    /// <param name="target">What is to be filled, all of it; not to be touched after the end of the read.</param>
    /// <param name="cancellation">
    /// Nobody waits for the read any longer: the device is being closed. A read that doesn't end within a second then is left alone.
    /// </param>
    /// <exception cref="IOException">The range can't be read.</exception>
    public virtual ValueTask ReadAsync(long byteOffset, Memory<byte> target, CancellationToken cancellation)
    {
        Read(byteOffset, target.Span);
        return ValueTask.CompletedTask;
    }

    /// <summary>
    /// The next range that may hold something other than zeroes, at or after an offset and before an end; false when only zeroes follow.
    /// Called on the thread pool. An exception, or an answer that can't be true, costs reads: everything is taken for data.
    /// </summary>
    /// <param name="byteOffset">Where to look from.</param>
    /// <param name="byteEnd">Where to look no further.</param>
    /// <param name="dataStart">Where the range begins.</param>
    /// <param name="dataEnd">Where it ends.</param>
    public virtual bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
    {
        (dataStart, dataEnd) = (byteOffset, byteEnd);
        return byteOffset < byteEnd;
    }

    /// <summary>Nobody reads it any more.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives back what the origin holds.</summary>
    /// <param name="disposing">Always true; for finalizers of classes that derive.</param>
    protected virtual void Dispose(bool disposing)
    {
    }
}
