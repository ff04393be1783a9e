using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Conversion;

/// <summary>Errors of conversions, and of the formats that aren't stores.</summary>
internal static class ConversionErrors
{
    public static LincowError DestinationIsSource(string path) => new(Code.DestinationIsSource, path,
        $"{path}: is the source itself. Give the destination a path of its own");

    public static LincowError DestinationAppeared(string path) => new(Code.DestinationAppeared, path,
        $"{path}: has come into being meanwhile");

    public static LincowError DestinationDeviceInUse(string path) => new(Code.BlockDeviceInUse, path,
        $"{path}: the block device is in use (mounted, or part of a device-mapper device). Stop its user first");

    public static LincowError DestinationInUse(string path, string holder) => new(Code.DestinationInUse, path,
        $"{path}: {holder} is converting into it right now. Wait for it, or give another path", new LincowFact("holder", holder));

    public static LincowError FileInUse(string path, string holder) => new(Code.FileInUse, path,
        $"{path}: is in use by {holder}; stop that process first", new LincowFact("holder", holder));

    public static LincowError Unmakeable(string path, LinuxException e) => new(Code.FileUnmakeable, path,
        $"{path}: can't be made: {e.Reason}", new("reason", e.Reason), LincowFact.Errno(e));

    public static LincowError SystemRefused(LinuxException e) => e.Errno is Errno.NoSpace or Errno.Quota
        ? new(Code.ConvertNoSpace, e.Subject, $"{e.Message}. Make room, or convert to another place", LincowFact.Errno(e))
        : LincowError.Of(e);

    public static LincowError SourceNotAFile(string path) => new(Code.NotAFile, path,
        $"{path}: is not a file or block device, so there is nothing to convert");

    public static LincowError FormatUnrecognised(string path, string known) => new(Code.FormatUnrecognised, path,
        $"{path}: is in none of the formats that can be converted ({known}): its first bytes are of none of them. Is it an image rather "
        + "than an overlay?", new LincowFact("known", known));

    public static LincowError FormatUnsaid(string destination) => new(Code.FormatUnsaid, destination,
        $"{destination}: which format is it to have?");

    public static LincowError FormatUnknown(string name, string known) => new(Code.FormatUnknown, null,
        $"'{name}' is no format. Use one of {known}", new("name", name), new("known", known));

    public static LincowError ReadBackSizeDiffers(string destination, long readBytes, long writtenBytes) =>
        new(Code.ReadBackSizeDiffers, destination,
            $"{destination}: reads back as a device of {readBytes} bytes, and {writtenBytes} were written. This is an error of lincow, "
            + "please report it; nothing was left there", new("readBytes", readBytes), new("writtenBytes", writtenBytes));

    public static LincowError ReadBackDiffers(string destination, long deviceOffset) => new(Code.ReadBackDiffers, destination,
        $"{destination}: doesn't read back as it was written, from device byte {deviceOffset} on. The disk, or the source while it was "
        + "read, has changed; nothing was left there. Check both, and convert again", new LincowFact("deviceOffset", deviceOffset));

    public static LincowError OriginUnnamed(string source) => new(Code.OriginUnknown, source, $"{source}: names no origin",
        new LincowFact("why", "names no origin"));

    public static LincowError OriginNotBeside(string source, string origin) => new(Code.OriginNotBeside, source,
        $"{source}: names {origin} as its origin, which is not a file beside it, and a file from elsewhere could name any",
        new LincowFact("origin", origin));

    public static LincowError OriginNamedMissing(string source, string origin) => new(Code.OriginNamedMissing, source,
        $"{source}: names {origin} as its origin, and there is no such file", new LincowFact("origin", origin));

    /// <param name="source">The file that names it.</param>
    /// <param name="origin">The name, as far as it can be read.</param>
    public static LincowError OriginNameNotUtf8(string source, string origin) => new(Code.OriginNamedMissing, source,
        $"{source}: names {origin} as its origin, which isn't UTF-8 and so can't be followed", new LincowFact("origin", origin));

    public static LincowError UmlHeaderDamaged(string file, string? problem) => new(Code.HeaderDamaged, file,
        $"{file}: is not a COW file of User-mode Linux that can be read: {problem}", new LincowFact("problem", problem));

    public static LincowError UmlBitmapTruncated(string file, long fileBytes, long bitmapEndOffset) => new(Code.Truncated, file,
        $"{file}: is truncated: it has {fileBytes} bytes, and its bitmap ends at byte {bitmapEndOffset}. Restore it from a copy",
        new("fileBytes", fileBytes), new("neededBytes", bitmapEndOffset));

    public static LincowError UmlDataTruncated(string file, long deviceOffset, long fileOffset, long fileBytes) => new(Code.Truncated, file,
        $"{file}: is truncated: the content of device byte {deviceOffset} should be at byte {fileOffset}, and the file has {fileBytes}. "
        + "Restore it from a copy", new("deviceOffset", deviceOffset), new("fileOffset", fileOffset), new("fileBytes", fileBytes));

    public static LincowError UmlChunkInvalid(long chunkBytes, long sectorBytes)
    {
        var why = $"COW files of User-mode Linux know sectors of {sectorBytes} bytes and nothing else";
        return new(Code.UmlChunkInvalid, null, $"chunks of {chunkBytes} bytes: {why}", new("chunkBytes", chunkBytes), new("why", why));
    }

    public static LincowError UmlOriginTooLarge(string origin, string file, long originBytes, long deviceBytes) =>
        new(Code.ConvertedOriginWrong, origin,
            $"{origin}: is not the origin of {file}: it has {originBytes} bytes, and the COW file was made for {deviceBytes}",
            new("source", file), new("originBytes", originBytes), new("deviceBytes", deviceBytes));

    public static LincowError UmlOriginDiffers(string origin, string file, string difference) => new(Code.ConvertedOriginDiffers, origin,
        $"{origin}: is not as {file} remembers its origin: {difference}", new("source", file), new("difference", difference));

    public static LincowError UmlNotRegular(string file) => new(Code.DestinationNotRegular, file,
        $"{file}: COW files of User-mode Linux are written to regular files only. Give a path on a file system");

    public static LincowError UmlNeedsBacking(string origin, long deviceBytes) => new(Code.FormatCannotHold, origin,
        $"{origin}: a COW file of User-mode Linux needs a backing file, and this origin is none. Make one of the same content first, for "
        + $"example with: truncate -s {deviceBytes} FILE", new LincowFact("deviceBytes", deviceBytes));

    public static LincowError UmlSizeDiffers(string origin, long originBytes, long deviceBytes) => new(Code.FormatCannotHold, origin,
        $"{origin}: has {originBytes} bytes and the device {deviceBytes}, and a COW file of User-mode Linux is exactly as large as its "
        + "backing file. Convert to qcow2, which can be larger", new("originBytes", originBytes), new("deviceBytes", deviceBytes));

    public static LincowError UmlDeviceTooLarge(string origin) => new(Code.FormatCannotHold, origin,
        $"{origin}: User-mode Linux has no COW files for devices of more than 8 TiB. Convert to qcow2 or linear");

    public static LincowError UmlPathTooLong(string path, long maxBytes) => new(Code.PathTooLong, path,
        $"{ArgumentErrors.Begin(path)}...: the path is too long for a COW file, which has room for {maxBytes} bytes. Use a shorter one, "
        + "for example through a symbolic link", new LincowFact("maxBytes", maxBytes));
}
