using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Control;

namespace Lincow.Serving.Attach;

/// <summary>
/// Devices whose server died and which wait for another one: what was asked of them meanwhile is in the kernel. Whoever changed the overlay
/// in another way now would change it under a file system that knows nothing of it.
/// </summary>
internal static class WaitingDevice
{
    /// <summary>
    /// The device of an overlay that waits, whichever of its files is named; null when there is none. Only root has such devices.
    /// </summary>
    /// <param name="overlay">The overlay, or its map, or a file or device that may be one.</param>
    /// <param name="map">Its map, if it is named.</param>
    public static FoundExport? Of(string? overlay, string? map = null)
    {
        if (string.IsNullOrEmpty(overlay) || !Environment.IsPrivilegedProcess || !RunDirectory.IsThere)
            return null;
        var waiting = Servers.Find(null)
            .Where(found => !found.Server.IsAlive && found.Export.Overlay is not null && AttachWays.Find(found.Export.Via) is { } way
                && way.IsWaiting(found.Export)).ToList();
        if (waiting.Count == 0)
            return null;
        var named = OverlayPaths.Of(overlay, map);
        return waiting.Find(found => OverlayPaths.Of(found.Export.Overlay!, found.Export.Map)
            .Any(path => named.Any(other => other == path || LinuxPath.AreSame(other, path))));
    }

    /// <summary>
    /// Takes away what servers of an overlay that were killed while they made a device left behind: devices that were never there for
    /// others. What somebody holds all the same stays.
    /// </summary>
    public static void CleanUnmade(string? overlay)
    {
        if (string.IsNullOrEmpty(overlay) || !Environment.IsPrivilegedProcess || !RunDirectory.IsThere)
            return;
        foreach (var left in Servers.FindAt(overlay).Where(found => !found.Server.IsAlive && found.Export is { Device: null, File: null }))
        {
            if (AttachWays.Find(left.Export.Via) is { } way && !way.IsWaiting(left.Export) && way.Clean(left.Export).Count == 0)
                RunDirectory.Remove(left.Server.Record);
        }
    }

    /// <summary>Throws <see cref="LincowException"/> when a device of the overlay waits.</summary>
    public static void Refuse(string? overlay, string? map = null)
    {
        if (Of(overlay, map) is { } waiting)
            throw new LincowException(AttachErrors.DeviceWaits(overlay, waiting.Export.Device));
    }

    /// <summary>Takes the records of dead servers away that name a device which somebody else serves now.</summary>
    public static void Forget(FoundExport taken)
    {
        foreach (var server in RunDirectory.List()
            .Where(server => !server.IsAlive && server.Record.Exports.Any(export => export.Identity == taken.Export.Identity)))
            RunDirectory.Remove(server.Record);
    }

    /// <summary>Whether a living server has the device of a dead one's record.</summary>
    public static bool IsServed(ExportRecord left) =>
        left.Identity is not null && RunDirectory.List()
            .Exists(server => server.IsAlive && server.Record.Exports.Any(export => export.Identity == left.Identity));
}
