using Lincow.Frontends.Attach;
using Lincow.Frontends.Control;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// Devices whose server died and which wait for another one: what was asked of them meanwhile is in the kernel. Whoever changed the overlay in
/// another way now would change it under a file system that knows nothing of it.
/// </summary>
internal static class WaitingDevice
{
    /// <summary>The device of an overlay that waits; null when there is none. Only root has such devices.</summary>
    public static FoundExport? Of(string? overlay) => string.IsNullOrEmpty(overlay) || !Environment.IsPrivilegedProcess || !RunDirectory.IsThere ? null : Servers.Find(overlay).Find(found =>
        !found.Server.IsAlive && found.Export.Overlay is { } path && LinuxPath.AreSame(path, overlay)
        && AttachWays.Find(found.Export.Via) is { } way && way.IsWaiting(found.Export));

    /// <summary>Throws <see cref="LincowException"/> when a device of the overlay waits.</summary>
    public static void Refuse(string? overlay)
    {
        if (Of(overlay) is { } waiting)
            throw new LincowException($"{overlay}: {waiting.Export.Device} waits for its server, which died. Go on with 'lincow attach', or take it away with 'lincow detach --stale'");
    }

    /// <summary>Takes the records of dead servers away that name a device which somebody else serves now.</summary>
    public static void Forget(FoundExport taken)
    {
        foreach (var server in RunDirectory.List().Where(server => !server.IsAlive && server.Record.Exports.Any(export => export.Identity == taken.Export.Identity)))
            RunDirectory.Remove(server.Record);
    }

    /// <summary>Whether a living server has the device of a dead one's record.</summary>
    public static bool IsServed(ServedExport left) =>
        left.Identity is not null && RunDirectory.List().Exists(server => server.IsAlive && server.Record.Exports.Any(export => export.Identity == left.Identity));
}
