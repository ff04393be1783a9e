using Lincow.Frontends.Control;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>An export of a server that the run directory knows of.</summary>
internal sealed record FoundExport(KnownServer Server, int Index)
{
    public ServedExport Export => Server.Record.Exports[Index];
}

/// <summary>Finds servers and asks them.</summary>
internal static class Servers
{
    /// <summary>A server on a busy machine takes its time; one that stands still never answers.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    /// <summary>All exports, or those that an overlay's, device's or file's path, or a name, is meant for.</summary>
    public static List<FoundExport> Find(string? target) =>
        [.. RunDirectory.List().SelectMany(server => server.Record.Exports.Select((_, index) => new FoundExport(server, index))).Where(found => target is null || Is(found.Export, target))];

    private static bool Is(ServedExport export, string target)
    {
        // Not looked at through the file system: a file whose server is dead can't be.
        var path = Path.GetFullPath(target);
        string?[] paths = [export.Overlay, export.Device, export.Link, export.File];
        if (paths.Contains(path) || export.Name == target)
            return true;
        return (export.Overlay is { } overlay && LinuxPath.AreSame(overlay, path)) || (export.Device is { } device && LinuxPath.AreSame(device, path));
    }
}
