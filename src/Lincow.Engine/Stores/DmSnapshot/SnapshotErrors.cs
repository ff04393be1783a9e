using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Stores.DmSnapshot;

/// <summary>Errors of dm-snapshot's stores.</summary>
internal static class SnapshotErrors
{
    public static LincowError RescueNeedsReadOnly(string? overlay) => new(Code.RescueNeedsReadOnly, overlay,
        $"{overlay}: a rescue shows what is left of a store, so it is read-only");

    public static LincowError NotAStore(string file) => new(Code.NotASnapshotStore, file,
        $"{file}: is not a dm-snapshot store: it doesn't begin with the magic number of one");

    public static LincowError HeaderDamaged(string file, string? problem) => new(Code.HeaderDamaged, file,
        $"{file}: is not an exception store that lincow can use (header at byte 0): {problem}", new LincowFact("problem", problem));

    public static LincowError ShorterThanHeader(string file) => new(Code.HeaderDamaged, file,
        $"{file}: is not an exception store: it is shorter than a header", new LincowFact("problem", "it is shorter than a header"));

    public static LincowError GivenUp(string file) => new(Code.StoreGivenUp, file,
        $"{file}: is an exception store that was given up (valid is 0 in its header): it was full, or its disk failed, and later writes to "
        + "its origin may be missing from it");

    public static LincowError CutShort(string file, long fileBytes, long chunkBytes) => new(Code.StoreCutShort, file,
        $"{file}: its {fileBytes} bytes don't hold a header and an area of {chunkBytes} bytes each. If it was cut short, make it longer; "
        + "else make it anew", new("fileBytes", fileBytes), new("chunkBytes", chunkBytes));

    public static LincowError HoldsNoChunk(string file, long storeBytes, long chunkBytes) => new(Code.StoreTooSmall, file,
        $"{file}: {storeBytes} bytes hold a header and an area of {chunkBytes} bytes each, and no chunk",
        new("storeBytes", storeBytes), new("chunkBytes", chunkBytes));

    public static LincowError ExceptionsDamaged(string file, long fileOffset, string problem) => new(Code.ExceptionsDamaged, file,
        $"{file}: the list of exceptions is damaged at byte {fileOffset}: {problem}",
        new("fileOffset", fileOffset), new("problem", problem));

    public static LincowError ExceptionsDamagedAtCommit(string file, long fileOffset, string problem) =>
        new(Code.ExceptionsDamagedAtCommit, file,
            $"{file}: the list of exceptions is damaged at byte {fileOffset}: {problem}. Nothing was committed",
            new("fileOffset", fileOffset), new("problem", problem));

    public static LincowError AreaUnreadable(string file, int errno) => new(Code.AreaUnreadable, file,
        $"{file}: its last area can't be read: {Errno.Describe(errno)}", new LincowFact("errno", errno));

    public static LincowError PlaceUnreadable(string file, long byteOffset) => new(Code.PlaceUnreadable, file,
        $"{file}: where device byte {byteOffset} lies can't be read", new LincowFact("deviceOffset", byteOffset));

    public static LincowError OriginSizeDiffers(string origin, long originBytes, long deviceBytes) => new(Code.FormatCannotHold, origin,
        $"{origin}: has {originBytes} bytes and the device {deviceBytes}, and a dm-snapshot is as large as its origin. Convert to qcow2, "
        + "which can be larger", new("originBytes", originBytes), new("deviceBytes", deviceBytes));

    public static LincowError DeviceTooSmall(string file, long fileBytes) => new(Code.DeviceTooSmall, file,
        $"{file}: the block device has {fileBytes} bytes, and the changes need more. Use a larger one",
            new LincowFact("fileBytes", fileBytes));

    public static LincowError Full(string file) => new(Code.StoreFull, file,
        $"{file}: the exception store is full: writes to chunks that it doesn't hold fail until it is larger, and what it holds is safe. "
        + "Enlarge the file or device, and it goes on");
}
