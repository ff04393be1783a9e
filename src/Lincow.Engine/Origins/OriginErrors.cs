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
