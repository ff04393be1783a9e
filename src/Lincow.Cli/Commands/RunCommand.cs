using System.CommandLine;
using System.ComponentModel;
using System.Diagnostics;
using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Serving.Attach;
using Lincow.Serving.Exports;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

internal static class RunCommand
{
    private const int NotExecutable = 126, NotFound = 127;

    public static Command Build(string[] commandLine)
    {
        var overlay = new Argument<string?>("OVERLAY")
        {
            Description = "The overlay; none for a transient one with --origin",
            Arity = ArgumentArity.ZeroOrOne
        };
        var common = new SessionArguments();
        var via = Options.Via();
        var noDevice = new Option<bool>("--no-device")
        {
            Description =
            "Don't attach: only $LINCOW_URI, which takes a few milliseconds less"
        };
        var command = new Command("run",
            "Serve an overlay while a command runs: lincow run OVERLAY -- COMMAND... The command finds the device's NBD URI in $LINCOW_URI "
                + "and, for root, a block device in $LINCOW_DEVICE; its exit status is lincow's. (127: there is no such command; "
                + "126: it can't be run.)")
        {
            overlay, via, noDevice,
        };
        common.AddTo(command);
        command.SetAction(result =>
        {
            if (commandLine.Length == 0)
                throw new UsageException("run: give a command behind '--', for example: lincow run work.cow -- sh -c 'nbdinfo "
                    + "\"$LINCOW_URI\"'");
            var sessions = common.Read(result, result.GetValue(overlay) is { } path ? [path] : []);
            if (!Directory.Exists(Path.GetTempPath()))
                throw new CommandException($"{Path.GetTempPath()}: the directory for temporary files (TMPDIR) does not exist");
            const string socket = "nbd.sock";
            var directory = SocketDirectory.Make("lincow-", socket);
            try
            {
                return Run(sessions, Path.Combine(directory, socket), result.GetValue(noDevice) ? null : result.GetValue(via),
                    commandLine, common.StopPatience(result));
            }
            finally
            {
                Directory.Delete(directory, recursive: true);
            }
        });
        return command.WithExamples("""
              lincow run work.cow -- sh -c 'nbdcopy "$LINCOW_URI" copy.img'
              lincow run work.cow -- sh -c 'mount "$LINCOW_DEVICE" /mnt; make -C /mnt/src; umount /mnt'
              lincow run --origin golden.img -- sh -c 'qemu-io -f raw -c "write 0 1M" "$LINCOW_URI"'   # forgotten afterwards
            """);
    }

    private static int Run(List<OverlayOptions> sessions, string socketPath, string? via, string[] commandLine, TimeSpan stopPatience)
    {
        AttachedDevice? device = null;
        Process? child = null;
        var wasTerminated = false;
        // Ctrl-C, and a terminal that is closed, go to the command as well; lincow waits for it to end, and then ends in order.
        using var signals = Signals.Take(terminated: () =>
        {
            wasTerminated = true;
            if (child is not null)
                LinuxProcess.Terminate(child.Id);
        }, interrupted: () => { }, hungUp: () => { });
        Log.Begin();
        var host = new Host(new HostOptions
        {
            Command = "run",
            Log = CommandRunner.Warn,
            Describe = ErrorText.Of,
            StopTimeout = stopPatience,
            LoopFaults = LoopFaultPolicy.ProcessEnds
        });
        try
        {
            var export = host.AddRange([new ExportOptions { Overlay = sessions[0] }])[0];
            var listener = host.Listen(new ListenAddress.Unix(socketPath));
            var start = new ProcessStartInfo(ProgramPath.Of(commandLine[0])) { UseShellExecute = false };
            foreach (var argument in commandLine.AsSpan(1))
                start.ArgumentList.Add(argument);
            if (NamesOfBytes.WrongVariables() is { Count: > 0 } changed)
                CommandRunner.Warn($"{string.Join(", ", changed)}: isn't UTF-8 in the environment, and the command gets it changed");
            start.Environment["LINCOW_URI"] = listener.UriOf(export);
            device = Attach(host, export, via);
            start.Environment["LINCOW_DEVICE"] = device?.Device;
            child = LinuxProcess.WithFormerLimits(() => Process.Start(start)!);
            if (wasTerminated)
                LinuxProcess.Terminate(child.Id);
            child.WaitForExit();
            return child.ExitCode;
        }
        catch (Win32Exception e)
        {
            // As a shell does: lincow's own failures are 1, and a command's own status is never taken for one.
            CommandRunner.Error($"{commandLine[0]}: can't be run: {Errno.Describe(e.NativeErrorCode)}");
            return e.NativeErrorCode == Errno.NoEntry ? NotFound : NotExecutable;
        }
        finally
        {
            device?.End();
            if (device is not null)
                device.WaitAndStopHost();
            else
                host.StopAsync().GetAwaiter().GetResult();
        }
    }

    /// <summary>Null where there can be no block device and none was asked for.</summary>
    private static AttachedDevice? Attach(Host host, Export export, string? via)
    {
        if (via is null || (via == AttachWays.Automatic && !Environment.IsPrivilegedProcess))
            return null;
        try
        {
            var reasons = new List<string>();
            var shape = new AttachedShape(Scan: PartitionScan.IfAny);
            return AttachedDevice.Attach(host, export, AttachWays.Choose(via, reasons), reasons, shape);
        }
        catch (LincowException) when (via == AttachWays.Automatic)
        {
            return null;
        }
    }
}
