namespace Lincow.Blobs;

/// <summary>
/// An origin that a program decides on, chunk by chunk, in C#: content that is decrypted, unpacked, fetched or made up. It is served like any
/// other, through <see cref="Overlays.SessionOptions.UserOrigin"/>: what was written lies in the overlay, and everything else is asked for here.
/// Its content must not change while overlays of it exist; they recognise it by size and by a hash of samples.
/// </summary>
public abstract class UserOrigin : IDisposable
{
    /// <summary>A name for messages; overlays remember it as user:NAME.</summary>
    public abstract string Name { get; }

    /// <summary>Its size in bytes, a multiple of 512.</summary>
    public abstract long SizeBytes { get; }

    /// <summary>True when a read takes microseconds and never waits: it is made on the event loop then, and else on the thread pool.</summary>
    public virtual bool IsQuick => false;

    /// <summary>
    /// Fills the target with the content from a byte offset on; the range lies within the origin. Reads come from several threads at once, unless
    /// the origin is quick. An <see cref="IOException"/> becomes EIO for whoever reads that range; any other exception ends the process.
    /// </summary>
    public abstract void Read(long byteOffset, Span<byte> target);

    /// <summary>
    /// The next range that may hold something other than zeroes, at or after an offset and before an end; false when only zeroes follow. Quick.
    /// </summary>
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
    protected virtual void Dispose(bool disposing)
    {
    }
}
