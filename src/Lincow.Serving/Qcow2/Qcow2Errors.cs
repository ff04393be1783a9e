using Code = Lincow.LincowErrorCode;

namespace Lincow.Serving.Qcow2;

/// <summary>Errors of qcow2 files and of qemu's programs, which read and write them.</summary>
internal static class Qcow2Errors
{
    public static LincowError ClusterInvalid(long chunkBytes) => Chunk(chunkBytes,
        "clusters of qcow2 are a power of two from 512 bytes to 2 MiB");

    public static LincowError ClusterTooSmall(long chunkBytes, long deviceBytes, bool isLargest) => Chunk(chunkBytes,
        $"a qcow2 file with such clusters can't hold a device of {deviceBytes} bytes. "
            + $"{(isLargest ? "Convert to linear" : "Use larger ones")}");

    public static LincowError HeaderUnreadable(string file, string? problem) => new(Code.FormatUnrecognised, file,
        $"{file}: can't be read as qcow2: {problem}", new LincowFact("problem", problem));

    public static LincowError SizeDiffers(string file, long servedBytes, long headerBytes) => new(Code.ProgramFailed, file,
        $"{file}: qemu-nbd serves {servedBytes} bytes of it, and its header says {headerBytes}. Run 'qemu-img check' on it",
        new("servedBytes", servedBytes), new("headerBytes", headerBytes));

    public static LincowError ImageTooOld(string file) => new(Code.ProgramTooOld, file,
        $"{file}: this qemu-img doesn't say which ranges are present. Use version 6.1 or newer");

    public static LincowError BackingIsImage(string file, string? backing, string format) => new(Code.OriginIsImage, file,
        $"{file}: its backing file {backing} is an image of the format {format}, and an origin is raw. Write that one as raw first "
        + "(qemu-img convert -O raw), and give the result", new("backing", backing), new("format", format));

    public static LincowError OriginIsImage(string origin) => new(Code.OriginIsImage, origin,
        $"{origin}: is itself qcow2, and an origin is raw. Write it as raw first (qemu-img convert -O raw), and give the result",
        new LincowFact("format", "qcow2"));

    public static LincowError OriginMissing(string origin) => new(Code.OriginMissing, origin, $"{origin}: the origin does not exist");

    public static LincowError NotRegular(string file) => new(Code.DestinationNotRegular, file,
        $"{file}: qcow2 is written to regular files only. Give a path on a file system");

    public static LincowError ProgramMissing(string program) => new(Code.ProgramMissing, null,
        $"{program} is missing, and qcow2 files are read and written by qemu's own programs. Install it with: sudo apt-get install "
        + "qemu-utils", new LincowFact("program", program));

    public static LincowError ImageFailed(string file, string verb, string reason) => new(Code.ProgramFailed, file,
        $"{file}: qemu-img {verb} failed: {reason}", new("verb", verb), new("reason", reason));

    public static LincowError ServerCannotOpen(string file, string reason) => new(Code.ProgramFailed, file,
        $"{file}: qemu-nbd can't open it: {reason}", new LincowFact("reason", reason));

    public static LincowError ServerSilent(string file) => new(Code.ProgramFailed, file,
        $"{file}: qemu-nbd didn't listen within a minute. Is the machine very busy?");

    private static LincowError Chunk(long chunkBytes, string why) => new(Code.Qcow2ChunkInvalid, null,
        $"clusters of {chunkBytes} bytes: {why}", new("chunkBytes", chunkBytes), new("why", why));
}
