using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Counts a device's requests that ended with an error, and tells people of them: of a few in half a minute, and then how many were left
/// out. What fails for another reason than a blob's (a failed device, lost content, a full store) is told
/// where that is found, once.
/// </summary>
/// <param name="counters">Where they are counted.</param>
/// <param name="name">The device, for messages.</param>
/// <param name="report">Tells people.</param>
internal sealed class RequestErrors(DeviceCounters counters, string name, Action<LincowError> report)
{
    /// <summary>So many are told in a window of this length, in milliseconds.</summary>
    public const int MaxTold = 10, WindowMilliseconds = 30_000;

    private long _leftOut, _told, _windowStart = long.MinValue / 2;

    /// <summary>A request has ended with an error.</summary>
    /// <param name="counts">It isn't a part of another one that will end so, too.</param>
    public void Note(BlockRequest request, int result, bool counts)
    {
        if (counts)
            counters.NoteError(request, result);
        // Space that isn't given back is no concern of anybody who waits.
        if (request.FailedBlob is null or { TellsErrors: true } || request.Operation == BlockOperation.Reclaim)
            return;
        if (!MayTell(Environment.TickCount64))
        {
            _leftOut++;
            return;
        }
        report(DeviceErrors.RequestFailed(name, NameOf(request.Operation), request.ByteOffset, request.ByteLength, request.FailedBlob.Name,
            request.FailedOffset, request.FailedLength, request.FailedToRead, isRest: request.FailedToRead && request.IsWrite, -result,
            _leftOut));
        _leftOut = 0;
    }

    private static string NameOf(BlockOperation operation) => operation switch
    {
        BlockOperation.Read => "read",
        BlockOperation.Write => "write",
        BlockOperation.CopyUp => "copy",
        BlockOperation.Discard => "discard",
        BlockOperation.WriteZeroes => "write of zeroes",
        _ => "request",
    };

    // Of a window's errors the first few are told; a window begins with the first error after the end of the one before.
    private bool MayTell(long now)
    {
        if (now - _windowStart >= WindowMilliseconds)
            (_windowStart, _told) = (now, 0);
        // mutation: errors-fill-the-log
        return _told++ < MaxTold;
    }
}
