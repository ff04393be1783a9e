using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Stores;

/// <summary>Errors of stores of any kind: finding them, opening them, recognising their origins.</summary>
internal static class StoreErrors
{
    private const string CutOff =
        "its commit was cut off, so the origin is half old, half new, and whole only together with what the overlay still holds";

    public static LincowError CommitUnfinished(string overlay) => new(Code.CommitUnfinished, overlay, $"{overlay}: {CutOff}");

    /// <summary>Of what is opened all the same, to be served.</summary>
    public static LincowError CommitUnfinishedServed(string overlay) => new(Code.CommitUnfinishedServed, overlay, $"{overlay}: {CutOff}");

    /// <param name="file">The overlay, which was to be overwritten.</param>
    /// <param name="why">Why it can't be opened.</param>
    /// <param name="headBytes">What would have to be cleared of a block device; 0 for a file, which can be removed.</param>
    public static LincowError CommitUnfinishedShut(string file, Exception why, long headBytes)
    {
        var remedy = headBytes == 0 ? "remove this file" : $"clear the first {headBytes} bytes of this device";
        return new(Code.CommitUnfinishedShut, file,
            $"{file}: {CutOff}, but the overlay can't be opened ({why.Message}). If that can't be mended, {remedy} and try again",
            LincowFact.Reason(why), new("problem", CutOff), new("remedy", remedy));
    }

    public static LincowError OriginElsewhere(string origin, string overlay, string recorded) => new(Code.OriginElsewhere, origin,
        $"{origin}: the commit of {overlay} to {recorded} was cut off, and what it had written is nowhere but in there. Name that one",
        new("overlay", overlay), new("recorded", recorded));

    /// <param name="overlay">The overlay.</param>
    /// <param name="why">What is missing; goes after its path.</param>
    public static LincowError OriginUnknown(string overlay, string why) => new(Code.OriginUnknown, overlay, $"{overlay}: {why}",
        new LincowFact("why", why));

    /// <param name="overlay">The overlay.</param>
    /// <param name="why">Why there is no key; a part of a sentence.</param>
    public static LincowError KeyUnkept(string overlay, string why) => new(Code.KeyUnkept, overlay,
        $"{overlay}: won't be known as this user's, for {why}: the origin that it names has to be named again whenever it is used",
        new LincowFact("why", why));

    /// <param name="overlay">The overlay.</param>
    /// <param name="origin">What it names.</param>
    /// <param name="why">Why that is not followed; a part of a sentence.</param>
    public static LincowError OriginForeign(string overlay, string origin, string why) => new(Code.OriginForeign, overlay,
        $"{overlay}: names {origin} as its origin, but {why}, and an overlay from elsewhere could name any file",
        new("origin", origin), new("why", why));

    public static LincowError OriginDiffers(string origin, string overlay, string difference) => new(Code.OriginDiffers, origin,
        $"{origin}: is not the origin that {overlay} was made on: {difference}", new("overlay", overlay), new("difference", difference));

    public static LincowError OriginIsOverlay(string origin) => new(Code.OriginIsOverlay, origin,
        $"{origin}: is itself a lincow overlay, and overlays over overlays are not there yet. Copy its device to an image first");

    /// <param name="origin">The origin.</param>
    /// <param name="map">The map that says which of its bytes count.</param>
    public static LincowError OriginIsData(string origin, string map) => new(Code.OriginIsOverlay, origin,
        $"{origin}: is the data of a lincow overlay, whose map is {map}, and overlays over overlays are not there yet. Copy its "
        + "device to an image first", new LincowFact("map", map));

    public static LincowError OriginLargerThanDevice(string origin, long originBytes, long deviceBytes) =>
        new(Code.OriginLargerThanDevice, origin, $"{origin}: has {originBytes} bytes, more than the overlay's device ({deviceBytes})",
            new("originBytes", originBytes), new("deviceBytes", deviceBytes));

    public static LincowError TransientNeedsOrigin() => new(Code.TransientNeedsOrigin, null, "a transient overlay needs an origin");

    public static LincowError TransientUnholdable(string path, LinuxException e) => new(Code.TransientUnholdable, path,
        $"{path}: can't hold a transient overlay: {e.Reason}. Give a directory on a file system with room",
        new("reason", e.Reason), LincowFact.Errno(e));

    /// <param name="path">Where its data was to be.</param>
    public static LincowError TransientTooLong(string path) => new(Code.TransientTooLong, path,
        $"{path}: can't hold a transient overlay as long as its device: the file system, or a limit of this process, allows no file of "
        + "that length");

    public static LincowError NoDirectIO(string path) => new(Code.NoDirectIO, path,
        $"{path}: lies on a file system without direct I/O (O_DIRECT), so the page cache can't be left out");

    public static LincowError TransientWouldOverwrite(string path) => new(Code.TransientWouldOverwrite, path,
        $"{path}: exists already, and a transient overlay would overwrite it. Give a directory, a block device or a path where nothing is");

    public static LincowError TransientInUse(string path, string holder) => new(Code.FileInUse, path, $"{path}: is in use by {holder}",
        new LincowFact("holder", holder));

    public static LincowError DirectNeedsBlocks(string file, long blockBytes) => new(Code.DirectNeedsBlocks, file,
        $"{file}: direct I/O needs chunks of at least {blockBytes} bytes and a device size that is a multiple of it",
        new LincowFact("blockBytes", blockBytes));

    public static LincowError FileMissing(string path) => new(Code.FileMissing, path, $"{path}: there is no such file");

    public static LincowError NotAFile(string path) => new(Code.NotAFile, path,
        $"{path}: is not a file or block device, so it can't be an overlay");

    public static LincowError Unopenable(string path, bool writable, LinuxException e) => new(Code.FileUnopenable, path,
        $"{path}: can't be opened{(writable ? " for writing" : "")}: {e.Reason}", new("reason", e.Reason), LincowFact.Errno(e));

    public static LincowError OverlayInUse(string overlay, string holder) => new(Code.OverlayInUse, overlay,
        $"{overlay}: is in use by {holder}. An overlay has one writer at a time; stop that process first",
            new LincowFact("holder", holder));

    public static LincowError OverlayUnlockable(string file, LinuxException e) => new(Code.OverlayUnlockable, file,
        $"{file}: can't be locked ({e.Reason}), and without a lock nothing keeps an overlay from having two writers. Put it on a "
        + "file system that has locks", new("reason", e.Reason), LincowFact.Errno(e));

    public static LincowError DeviceInUse(string path) => new(Code.BlockDeviceInUse, path,
        $"{path}: the block device is in use (mounted, claimed, or served by another process). Stop its user first");

    /// <summary>A file that is only read, but has to be one state.</summary>
    public static LincowError SourceDeviceInUse(string path) => new(Code.BlockDeviceInUse, path,
        $"{path}: the block device is in use (mounted, or part of a device-mapper device). Take it out of use first: 'dmsetup ls' "
        + "shows who has it");

    /// <inheritdoc cref="SourceDeviceInUse"/>
    public static LincowError SourceInUse(string path, string holder) => new(Code.FileInUse, path,
        $"{path}: is in use by {holder}. Stop it first, so that what is read is one state", new LincowFact("holder", holder));

    public static LincowError DeviceTooSmall(string file, long fileBytes, long neededBytes) => new(Code.DeviceTooSmall, file,
        $"{file}: the block device has {fileBytes} bytes and the overlay needs {neededBytes}",
        new("fileBytes", fileBytes), new("neededBytes", neededBytes));

    public static LincowError CannotReserve(string file) => new(Code.CannotReserve, file, $"{file}: its file system can't reserve space");
}
