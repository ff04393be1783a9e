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
}
