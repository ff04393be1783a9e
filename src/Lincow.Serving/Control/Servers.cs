using Lincow.Linux;

namespace Lincow.Serving.Control;

/// <summary>An export of a server that the run directory knows of.</summary>
/// <param name="Server">The server.</param>
/// <param name="Index">Which of its exports it is, in the record's order.</param>
internal sealed record FoundExport(KnownServer Server, int Index)
{
    /// <summary>What its server wrote down of it.</summary>
    public ExportRecord Export => Server.Record.Exports[Index];
}

/// <summary>Finds servers and asks them.</summary>
internal static class Servers
{
    /// <summary>A server on a busy machine takes its time; one that stands still never answers.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    /// <summary>
    /// All exports; or those that the path of an overlay, a device or a file is meant for; or if it is none of these, those of that name.
    /// </summary>
    public static List<FoundExport> Find(string? target)
    {
        if (target is null)
            return All();
        var found = FindAt(target);
        return found.Count > 0 ? found : All().FindAll(export => IsNamed(export.Export, target));
    }

    /// <summary>The exports that the path of an overlay, a device or a file is meant for.</summary>
    public static List<FoundExport> FindAt(string target)
    {
        var path = LinuxPath.FullOrAsItIs(target);
        return All().FindAll(found => IsAt(found.Export, path));
    }

    private static List<FoundExport> All() =>
        [.. RunDirectory.List().SelectMany(server => server.Record.Exports.Select((_, index) => new FoundExport(server, index)))];

    private static bool IsAt(ExportRecord export, string path)
    {
        // Not looked at through the file system: a file whose server is dead can't be.
        string?[] paths = [export.Overlay, export.LiveOrigin, export.Device, export.Link, export.File];
        string?[] same = [export.Overlay, export.LiveOrigin, export.Device];
        return paths.Contains(path) || same.Any(other => other is not null && LinuxPath.AreSame(other, path));
    }

    // What is served is also known by its file's name, whatever --name says; what is attached, by the name of its link or file, which
    // --name gave.
    private static bool IsNamed(ExportRecord export, string name) =>
        export.Name == name || Path.GetFileNameWithoutExtension(export.Overlay ?? export.LiveOrigin) == name
            || Path.GetFileName(export.Link) == name || Path.GetFileNameWithoutExtension(export.File) == name;
}
