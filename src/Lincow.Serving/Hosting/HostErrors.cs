using System.Net.Sockets;
using Lincow.Linux;
using Lincow.Serving.Exports;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Serving.Hosting;

/// <summary>Errors of hosts, their exports and listeners.</summary>
internal static class HostErrors
{
    public static LincowError ExportNameTaken(string name) => new(Code.ExportNameTaken, null, $"two exports would be called '{name}'",
        new LincowFact("name", name));

    public static LincowError NotServed(string name) => new(Code.NotServed, null, $"{name}: is not served by this host",
        new LincowFact("name", name));

    public static LincowError ServedNoMore(string name) => new(Code.ServedNoMore, null, $"{name}: is served no more",
        new LincowFact("name", name));

    public static LincowError LiveOriginsSnapshot(string name, string origin) => new(Code.LiveOriginsSnapshot, null,
        $"{name}: is a snapshot of '{origin}', which is written to; remove '{origin}', and its snapshots go with it",
        new("name", name), new("origin", origin));

    public static LincowError ExportAttached(string name) => new(Code.ExportAttached, null,
        $"{name}: is attached to this machine. Detach it first", new LincowFact("name", name));

    public static LincowError NothingToReset(string name) => new(Code.NothingToReset, null,
        $"{name}: is a live origin, so there is nothing that it could be reset to", new LincowFact("name", name));

    /// <param name="name">The export, or its device or file.</param>
    /// <param name="holder">Who uses it.</param>
    public static LincowError DeviceHeld(string name, string holder) => new(Code.DeviceHeld, null, $"{name}: is still in use: {holder}",
        new("name", name), new("holder", holder));

    public static LincowError HeldAtReset(string name, string holder) => new(Code.DeviceHeld, null,
        $"{name}: is still in use: {holder}. End that first, then reset", new("name", name), new("holder", holder));

    /// <param name="name">The device or file.</param>
    /// <param name="seconds">How long nothing has moved.</param>
    public static LincowError DeviceStandsStill(string name, long seconds) => new(Code.DeviceStandsStill, null,
        $"{name}: can't be taken away yet: what is on its way to it or its disk has stood still for {seconds} s. It goes when that is done",
        new("name", name), new("seconds", seconds));

    /// <summary>Its loop ended with an exception, long ago.</summary>
    public static LincowError ExportLost() => new(Code.ExportLost, null, Export.Fault);

    /// <summary>It could not be flushed.</summary>
    /// <param name="overlay">The overlay; null for a transient one.</param>
    /// <param name="subject">What it is called in sentences.</param>
    /// <param name="isLost">Its loop ended with an exception.</param>
    public static LincowError Unflushed(string? overlay, string subject, bool isLost) => new(Code.ExportLost, overlay, isLost
        ? $"{subject}: an error of lincow itself ended it; what was written since the last flush is lost"
        : $"{subject}: stands still, so it could not be flushed in time; what was written since the last flush is lost"
            + (overlay is null ? "" : ". The overlay stays marked as in use, and is examined at the next open"),
        new LincowFact("name", subject));

    public static LincowError OriginStandsStill() => new(Code.ExportLost, null, "the origin stands still");

    public static LincowError SocketPathTooLong(string path, long pathBytes, long maxBytes) => new(Code.SocketPathTooLong, path,
        $"{path}: a Unix socket's path has at most {maxBytes} bytes, and this one has {pathBytes}. Use a shorter one, for example in /run "
        + "or /tmp", new("pathBytes", pathBytes), new("maxBytes", maxBytes));

    public static LincowError CannotListen(LinuxException e) => e.Errno switch
    {
        Errno.AddressInUse => new(Code.AddressInUse, e.Subject,
            $"{e.Subject}: is in use: another server listens there. Give another address, or stop that server", LincowFact.Errno(e)),
        Errno.Exists => new(Code.AddressNotSocket, e.Subject,
            $"{e.Subject}: exists and is not a socket, so nothing can listen there. Give another path", LincowFact.Errno(e)),
        Errno.Perm when e.Call == "chown" => new(Code.AddressUnusable, e.Subject,
            $"{e.Subject}: can't be given to that group: {e.Reason}. Who isn't root can give it to groups of his own only",
            new("reason", e.Reason), LincowFact.Errno(e)),
        _ => new(Code.AddressUnusable, e.Subject, $"{e.Subject}: can't be listened on: {e.Reason}",
            new("reason", e.Reason), LincowFact.Errno(e)),
    };

    public static LincowError AddressUnusable(string address, SocketException e) => new(Code.AddressUnusable, address,
        $"{address}: {e.Message}", new LincowFact("reason", e.Message));
}
