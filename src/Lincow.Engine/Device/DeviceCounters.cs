using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// What a device has been asked for since it was opened. Its loop counts; anybody may look, and then sees each number as it was a moment
/// ago.
/// </summary>
internal sealed class DeviceCounters
{
    public long Reads { get; private set; }
    public long Writes { get; private set; }

    /// <summary>Zeroing and discards.</summary>
    public long Discards { get; private set; }

    public long Flushes { get; private set; }
    public long BytesRead { get; private set; }
    public long BytesWritten { get; private set; }
    public long BytesDiscarded { get; private set; }

    /// <summary>Reads that ended with an error.</summary>
    public long ReadErrors { get; private set; }

    /// <summary>Writes, zeroings and discards that ended with an error, those for want of room among them.</summary>
    public long WriteErrors { get; private set; }

    public long FlushErrors { get; private set; }

    /// <summary>Requests that ended with an error because there was no room.</summary>
    public long RoomErrors { get; private set; }

    /// <summary>Since when there has been no room, in ticks of UTC; 0 while there is, as far as is known.</summary>
    public long FullSince { get; private set; }

    /// <summary>There is no room for something.</summary>
    internal void NoteFull()
    {
        if (FullSince == 0)
            FullSince = DateTime.UtcNow.Ticks;
    }

    /// <summary>Something that took room has ended well.</summary>
    // mutation: full-for-ever
    internal void NoteRoom() => FullSince = 0;

    internal void NoteError(BlockRequest request, int result)
    {
        // What can't be asked of this device is no failure of it.
        if (result is -Errno.Perm or -Errno.NotSupported)
            return;
        switch (request.Operation)
        {
            case BlockOperation.Read:
                ReadErrors++;
                break;
            case BlockOperation.Write or BlockOperation.WriteZeroes or BlockOperation.Discard:
                WriteErrors++;
                break;
            case BlockOperation.Flush:
                FlushErrors++;
                break;
        }
        if (!Errno.IsLackOfSpace(result))
            return;
        RoomErrors++;
        NoteFull();
    }

    internal void Note(BlockRequest request)
    {
        switch (request.Operation)
        {
            case BlockOperation.Read:
                Reads++;
                BytesRead += request.ByteLength;
                break;
            case BlockOperation.Write:
                Writes++;
                BytesWritten += request.ByteLength;
                break;
            case BlockOperation.WriteZeroes or BlockOperation.Discard:
                Discards++;
                BytesDiscarded += request.ByteLength;
                break;
            case BlockOperation.Flush:
                Flushes++;
                break;
        }
    }
}
