using System.CommandLine;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Attach;
using Lincow.Serving.Control;

namespace Lincow.Cli.Commands;

internal static class ResetCommand
{
    public static Command Build()
    {
        var overlays = Options.Overlays();
        var map = Options.Map();
        var force = new Option<bool>("--force")
        {
            Description =
            "Also while somebody uses it, and after a commit that was cut off, whose origin stays half old, half new"
        };
        var quiet = Options.Quiet();
        var acceptMap = Options.AcceptMap();
        var json = Options.Json();
        var command = new Command("reset",
            "Take overlays back to their origins, each in constant time. What was written is gone for good.") { overlays, map, acceptMap,
                force, quiet, json };
        command.SetAction(result =>
        {
            // It is short, and before or after at any moment; so it goes on to its end, and says so, unless it is told twice.
            using var interruption = Signals.Interruptible();
            var paths = Several.Of(result.GetValue(overlays)!, result.GetValue(map));
            var reports = new List<ResetReport>();
            var several = Several.Run(paths, path =>
            {
                var isReturned = Reset(path, result.GetValue(map), result.GetValue(acceptMap), result.GetValue(force));
                reports.Add(new ResetReport(LinuxPath.Full(path), isReturned));
                if (!result.GetValue(json) && !result.GetValue(quiet))
                    Console.Out.WriteLine($"reset {Printable.Text(path)}: it shows its origin "
                        + $"again{(isReturned ? "" : "; the rest of its space is given back while it is served")}");
            });
            if (result.GetValue(json))
                Several.WriteJson(reports, paths.Length, Json.Default.ResetReport, Json.Default.ListResetReport);
            return several.End();
        });
        return command.WithExamples("""
              lincow reset work.cow
              lincow reset lab-*.cow                        # also if one of them is refused
            """);
    }

    /// <summary>
    /// What is served, by the path of its device, file or link, or by its name if no file has that: a transient overlay has no other. Null
    /// for an overlay's own path.
    /// </summary>
    private static FoundExport? FindServed(string path)
    {
        var found = (File.Exists(path) ? Servers.FindAt(path) : Servers.Find(path)).FindAll(each => each.Server.IsAlive
            && each.Export is { ReadOnly: false, LiveOrigin: null }
            && (each.Export.Overlay is not { } overlay || !LinuxPath.AreSame(overlay, path)));
        return found.Count <= 1 ? found.FirstOrDefault()
            : throw new CommandException($"{path}: is several: {string.Join(", ", found.Select(each => each.Export.Description))}. Say "
                + "which one, by its device or file");
    }

    /// <summary>
    /// Resets the overlay here, or asks the process that serves it. Returns whether all space has been given back already.
    /// </summary>
    private static bool Reset(string path, string? map, bool acceptMap, bool force)
    {
        WaitingDevice.Refuse(path, map);
        if (FindServed(path) is { } served)
        {
            new ServedReset(served, force).Run();
            return false;
        }
        try
        {
            return OverlayReset.Reset(path, map, acceptMap, force);
        }
        catch (LincowException e) when (e.Error.Code == LincowErrorCode.OverlayInUse)
        {
            if (Servers.FindAt(path).FirstOrDefault(found => found.Server.IsAlive && !found.Export.ReadOnly
                && found.Export.LiveOrigin is null) is not { } found)
                throw new CommandException($"{ErrorText.Of(e)}. A server of this user would reset it by itself, but 'lincow status' "
                    + "knows of none that writes to it", e);
            new ServedReset(found, force).Run();
            return false;
        }
    }
}
