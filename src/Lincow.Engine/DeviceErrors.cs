using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow;

/// <summary>What a device that is in use reports of itself.</summary>
internal static class DeviceErrors
{
    public static LincowError Failed(string file, string why) => new(Code.DeviceFailed, file,
        $"{file}: {why}; the device is failed and answers every request with an error until it is opened again",
            new LincowFact("why", why));

    public static LincowError OriginFailed(string file, string why) => new(Code.OriginFailed, file,
        $"{file}: {why}; the origin answers every request with an error until it is opened again", new LincowFact("why", why));

    public static LincowError MetadataUnwritten(string file, int errno) => new(Code.MetadataUnwritten, file,
        $"{file}: writing metadata failed ({Errno.Describe(errno)}); flushes fail until it succeeds, and nothing that was flushed is lost",
        new LincowFact("errno", errno));

    public static LincowError UserReadFailed(string name, long byteOffset, string why) => new(Code.UserReadFailed, name,
        $"{name}: reading at {byteOffset} failed, and whoever reads there gets an error: {why}",
        new("deviceOffset", byteOffset), new("why", why));

    /// <summary>A request ended with an error of what the device lies on.</summary>
    /// <param name="device">The overlay.</param>
    /// <param name="request">What it was: "read".</param>
    /// <param name="deviceOffset">Where it begins.</param>
    /// <param name="requestBytes">Its length.</param>
    /// <param name="failedFile">What failed below it, and where.</param>
    /// <param name="failedOffset">Its first byte there.</param>
    /// <param name="failedBytes">How many.</param>
    /// <param name="failedToRead">That couldn't be read; else, written.</param>
    /// <param name="isRest">It isn't what was asked for, but the rest of its chunk.</param>
    /// <param name="errno">Positive.</param>
    /// <param name="leftOut">How many others were not told of before.</param>
    public static LincowError RequestFailed(string device, string request, long deviceOffset, long requestBytes, string failedFile,
        long failedOffset, long failedBytes, bool failedToRead, bool isRest, int errno, long leftOut)
    {
        var (what, reason) = ($"{request} of {requestBytes} bytes at device byte {deviceOffset}", Errno.Describe(errno));
        var below = $"bytes {failedOffset} to {failedOffset + failedBytes - 1} of {failedFile} can't be "
            + $"{(failedToRead ? "read" : "written")} ({reason})";
        var sentence = Errno.IsLackOfSpace(-errno)
            ? $"{device}: there is no room for a {what}: {failedFile}: {reason}. Reads, and writes to what the overlay holds, go on"
            : isRest ? $"{device}: a {what} failed, for it needs the rest of its chunk, and {below}. A write of the whole chunk needs "
                + "nothing of it"
            : $"{device}: a {what} failed: {below}";
        return new(Code.RequestFailed, device, leftOut > 0 ? $"{sentence}; {leftOut} errors before this one were not told" : sentence,
            new("request", request), new("deviceOffset", deviceOffset), new("requestBytes", requestBytes), new("failedFile", failedFile),
            new("failedOffset", failedOffset), new("failedBytes", failedBytes), new("errno", errno), new("leftOut", leftOut));
    }
}
