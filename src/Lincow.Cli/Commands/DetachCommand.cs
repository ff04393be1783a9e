using System.CommandLine;
using System.Globalization;
using Lincow.Serving.Attach;
using Lincow.Serving.Control;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

internal static class DetachCommand
{
    /// <summary>Programs that look at every new device hold it for a moment.</summary>
    private const double DefaultWaitSeconds = 1;

    /// <summary>A look at all processes, a flush of what the page cache holds of a device, and the kernel's own time.</summary>
    private static readonly TimeSpan CleanPatience = TimeSpan.FromSeconds(20);

    public static Command Build()
    {
        var target = new Argument<string?>("DEVICE|OVERLAY")
        {
            Description = "What 'lincow attach' printed, the overlay, or its name",
            Arity = ArgumentArity.ZeroOrOne
        };
        var wait = new Option<double>("--wait")
        {
            Description = "Wait so long for whoever holds the device",
            HelpName = "SECONDS",
            DefaultValueFactory = _ => DefaultWaitSeconds
        };
        var stale = new Option<bool>("--stale") { Description = "Take away what servers that died left behind" };
        var all = new Option<bool>("--all") { Description = "Take all attached devices of this user away" };
        var quiet = Options.Quiet();
        var json = Options.Json();
        var command = new Command("detach",
            "Take an attached device away: everything is flushed, the overlay is closed cleanly. Says who holds it if somebody does.")
        { target, wait, stale, all, quiet, json };
        command.SetAction(result =>
        {
            var wanted = result.GetValue(target);
            if (wanted is "" || wanted is null && !result.GetValue(stale) && !result.GetValue(all))
                throw new UsageException("give the DEVICE or OVERLAY to detach, or --all or --stale");
            if (result.GetValue(all) && (wanted is not null || result.GetValue(stale)))
                throw new UsageException("--all takes no DEVICE or OVERLAY, and not --stale: it takes away what is served, --stale "
                    + "what died");
            if (result.GetValue(wait) is < 0 or > 1e6 or double.NaN)
                throw new UsageException("--wait: give seconds, 0 or more");
            var found = Servers.Find(wanted).Where(export => result.GetValue(stale) ? !export.Server.IsAlive
                : !result.GetValue(all) || (export.Server.IsAlive && export.Server.Record.Command == "attach")).ToList();
            if (found.Count == 0 && wanted is not null)
                throw new CommandException($"{wanted}: is not attached (see 'lincow status')");
            if (wanted is not null && !result.GetValue(stale))
                RefuseSeveral(wanted, found);
            var detached = new List<DetachReport>();
            var failures = new List<string>();
            // One that was killed and one that took its place may both be known.
            foreach (var server in found.GroupBy(export => export.Server.Record.Id).Select(group => group.First().Server))
            {
                var failure = server.IsAlive ? Detach(server.Record, result.GetValue(wait)) : Clean(server.Record);
                if (failure is not null)
                    failures.Add(failure);
                else
                    detached.AddRange(server.Record.Exports.Select(export => DetachReport.Of(server, export)));
                if (failure is null && !result.GetValue(quiet) && !result.GetValue(json))
                    Console.Out.WriteLine($"{(server.IsAlive ? "detached" : "cleaned up")} "
                        + $"{Printable.Text(string.Join(", ", server.Record.Exports.Select(Describe)))}");
            }
            if (result.GetValue(json))
                Json.Write(detached, Json.Default.ListDetachReport);
            return failures.Count == 0 ? 0 : throw new CommandException(string.Join("; ", failures));
        });
        return command.WithExamples("""
              lincow detach /dev/loop0
              lincow detach work.cow --wait 30
              lincow detach --all                           # every device that is attached
              lincow detach --stale                         # after a crash
            """);
    }

    private static void RefuseSeveral(string wanted, List<FoundExport> found)
    {
        var live = found.FindAll(export => export.Server.IsAlive);
        var choices = (live.Count > 0 ? live : found).Select(export => $"{Describe(export.Export)} ({export.Export.Description})")
            .Distinct().ToList();
        if (choices.Count > 1)
            throw new CommandException($"{wanted}: is several: {string.Join(", ", choices)}. Say which one, by its device or file");
    }

    private static string Describe(ExportRecord export) =>
        export.Device ?? export.File ?? export.Overlay ?? export.LiveOrigin ?? export.Name;

    private static string? Detach(ServingRecord server, double waitSeconds)
    {
        var name = Describe(server.Exports[0]);
        if (server.Exports.All(export => export.Via is null))
            return $"{name}: is served without being attached, by {server.Process}. To serve it no more, "
                + (server.Command == "serve" ? "'lincow stop' it, or end that process" : "end that process")
                + (server.IsOfThisNamespace ? string.Create(CultureInfo.InvariantCulture, $": kill {server.Pid}") : "");
        return ServerExit.Ask(server, new ControlRequest(ControlRequest.Detach, WaitSeconds: waitSeconds), name, ends: true, "is detached");
    }

    // On a thread of its own: what the kernel does with a device that nobody serves may wait for what nobody answers.
    private static string? Clean(ServingRecord server)
    {
        foreach (var export in server.Exports)
        {
            if (WaitingDevice.IsServed(export) || AttachWays.Find(export.Via) is not { } way)
                continue;
            var clean = Task.Factory.StartNew(() => way.Clean(export), CancellationToken.None, TaskCreationOptions.LongRunning,
                TaskScheduler.Default);
            if (!clean.Wait(CleanPatience))
                return $"{Describe(export)}: the kernel doesn't let go of it. Attach the overlay again, so that what waits there is "
                    + "answered, and detach it then";
            if (clean.Result is { Count: > 0 } holders)
                return AttachedDevice.Describe(Describe(export), holders);
        }
        RunDirectory.Remove(server);
        return null;
    }
}

/// <summary>What <c>detach</c> says of one device that it has taken away.</summary>
/// <param name="Pid">The process that served it.</param>
/// <param name="Stale">That process was gone already.</param>
/// <param name="Name">The overlay's name.</param>
/// <param name="Overlay">Its path; null for a transient one.</param>
/// <param name="Origin">Of a transient one.</param>
/// <param name="Via">How it was attached.</param>
/// <param name="Device">The block device.</param>
/// <param name="File">The file that had its content.</param>
/// <param name="Link">The link to the device.</param>
internal sealed record DetachReport(int Pid, bool Stale, string Name, string? Overlay, string? Origin, string? Via, string? Device,
    string? File, string? Link)
{
    public static DetachReport Of(KnownServer server, ExportRecord export) => new(server.Record.Pid, !server.IsAlive, export.Name,
        export.Overlay, export.Origin, export.Via, export.Device, export.File, export.Link);
}
