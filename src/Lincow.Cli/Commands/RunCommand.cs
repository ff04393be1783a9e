using System.CommandLine;
using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Cli.Commands;

internal static class RunCommand
{
    public static Command Build(string[] commandLine)
    {
        var overlay = new Argument<string?>("OVERLAY") { Description = "The overlay; none for a transient one with --origin", Arity = ArgumentArity.ZeroOrOne };
        var common = new SessionArguments();
        var command = new Command("run", "Serve an overlay while a command runs: lincow run OVERLAY -- COMMAND... The command finds the device's NBD URI in $LINCOW_URI; its exit status is lincow's.")
        {
            overlay,
        };
        common.AddTo(command);
        command.SetAction(result =>
        {
            if (commandLine.Length == 0)
                throw new UsageException("run: give a command behind '--', for example: lincow run work.cow -- sh -c 'nbdinfo \"$LINCOW_URI\"'");
            var sessions = common.Read(result, result.GetValue(overlay) is { } path ? [path] : []);
            if (!Directory.Exists(Path.GetTempPath()))
                throw new LincowException($"{Path.GetTempPath()}: the directory for temporary files (TMPDIR) does not exist");
            var directory = Directory.CreateTempSubdirectory("lincow-");
            try
            {
                return Run(sessions, Path.Combine(directory.FullName, "nbd.sock"), commandLine);
            }
            finally
            {
                directory.Delete(recursive: true);
            }
        });
        return command.WithExamples("""
              lincow run work.cow -- sh -c 'nbdcopy "$LINCOW_URI" copy.img'
              lincow run --origin golden.img -- sh -c 'qemu-io -f raw -c "write 0 1M" "$LINCOW_URI"'   # forgotten afterwards
            """);
    }

    private static int Run(List<Overlays.SessionOptions> sessions, string socketPath, string[] commandLine)
    {
        // Ctrl-C goes to the command as well; lincow waits for it to end, and then ends in order.
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
        var host = new ServeHost("run");
        host.Start(sessions, [], [new ListenAddress.Unix(socketPath)], tls: null);
        Process? child = null;
        var wasTerminated = false;
        using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            wasTerminated = true;
            if (child is not null)
                LinuxProcess.Terminate(child.Id);
        });
        try
        {
            var start = new ProcessStartInfo(commandLine[0]) { UseShellExecute = false };
            foreach (var argument in commandLine.AsSpan(1))
                start.ArgumentList.Add(argument);
            start.Environment["LINCOW_URI"] = host.Uris[0];
            child = Process.Start(start)!;
            if (wasTerminated)
                LinuxProcess.Terminate(child.Id);
            child.WaitForExit();
            return child.ExitCode;
        }
        catch (Win32Exception e)
        {
            throw new LincowException($"{commandLine[0]}: can't be run: {Errno.Describe(e.NativeErrorCode)}", e);
        }
        finally
        {
            host.Stop();
        }
    }
}
