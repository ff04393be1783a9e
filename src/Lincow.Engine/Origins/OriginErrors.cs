using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Origins;

/// <summary>Errors of origins. <c>because</c> is a sentence: why the origin has to be had alone.</summary>
internal static class OriginErrors
{
    public static LincowError PathEmpty() => new(Code.PathEmpty, null,
        "the origin's path is empty. Give a file, a block device or zero:SIZE", new LincowFact("what", "origin"));

    public static LincowError Missing(string path) => new(Code.OriginMissing, path, $"{path}: the origin does not exist");

    public static LincowError Unopenable(string path, LinuxException e) => new(Code.OriginUnopenable, path,
        $"{path}: the origin can't be opened: {e.Reason}", new("reason", e.Reason), LincowFact.Errno(e));

    public static LincowError Unwritable(string path, LinuxException e) => new(Code.OriginUnopenable, path,
        $"{path}: can't be opened for writing: {e.Reason}", new("reason", e.Reason), LincowFact.Errno(e));

    public static LincowError KindWrong(string path, string kind) => new(Code.OriginKindWrong, path,
        $"{path}: is {kind}, and an origin must be a regular file, a block device or zero:SIZE", new LincowFact("kind", kind));

    public static LincowError KindUnsupported(string reference, string scheme) => new(Code.OriginKindUnsupported, reference,
        $"{reference}: origins of the kind '{scheme}' are not there yet. Give a file, a block device or zero:SIZE",
        new LincowFact("scheme", scheme));

    /// <param name="overlay">The overlay.</param>
    /// <param name="link">A symbolic link on the way.</param>
    public static LincowError RelativeLink(string overlay, string link) => new(Code.OriginRelativeLink, overlay,
        $"{overlay}: names its origin relative to itself, and {link} is a symbolic link, over which that isn't followed",
        new LincowFact("link", link));

    /// <param name="path">The origin.</param>
    /// <param name="mounts">Where.</param>
    public static LincowError Mounted(string path, string mounts) => new(Code.OriginMounted, path,
        $"{path}: is mounted for writing ({mounts}), so it changes under its overlay, which will be neither the old nor the new. "
        + "Unmount it, or mount it read-only", new LincowFact("mounts", mounts));

    /// <param name="path">The origin.</param>
    /// <param name="holders">Who.</param>
    public static LincowError OpenForWriting(string path, string holders) => new(Code.OriginOpenForWriting, path,
        $"{path}: is open for writing by {holders}. What is written there while the overlay is used damages it",
        new LincowFact("holder", holders));

    /// <param name="path">The origin.</param>
    /// <param name="overlay">The overlay.</param>
    public static LincowError Contains(string path, string overlay) => new(Code.OriginContainsOverlay, overlay,
        $"{overlay}: lies on a file system that is in its own origin, {path}: each write to it would change the origin. Put it elsewhere",
        new LincowFact("origin", path));

    /// <param name="path">The origin.</param>
    /// <param name="change">What differs, a part of a sentence.</param>
    public static LincowError ChangedMeanwhile(string path, string change) => new(Code.OriginChangedMeanwhile, path,
        $"{path}: was changed by somebody else while it was served ({change}). What was read from it, and what was written over it, "
        + "may fit neither the old content nor the new", new LincowFact("change", change));

    /// <param name="path">The origin.</param>
    /// <param name="startOffset">Where what can't be read begins.</param>
    /// <param name="endOffset">Where it ends.</param>
    public static LincowError SampleUnreadable(string path, long startOffset, long endOffset) => new(Code.SampleUnreadable, path,
        $"{path}: bytes {startOffset} to {endOffset} can't be read. They are among those that it is recognised by; it is recognised by the "
        + "others", new("startOffset", startOffset), new("endOffset", endOffset));

    public static LincowError Timeless(string path) => new(Code.OriginTimeless, path,
        $"{path}: lies on FUSE, where a file's time may be that of the mount, so it is recognised by its size and samples of its content "
        + "only: not every change is noticed");

    public static LincowError Unlockable(string path, LinuxException e) => new(Code.OriginUnlockable, path,
        $"{path}: can't be locked ({e.Reason}), so nothing keeps other processes of lincow from writing to it meanwhile",
        new("reason", e.Reason), LincowFact.Errno(e));

    /// <param name="path">The origin.</param>
    /// <param name="format">What it is.</param>
    public static LincowError NotRaw(string path, string format) => new(Code.OriginNotRaw, path,
        $"{path}: is no raw disk but a file in the format {format}, and an origin's bytes are the disk's",
        new LincowFact("format", format));

    /// <param name="path">The origin.</param>
    /// <param name="other">Another part of the same image.</param>
    public static LincowError IsPart(string path, string other) => new(Code.OriginIsPart, path,
        $"{path}: looks like a part of an image that was split into several files ({other} is there as well), and an origin is a "
        + "whole disk",
        new LincowFact("other", other));

    public static LincowError ProgramOnly(string name) => new(Code.OriginKindUnsupported, name,
        $"{name}: is an origin that a program makes, and only that program can open it. For a file of this name, give ./{name}");

    public static LincowError BeingWritten(string path, string holder) => new(Code.OriginBeingWritten, path,
        $"{path}: is an overlay that {holder} is writing, so it can't be an origin now. Stop that process first",
        new LincowFact("holder", holder));

    public static LincowError Live(string path, string holder) => new(Code.OriginIsLive, path,
        $"{path}: is being written by {holder}, which serves it with snapshots of it. Serve this overlay there, too, or stop that process "
        + "first", new LincowFact("holder", holder));

    public static LincowError Changed(string path, string because) => new(Code.OriginChanged, path,
        $"{path}: has changed while it was being opened. {because}", new LincowFact("because", because));

    public static LincowError DeviceInUse(string path, string because) => new(Code.BlockDeviceInUse, path,
        $"{path}: the block device is in use (mounted, claimed, or served by another process). {because}; stop its user first",
        new LincowFact("because", because));

    public static LincowError InUse(string path, string holder, string because) => new(Code.OriginInUse, path,
        $"{path} is in use by {holder}. {because}; stop that process first", new("holder", holder), new("because", because));

    /// <param name="path">The origin.</param>
    /// <param name="device">Another name of it.</param>
    /// <param name="holders">Who uses that.</param>
    /// <param name="because">Why that matters.</param>
    public static LincowError InUseAs(string path, string device, string holders, string because) => new(Code.OriginInUse, path,
        $"{path}: is the same as {device}, which is in use: {holders}. {because}; stop that first",
        new("device", device), new("holder", holders), new("because", because));

    /// <param name="path">The origin.</param>
    /// <param name="behind">The file that it lies in.</param>
    /// <param name="holders">Who uses that.</param>
    /// <param name="because">Why that matters.</param>
    public static LincowError LiesInUsed(string path, string behind, string holders, string because) => new(Code.OriginInUse, path,
        $"{path}: lies in {behind}, which is in use: {holders}. {because}; stop that first",
        new("behind", behind), new("holder", holders), new("because", because));
}
