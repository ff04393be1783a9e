using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Operations;

/// <summary>Errors of what is done with overlays: creating, committing, resetting, closing.</summary>
internal static class OperationErrors
{
    public static LincowError FileInUse(string path, string holder) => new(Code.FileInUse, path,
        $"{path}: is in use by {holder}; stop that process first", new LincowFact("holder", holder));

    public static LincowError Unmakeable(string path, LinuxException e) => new(Code.FileUnmakeable, path,
        $"{path}: can't be made: {e.Reason}", new("reason", e.Reason), LincowFact.Errno(e));

    public static LincowError DirectoryUnreadable(string path, Exception e) => new(Code.SystemRefused, path,
        $"{path}: the directory can't be read: {SystemReason.Of(e)}", new LincowFact("reason", SystemReason.Of(e)));

    public static LincowError StoreTakesNoMap(string map, string store) => new(Code.StoreTakesNoMap, map,
        $"{map}: a {store} store has no map of its own", new LincowFact("store", store));

    public static LincowError MaxSizeTooSmall(long maxSizeBytes, long sizeBytes) => new(Code.MaxSizeTooSmall, null,
        $"the size to grow to, {maxSizeBytes}, is smaller than the device's size, {sizeBytes} bytes",
        new("maxSizeBytes", maxSizeBytes), new("sizeBytes", sizeBytes));

    public static LincowError OriginLargerThanSize(string origin, long originBytes, long sizeBytes) => new(Code.OriginLargerThanSize,
        origin,
        $"{origin}: the origin has {originBytes} bytes and the device would have {sizeBytes}",
        new("originBytes", originBytes), new("sizeBytes", sizeBytes), new("roundedBytes", (originBytes + 511) / 512 * 512));

    public static LincowError OriginLargerThanTransient(string origin, long originBytes, long sizeBytes) =>
        new(Code.OriginLargerThanTransient, origin, $"{origin}: the origin has {originBytes} bytes and the device would have {sizeBytes}",
            new("originBytes", originBytes), new("sizeBytes", sizeBytes));

    public static LincowError MapIsData(string map) => new(Code.MapIsData, map, $"{map}: the map and the overlay are the same file");

    public static LincowError OverlayIsOrigin(string file) => new(Code.OverlayIsOrigin, file,
        $"{file}: is the origin itself. An overlay needs a file or device of its own");

    public static LincowError OverlayExists(string file) => new(Code.OverlayExists, file, $"{file}: is an overlay already");

    public static LincowError FileExists(string file) => new(Code.FileExists, file, $"{file}: exists already");

    public static LincowError DeviceNotBlank(string file) => new(Code.DeviceNotBlank, file,
        $"{file}: the block device holds something (its first bytes are not zero)");

    /// <summary>The system refused while an overlay was being made.</summary>
    public static LincowError CreateFailed(LinuxException e) => new(e.Errno switch
    {
        Errno.NoSpace or Errno.Quota => Code.CreateNoSpace,
        Errno.FileTooBig => Code.CreateTooLong,
        _ => Code.SystemRefused,
    }, e.Subject, e.Message, LincowFact.Errno(e));

    public static LincowError LiveOriginNotSectors(string origin, long originBytes) => new(Code.LiveOriginNotSectors, origin,
        $"{origin}: has {originBytes} bytes, which is not a whole number of sectors", new LincowFact("originBytes", originBytes));

    public static LincowError LiveOriginUnflushed(LinuxException e) => new(Code.FlushFailed, e.Subject,
        $"{e.Message}. Writes since the last flush may be lost", LincowFact.Errno(e));

    public static LincowError LastFlushFailed(string file, int errno) => new(Code.FlushFailed, file,
        $"{file}: the last flush failed: {Errno.Describe(errno)}. Writes since the flush before it may be lost",
            new LincowFact("errno", errno));

    public static LincowError CloseFailed(LinuxException e) => new(Code.CloseFailed, e.Subject,
        $"{e.Message}. The overlay stays marked as in use, and is examined at the next open", LincowFact.Errno(e));

    /// <param name="overlay">The overlay.</param>
    /// <param name="why">Goes after its path.</param>
    public static LincowError ResetRefused(string overlay, string why) => new(Code.ResetRefused, overlay, $"{overlay}: {why}",
        new LincowFact("why", why));

    public static LincowError CommitFailed(LinuxException e) => new(Code.CommitFailed, e.Subject,
        $"{e.Message}. What was committed is in the origin, the rest is in the overlay; run the commit again", LincowFact.Errno(e));

    public static LincowError CommitInterrupted(string? overlay) => new(Code.CommitInterrupted, overlay,
        $"{overlay}: the commit was interrupted. The device reads as before: what was committed is in the origin, the rest in the overlay");

    public static LincowError CommitNotBegun(string overlay) => new(Code.CommitNotBegun, overlay,
        $"{overlay}: the commit was interrupted before it had written anything. Start it again");

    public static LincowError OriginIsNothing(string origin) => new(Code.OriginIsNothing, origin,
        $"{origin}: is an origin of nothing, so there is nothing to commit to");

    public static LincowError OriginTooSmall(string origin, long originBytes, long deviceBytes) => new(Code.OriginCannotGrow, origin,
        $"{origin}: has {originBytes} bytes and the device {deviceBytes}; a block device can't grow. Nothing was committed",
        new("originBytes", originBytes), new("deviceBytes", deviceBytes));

    public static LincowError OriginNotGrown(LinuxException e) => new(Code.OriginCannotGrow, e.Subject,
        $"{e.Message}. Nothing was committed", LincowFact.Errno(e));

    public static LincowError DataEnds(string file, long deviceOffset) => new(Code.DataEnds, file,
        $"{file}: ends within what it holds of device byte {deviceOffset}", new LincowFact("deviceOffset", deviceOffset));

    /// <param name="file">The overlay's data.</param>
    /// <param name="what">Which part of the device.</param>
    /// <param name="errno">Positive.</param>
    public static LincowError DeviceUnreadable(string file, string what, int errno) => new(Code.DeviceUnreadable, file,
        $"{file}: {what} can't be read: {Errno.Describe(errno)}", new("what", what), new("errno", errno));
}
