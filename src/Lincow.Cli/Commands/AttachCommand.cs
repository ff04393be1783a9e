using System.CommandLine;
using System.Diagnostics;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Attach;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

internal static class AttachCommand
{
    private const string Detached = "--detached";

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
        var detached = new Option<bool>(Detached) { Hidden = true };
        var command = new Command("attach",
            "Make a block device of an overlay (for root; a file for others), served by a process in the background. Prints its path, "
                + "alone on the last line.")
        {
            overlay, via, name, partitions, survive, allowRoot, foreground, detached,
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
                return StartInBackground(arguments);
            // The initial RAM disk's daemons are those of the root file system.
            if (result.GetValue(survive) || File.Exists("/etc/initrd-release"))
                LinuxProcess.TryMarkAsRootStorage();
            Serve(session, result.GetValue(via)!, new AttachedShape(result.GetValue(name), result.GetValue(partitions),
                result.GetValue(allowRoot)), result.GetValue(detached), common.StopPatience(result));
            return 0;
        });
        return command.WithExamples("""
              lincow attach work.cow                        # prints /dev/loop0, for example; also /dev/lincow/work
              mount $(lincow attach work.cow) /mnt
              lincow attach --origin golden.img             # forgotten when it is detached
              lincow detach work.cow
            """);
    }

    // The same command once more, in a session of its own. What it says, up to the device's path, is ours to say.
    private static int StartInBackground(string[] arguments)
    {
        var own = NamesOfBytes.MayBeWrong(Environment.ProcessPath!) ? "/proc/self/exe" : Environment.ProcessPath!;
        var start = new ProcessStartInfo(own, [.. arguments, Detached])
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true
        };
        // mutation: callers-descriptors-kept
        LinuxProcess.KeepDescriptorsToItself();
        using var server = Process.Start(start)!;
        while (server.StandardOutput.ReadLine() is { } line)
        {
            if (line.StartsWith('/'))
            {
                Console.Out.WriteLine(line);
                return 0;
            }
            Console.Error.WriteLine(line);
        }
        server.WaitForExit();
        return server.ExitCode == 0 ? CommandRunner.Failed : server.ExitCode;
    }

    private static void Serve(OverlayOptions session, string via, AttachedShape shape, bool isDetached, TimeSpan stopPatience)
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
        try
        {
            var export = host.AddRange([new ExportOptions { Overlay = session }])[0];
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
        using var signals = Signals.Take(device.End, hangUpEnds: !isDetached);
        if (waiting is not null)
            CommandRunner.Warn($"goes on with {device.Path} by {device.Way.Name}, where its server died");
        else if (via == AttachWays.Automatic)
            CommandRunner.Warn($"attached via {device.Way.Name}{(reasons.Count > 0 ? ", because " + string.Join("; ", reasons) : "")}");
        if (device.Device is null && !shape.AllowRoot && !Environment.IsPrivilegedProcess)
            CommandRunner.Warn($"{device.Path}: only you can use this file, and not even root; with --allow-root root can, too");
        // Whoever started us reads up to the path.
        Log.Drain();
        Console.Out.WriteLine(device.Path);
        Console.Out.Flush();
        if (isDetached)
        {
            // So that no file system is held by it.
            Directory.SetCurrentDirectory("/");
            host.RedirectToLog();
        }
        else
        {
            ServiceManager.SayReady();
        }
        device.WaitAndStopHost();
    }
}
