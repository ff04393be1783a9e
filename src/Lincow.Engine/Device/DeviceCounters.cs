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
