using System.Diagnostics;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// A command that leaves a process in the background: the same command once more, in a session of its own. (A .NET process can't be forked
/// while it runs: the child would have only one of its threads.) What that one says until it is ready is said here, and if it doesn't get
/// ready, its exit status is ours.
/// </summary>
internal static class Background
{
    /// <summary>The hidden option of the process that stays.</summary>
    public const string Detached = "--detached";

    /// <summary>The first descriptor that isn't a standard stream.</summary>
    public const int FirstDescriptor = 3;

    /// <summary>Before the results, which are for standard output, and after them.</summary>
    private const string ReadyLine = "";

    /// <summary>Starts the process that stays, and waits until it is ready or has failed.</summary>
    /// <param name="arguments">The whole command line.</param>
    /// <param name="more">Arguments for the process that stays alone.</param>
    /// <param name="keptDescriptors">Descriptors behind the standard streams that it gets; it gets no others, so that nobody waits for the
    /// end of a pipe, or for a lock, that the background holds.</param>
    /// <param name="ready">Given its number, once it is ready.</param>
    public static int Start(string[] arguments, IEnumerable<string> more, int keptDescriptors, Action<int> ready)
    {
        // Behind the command's name: what comes behind a -- is no option.
        var own = NamesOfBytes.MayBeWrong(Environment.ProcessPath!) ? "/proc/self/exe" : Environment.ProcessPath!;
        var start = new ProcessStartInfo(own, [arguments[0], Detached, .. more, .. arguments[1..]])
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        };
        // mutation: callers-descriptors-kept
        LinuxProcess.KeepToItself(FirstDescriptor + keptDescriptors);
        using var server = Process.Start(start)!;
        using var signals = Signals.Take(() => LinuxProcess.Terminate(server.Id));
        // Nothing, unless the runtime itself ends.
        server.ErrorDataReceived += (_, line) => Console.Error.Write(line.Data is null ? "" : line.Data + "\n");
        server.BeginErrorReadLine();
        var isReady = false;
        while (server.StandardOutput.ReadLine() is { } line)
        {
            if (line != ReadyLine)
            {
                (isReady ? Console.Out : Console.Error).WriteLine(line);
            }
            else if (isReady)
            {
                ready(server.Id);
                return 0;
            }
            else
            {
                isReady = true;
            }
        }
        server.WaitForExit();
        return server.ExitCode == 0 ? CommandRunner.Failed : server.ExitCode;
    }

    /// <summary>For the process that stays: it is ready, with these results.</summary>
    /// <param name="results">Lines for the standard output of the command that was typed.</param>
    /// <param name="redirect">Has what it says from now on go elsewhere.</param>
    public static void SayReady(IEnumerable<string> results, Action redirect)
    {
        // What was said before comes before.
        Log.Drain();
        // So that no file system is held by it.
        Directory.SetCurrentDirectory("/");
        foreach (var line in results.Prepend(ReadyLine).Append(ReadyLine))
            Console.Out.WriteLine(line);
        Console.Out.Flush();
        redirect();
    }
}
