using System.CommandLine;
using System.Text.Json;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Attach;
using Lincow.Serving.Control;
using Lincow.Serving.Exports;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

internal static class AttachCommand
{
    /// <param name="arguments">The whole command line, for the process that stays.</param>
    public static Command Build(string[] arguments)
    {
        var overlay = new Argument<string?>("OVERLAY")
        {
            Description = "The overlay; none for a transient one with --origin",
            Arity = ArgumentArity.ZeroOrOne
        };
        var common = new SessionArguments();
        var via = Options.Via();
        var name = new Option<string?>("--name")
        {
            Description =
            "Name of the link in /dev/lincow and of the file [default: the overlay's]",
            HelpName = "NAME"
        };
        var partitions = new Option<bool>("--partitions") { Description = "Make devices of the partitions in it too: DEVICEp1 and so on" };
        var survive = new Option<bool>("--survive-shutdown")
        {
            Description =
            "The root file system lies on this device: systemd's shutdown leaves the server alone (its command line begins with '@')"
        };
        var allowRoot = new Option<bool>("--allow-root")
        {
            Description =
            "Without root: let root use the file, too (needs user_allow_other in /etc/fuse.conf)"
        };
        var foreground = new Option<bool>("--foreground") { Description = "Stay in the foreground until SIGTERM or SIGINT, for systemd" };
        var detached = new Option<bool>(Background.Detached) { Hidden = true };
        var quiet = new Option<bool>("--quiet") { Description = "Say nothing but the path, warnings and errors" };
        var json = Options.Json();
        var command = new Command("attach",
            "Make a block device of an overlay (for root; a file for others), served by a process in the background. Prints its path, "
                + "alone on the last line.")
        {
            overlay, via, name, partitions, survive, allowRoot, foreground, detached, quiet, json,
        };
        common.AddTo(command);
        command.SetAction(result =>
        {
            if (result.GetValue(detached))
                LinuxProcess.LeaveSession();
            var session = common.Read(result, result.GetValue(overlay) is { } path ? [path] : [])[0];
            if (result.GetValue(name) is { } wanted && AttachName.Of(wanted) != wanted)
                throw new UsageException($"--name '{wanted}': must be a file name of at most {AttachName.MaxBytes} bytes, without '/' and "
                    + "control characters");
            if (!result.GetValue(foreground) && !result.GetValue(detached))
                return Background.Start(arguments, [], keptDescriptors: 0, ServiceManager.SayReady);
            // The initial RAM disk's daemons are those of the root file system.
            if (result.GetValue(survive) || File.Exists("/etc/initrd-release"))
                LinuxProcess.TryMarkAsRootStorage();
            var shape = new AttachedShape(result.GetValue(name), result.GetValue(partitions) ? PartitionScan.Wanted : PartitionScan.None,
                result.GetValue(allowRoot));
            Serve(session, result.GetValue(via)!, shape, common.StopPatience(result),
                new Manner(result.GetValue(detached), result.GetValue(quiet), result.GetValue(json)));
            return 0;
        });
        return command.WithExamples("""
              lincow attach work.cow                        # prints /dev/loop0, for example; also /dev/lincow/work
              mount $(lincow attach work.cow) /mnt
              lincow attach --origin golden.img             # forgotten when it is detached
              lincow attach work.cow --json | jq -r .device
              lincow detach work.cow
            """);
    }

    /// <summary>How it says what it does.</summary>
    private sealed record Manner(bool IsDetached, bool IsQuiet, bool IsJson);

    private static void Serve(OverlayOptions session, string via, AttachedShape shape, TimeSpan stopPatience, Manner manner)
    {
        WaitingDevice.CleanUnmade(session.Overlay);
        var waiting = WaitingDevice.Of(session.Overlay, session.Map);
        if (waiting is not null && via != AttachWays.Automatic && via != waiting.Export.Via)
            WaitingDevice.Refuse(session.Overlay, session.Map);
        var reasons = new List<string>();
        var ways = AttachWays.Choose(waiting?.Export.Via ?? via, reasons);
        // The threads that are made from here on get it from this one: the loop's, its ring's workers.
        LinuxProcess.TryBecomeIoFlusher();
        LinuxProcess.TryOutliveOthers();
        Log.Begin();
        var host = new Host(new HostOptions
        {
            Command = "attach",
            Log = CommandRunner.Warn,
            Describe = ErrorText.Of,
            StopTimeout = stopPatience,
            LoopFaults = LoopFaultPolicy.ProcessEnds,
            TakesOverDevices = true,
        });
        AttachedDevice device;
        Export export;
        try
        {
            export = host.AddRange([new ExportOptions { Overlay = session }])[0];
            host.Register();
            device = AttachedDevice.Attach(host, export, ways, reasons, shape, waiting?.Export);
            if (waiting is not null)
                WaitingDevice.Forget(waiting);
        }
        catch
        {
            host.StopAsync().GetAwaiter().GetResult();
            throw;
        }
        using var signals = Signals.Take(device.End, hangUpEnds: !manner.IsDetached);
        if (waiting is not null)
            CommandRunner.Warn($"goes on with {device.Path} by {device.Way.Name}, where its server died");
        else if (via == AttachWays.Automatic && !manner.IsQuiet)
            CommandRunner.Warn($"attached via {device.Way.Name}{(reasons.Count > 0 ? ", because " + string.Join("; ", reasons) : "")}");
        if (device.Device is null && !shape.AllowRoot && !Environment.IsPrivilegedProcess && !manner.IsQuiet)
            CommandRunner.Warn($"{device.Path}: only you can use this file, and not even root; with --allow-root root can, too");
        string[] lines = [manner.IsJson
            ? JsonSerializer.Serialize(AttachReport.Of(host.RecordOf(export)), Json.Default.AttachReport) : device.Path];
        if (manner.IsDetached)
        {
            Background.SayReady(lines, host.RedirectToLog);
        }
        else
        {
            Log.Drain();
            Console.Out.WriteLine(lines[0]);
            Console.Out.Flush();
            ServiceManager.SayReady();
        }
        device.WaitAndStopHost();
    }
}

/// <summary>What <c>attach</c> says of the device that it has made.</summary>
/// <param name="Pid">The process that serves it.</param>
/// <param name="Name">The overlay's name.</param>
/// <param name="Overlay">Its path; null for a transient one.</param>
/// <param name="Origin">Of a transient one.</param>
/// <param name="Size">The device's size in bytes.</param>
/// <param name="ReadOnly">Whether writes are refused.</param>
/// <param name="Via">How it is attached.</param>
/// <param name="Device">The block device; null where there is only a file.</param>
/// <param name="File">The file with its content.</param>
/// <param name="Link">The link to the device.</param>
internal sealed record AttachReport(int Pid, string Name, string? Overlay, string? Origin, long Size, bool ReadOnly, string? Via,
    string? Device, string? File, string? Link)
{
    public static AttachReport Of(ExportRecord export) => new(Environment.ProcessId, export.Name, export.Overlay, export.Origin,
        export.SizeBytes, export.ReadOnly, export.Via, export.Device, export.File, export.Link);
}
