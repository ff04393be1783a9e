using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Operations;
using Lincow.Serving.Control;

namespace Lincow.Cli.Commands;

internal static class ListCommand
{
    public static Command Build()
    {
        var directories = new Argument<string[]>("DIR")
        {
            Description = "Directories [default: this one]",
            Arity = ArgumentArity.ZeroOrMore
        };
        var recursive = new Option<bool>("--recursive") { Description = "Their subdirectories as well" };
        var json = Options.Json();
        var command = new Command("list",
            "List the overlays in a directory, with their origins and who serves them; and orphans: overlays whose origin is gone, maps "
                + "without data, data without its map.")
        {
            directories, recursive, json,
        };
        command.SetAction(result =>
        {
            var reports = new List<ListReport>();
            var servers = Servers.Find(null).FindAll(found => found.Server.IsAlive);
            var several = Several.Run(result.GetValue(directories) is { Length: > 0 } named ? named : ["."], directory =>
            {
                foreach (var found in OverlayListing.Read(directory, result.GetValue(recursive), CommandRunner.Warn))
                    reports.Add(Report(found, servers));
            });
            if (result.GetValue(json))
                Json.Write(reports, Json.Default.ListListReport);
            else
                reports.ForEach(Print);
            return several.End();
        });
        return command.WithExamples("""
              lincow list                                   # of this directory
              lincow list /var/lib/vms --recursive
              lincow list . --json | jq -r '.[] | select(.orphan) | .path'
            """);
    }

    private static ListReport Report(ListedOverlay found, List<FoundExport> servers)
    {
        var info = found.Info;
        var isOriginGone = info is { Origin.Present: false } && info.Origin.Uri.Length > 0;
        var problem = found.MissingPart is { } part
                ? $"{(found.IsMap ? "a map whose data" : "data whose map")} is missing: {part}"
            : found.Problem is { } error ? ErrorText.Of(error)
            : isOriginGone ? $"its origin is gone: {info!.Origin.Uri}" : null;
        return new ListReport(found.Path, found.IsMap ? "map" : info is null && found.MissingPart is not null ? "data" : "overlay",
            found.MissingPart is not null || isOriginGone, problem, info?.Uuid, info?.Origin, info?.Size, info?.Store, info?.AllocatedBytes,
            info?.MapPath == info?.DataPath ? null : info?.MapPath, info?.Clean, info?.InUseBy,
            [.. Servers.Find(found.Path, servers).Found.Select(served => new ListServer(served.Server.Record.Pid,
                served.Server.Record.Command, served.Export.Name, served.Export.ReadOnly, served.Export.Uris, served.Export.Device,
                served.Export.File))]);
    }

    private static void Print(ListReport report)
    {
        var used = report.AllocatedBytes is { } bytes ? $", {SizeText.Format(bytes)} used" : "";
        var origin = report.Origin is not { } below ? "" : below.Uri.Length == 0 ? " over an origin that isn't known"
            : $" over {below.Uri}";
        Printable.Line($"{report.Path}: {(report.Size is { } size ? SizeText.Format(size) + origin + used : report.Kind)}");
        if (report.Map is { } map)
            Printable.Line($"  map {map}");
        if (report.Problem is { } problem)
            Printable.Line($"  {(report.Orphan ? "ORPHAN" : "PROBLEM")}: {problem}");
        foreach (var server in report.ServedBy)
            Printable.Line($"  served by process {server.Pid} (lincow {server.Command}){(server.ReadOnly ? ", read-only" : "")}: "
                + $"{string.Join(", ", new[] { server.Device, server.File }.OfType<string>().Concat(server.Uris))}");
        if (report.InUseBy is { } user && report.ServedBy.Count == 0)
            Printable.Line($"  in use by {user}");
    }
}

/// <summary>What <c>list</c> says of one overlay, or of a part of one whose other half is missing.</summary>
/// <param name="Path">Its path; an overlay with a separate map is its data.</param>
/// <param name="Kind"><c>overlay</c>; <c>map</c> or <c>data</c> where the other half is missing.</param>
/// <param name="Orphan">Its other half or its origin is missing.</param>
/// <param name="Problem">What is wrong, a sentence; null when nothing is.</param>
/// <param name="Uuid">As in <c>info</c>, like the next four; null where it can't be read.</param>
/// <param name="Origin">Its origin.</param>
/// <param name="Size">The device's size in bytes.</param>
/// <param name="Store">How it keeps its chunks.</param>
/// <param name="AllocatedBytes">What its files take.</param>
/// <param name="Map">Its map, where that is a file of its own.</param>
/// <param name="Clean">Closed cleanly, and not in use.</param>
/// <param name="InUseBy">Who writes to it.</param>
/// <param name="ServedBy">Processes of this user that serve it.</param>
internal sealed record ListReport(string Path, string Kind, bool Orphan, string? Problem, string? Uuid, OriginInfo? Origin, long? Size,
    string? Store, long? AllocatedBytes, string? Map, bool? Clean, string? InUseBy, IReadOnlyList<ListServer> ServedBy);

/// <summary>A process that serves an overlay.</summary>
internal sealed record ListServer(int Pid, string Command, string Name, bool ReadOnly, IReadOnlyList<string> Uris, string? Device,
    string? File);
