using System.CommandLine;
using System.Globalization;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Serving.Attach;
using Lincow.Serving.Control;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

internal static class DetachCommand
{
    /// <summary>Programs that look at every new device hold it for a moment.</summary>
    private const double DefaultWaitSeconds = 1;

    /// <summary>For the last flush, which may be gigabytes on a slow disk.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);

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
        var quiet = Options.Quiet();
        var command = new Command("detach",
            "Take an attached device away: everything is flushed, the overlay is closed cleanly. Says who holds it if somebody does.")
        { target, wait, stale, quiet };
        command.SetAction(result =>
        {
            var wanted = result.GetValue(target);
            if (wanted is "" || wanted is null && !result.GetValue(stale))
                throw new UsageException("give the DEVICE or OVERLAY to detach, or --stale");
            if (result.GetValue(wait) is < 0 or > 1e6 or double.NaN)
                throw new UsageException("--wait: give seconds, 0 or more");
            var found = Servers.Find(wanted).Where(export => !result.GetValue(stale) || !export.Server.IsAlive).ToList();
            if (found.Count == 0 && wanted is not null)
                throw new CommandException($"{wanted}: is not attached (see 'lincow status')");
            if (!result.GetValue(stale))
                RefuseSeveral(wanted!, found);
            var failures = new List<string>();
            // One that was killed and one that took its place may both be known.
            foreach (var server in found.GroupBy(export => export.Server.Record.Id).Select(group => group.First().Server))
            {
                var failure = server.IsAlive ? Detach(server.Record, result.GetValue(wait)) : Clean(server.Record);
                if (failure is not null)
                    failures.Add(failure);
                else if (!result.GetValue(quiet))
                    Console.Out.WriteLine($"{(server.IsAlive ? "detached" : "cleaned up")} "
                        + $"{Printable.Text(string.Join(", ", server.Record.Exports.Select(Describe)))}");
            }
            return failures.Count == 0 ? 0 : throw new CommandException(string.Join("; ", failures));
        });
        return command.WithExamples("""
              lincow detach /dev/loop0
              lincow detach work.cow --wait 30
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
        var (name, process) = (Describe(server.Exports[0]), server.Process);
        if (server.Exports.All(export => export.Via is null))
            return $"{name}: is served without being attached, by {process}. To serve it no more, end that process"
                + (server.IsOfThisNamespace ? string.Create(CultureInfo.InvariantCulture, $": kill {server.Pid}") : "");
        // One that stands still answers nothing, and would be waited for as if it flushed.
        var reply = ControlClient.Ask(server, new ControlRequest(ControlRequest.Status), Servers.Patience) is null ? null
            : ControlClient.Ask(server, new ControlRequest(ControlRequest.Detach, WaitSeconds: waitSeconds),
                TimeSpan.FromSeconds(waitSeconds) + Patience);
        if (reply is null)
            return $"{name}: {process} serves it and doesn't answer";
        if (reply.Error is not null)
            return ReplyText.Of(reply);
        var end = DateTime.UtcNow + ExitPatience;
        while (RunDirectory.IsAlive(server))
        {
            if (DateTime.UtcNow > end)
                return $"{name}: is detached, but {process} doesn't end";
            Thread.Sleep(1);
        }
        return null;
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
