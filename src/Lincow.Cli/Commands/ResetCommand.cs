using System.CommandLine;
using Lincow.Frontends.Control;
using Lincow.Linux;
using Lincow.Overlays;

namespace Lincow.Cli.Commands;

internal static class ResetCommand
{
    /// <summary>Everything in flight has to end first.</summary>
    private static readonly TimeSpan ResetPatience = TimeSpan.FromSeconds(60);

    public static Command Build()
    {
        var overlay = Options.Overlay();
        var map = Options.Map();
        var force = new Option<bool>("--force") { Description = "Also after a commit that was cut off: the origin stays half old, half new" };
        var quiet = Options.Quiet();
        var acceptMap = Options.AcceptMap();
        var json = Options.Json();
        var command = new Command("reset", "Take an overlay back to its origin, in constant time. What was written is gone for good.") { overlay, map, acceptMap, force, quiet, json };
        command.SetAction(result =>
        {
            var path = result.GetValue(overlay)!;
            var isReturned = Reset(path, result.GetValue(map), result.GetValue(acceptMap), result.GetValue(force));
            if (result.GetValue(json))
                Json.Write(new ResetReport(Path.GetFullPath(path), isReturned), Json.Default.ResetReport);
            else if (!result.GetValue(quiet))
                Console.Out.WriteLine($"reset {Printable.Text(path)}: it shows its origin again{(isReturned ? "" : "; the rest of its space is given back while it is served")}");
            return 0;
        });
        return command.WithExamples("""
              lincow reset work.cow
              for f in lab-*.cow; do lincow reset "$f"; done
            """);
    }

    /// <summary>Resets the overlay here, or asks the process that serves it. Returns whether all space has been given back already.</summary>
    private static bool Reset(string path, string? map, bool acceptMap, bool force)
    {
        WaitingDevice.Refuse(path);
        try
        {
            return OverlayReset.Reset(path, map, acceptMap, force);
        }
        catch (LincowException e) when (e.IsInUse)
        {
            if (Servers.Find(path).FirstOrDefault(found => found.Server.IsAlive && !found.Export.ReadOnly) is not { } found)
                throw new LincowException($"{e.Message}. A server of this user would reset it by itself, but 'lincow status' knows of none that writes to it", e);
            ResetServed(found, force);
            return false;
        }
    }

    private static void ResetServed(FoundExport found, bool force)
    {
        // A file system that is mounted, or a cache that isn't dropped, would show what is no longer there, and write it back.
        if (found.Export.Device is { } device && DeviceHolders.Of(device) is { Count: > 0 } holders)
            throw new LincowException($"{AttachedDevice.Describe(device, holders)}. Unmount or end that first, then reset");
        DropCache(found);
        var reply = ControlClient.Ask(found.Server.Record, new ControlRequest(ControlRequest.Reset, found.Index, Force: force), ResetPatience);
        if (reply is null)
            throw new LincowException($"{found.Export.Overlay}: {LinuxProcess.Describe(found.Server.Record.Pid)} serves it and doesn't answer. Look at it with 'lincow status'");
        if (reply.Error is { } error)
            throw new LincowException(error);
        DropCache(found);
    }

    private static void DropCache(FoundExport found)
    {
        if (found.Export.Device is { } device)
            LinuxBlockDevice.DropCache(device);
    }
}
