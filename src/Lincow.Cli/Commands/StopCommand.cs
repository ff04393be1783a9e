using System.CommandLine;
using Lincow.Operations;
using Lincow.Serving.Control;

namespace Lincow.Cli.Commands;

internal static class StopCommand
{
    public static Command Build()
    {
        var targets = new Argument<string[]>("OVERLAY")
        {
            Description = "An overlay, its name in 'lincow status', or a socket or URI that 'ready' named",
            Arity = ArgumentArity.OneOrMore
        };
        var quiet = Options.Quiet();
        var json = Options.Json();
        var command = new Command("stop",
            "Serve overlays no more: clients get their last answers, everything is flushed, the overlays are closed cleanly. Returns when "
                + "that is done. A server that serves nothing any more has ended then; others of its overlays are served on.")
        {
            targets, quiet, json,
        };
        command.SetAction(result =>
        {
            var known = Servers.Find(null).FindAll(found => found.Server.IsAlive);
            // All are looked for before any is stopped: a slip of the keyboard stops none.
            var found = result.GetValue(targets)!.SelectMany(target => FindOne(target, known)).DistinctBy(Key).ToList();
            var failures = new List<string>();
            var stopped = new List<StopReport>();
            foreach (var server in found.GroupBy(export => export.Server.Record.Id))
                Stop([.. server], stopped, failures, result.GetValue(quiet) || result.GetValue(json));
            if (result.GetValue(json))
                Json.Write(stopped, Json.Default.ListStopReport);
            return failures.Count == 0 ? 0 : throw new CommandException(string.Join("; ", failures));
        });
        return command.WithExamples("""
              lincow stop work.cow
              lincow stop a.cow b.cow --json
              lincow stop unix:/tmp/work.sock               # all that is served there
            """);
    }

    private static (string, int) Key(FoundExport found) => (found.Server.Record.Id, found.Index);

    private static List<FoundExport> FindOne(string target, List<FoundExport> known)
    {
        var (found, isNamed) = Servers.Find(target, known);
        if (found.Count == 0)
            (found, isNamed) = (known.FindAll(export => ServedAddress.Leads(target, export.Export)), false);
        if (found.Count == 0)
            throw new CommandException($"{target}: nobody serves it (see 'lincow status')");
        // Several may serve one overlay, read-only; one name may be several overlays'.
        var choices = found.Select(export => export.Export.Description).Distinct().ToList();
        if (isNamed && choices.Count > 1)
            throw new CommandException($"{target}: is several: {string.Join(", ", choices)}. Say which one, by its path");
        foreach (var export in found)
            Refuse(target, export);
        return found;
    }

    private static void Refuse(string target, FoundExport found)
    {
        if (found.Export.Device is not null || found.Export.File is not null)
            throw new CommandException($"{target}: is attached as {found.Export.Device ?? found.Export.File}, so it is taken away with "
                + "'lincow detach'");
        if (found.Server.Record.Command == "run")
            throw new CommandException($"{target}: is served by 'lincow run' (process {found.Server.Record.Pid}) as long as its command "
                + "runs; end that");
    }

    private static void Stop(List<FoundExport> exports, List<StopReport> stopped, List<string> failures, bool isSilent)
    {
        var server = exports[0].Server;
        // An origin takes its snapshots with it, and nothing else is served beside them.
        if (exports.Count == server.Record.Exports.Count || exports.Exists(export => export.Export.LiveOrigin is not null))
        {
            List<FoundExport> all = [.. server.Record.Exports.Select((_, index) => new FoundExport(server, index))];
            var names = string.Join(", ", all.Select(export => export.Export.Description));
            Note(ServerExit.Ask(server.Record, new ControlRequest(ControlRequest.Stop, ControlRequest.All), names, ends: true,
                "is served no more"), all, ended: true);
            return;
        }
        foreach (var export in exports)
            Note(ServerExit.Ask(server.Record, new ControlRequest(ControlRequest.Stop, export.Export.Id ?? export.Index),
                export.Export.Description, ends: false, ""), [export], ended: false);

        void Note(string? failure, List<FoundExport> of, bool ended)
        {
            if (failure is not null)
            {
                failures.Add(failure);
                return;
            }
            stopped.AddRange(of.Select(export => StopReport.Of(export, ended)));
            if (!isSilent)
                of.ForEach(export => Printable.Line($"stopped {export.Export.Description}"));
        }
    }
}

/// <summary>What <c>stop</c> says of one overlay that is served no more.</summary>
/// <param name="Pid">The process that served it.</param>
/// <param name="Ended">Whether that process has ended; otherwise it serves others.</param>
/// <param name="Name">The export's name.</param>
/// <param name="Overlay">Its path; null for a transient one, or a live origin.</param>
/// <param name="Origin">Of a transient one.</param>
/// <param name="LiveOrigin">The path of an origin that was served itself.</param>
/// <param name="Uris">Where clients connected.</param>
internal sealed record StopReport(int Pid, bool Ended, string Name, string? Overlay, string? Origin, string? LiveOrigin,
    IReadOnlyList<string> Uris)
{
    public static StopReport Of(FoundExport found, bool ended) => new(found.Server.Record.Pid, ended, found.Export.Name,
        found.Export.Overlay, found.Export.Origin, found.Export.LiveOrigin, found.Export.Uris);
}
