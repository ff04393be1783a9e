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
        var overlay = Options.Overlay();
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
            "Take an overlay back to its origin, in constant time. What was written is gone for good.") { overlay, map, acceptMap, force,
                quiet, json };
        command.SetAction(result =>
        {
            // It is short, and before or after at any moment; so it goes on to its end, and says so, unless it is told twice.
            using var interruption = Signals.Interruptible();
            var path = result.GetValue(overlay)!;
            var isReturned = Reset(path, result.GetValue(map), result.GetValue(acceptMap), result.GetValue(force));
            if (result.GetValue(json))
                Json.Write(new ResetReport(LinuxPath.Full(path), isReturned), Json.Default.ResetReport);
            else if (!result.GetValue(quiet))
                Console.Out.WriteLine($"reset {Printable.Text(path)}: it shows its origin "
                    + $"again{(isReturned ? "" : "; the rest of its space is given back while it is served")}");
            return 0;
        });
        return command.WithExamples("""
              lincow reset work.cow
              for f in lab-*.cow; do lincow reset "$f"; done
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
                    + $"knows of none that writes to it", e);
            new ServedReset(found, force).Run();
            return false;
        }
    }
}
