using System.Diagnostics;
using System.Text;

namespace Lincow.Bench.Running;

/// <summary>A cell, or a tool that it needs, that did not do its work. The message is for the report.</summary>
internal sealed class BenchException(string message) : Exception(message);

/// <summary>Runs other programs to their end: never for longer than they may, and nothing of them left over.</summary>
internal static class Tool
{
    private static readonly TimeSpan ShortTime = TimeSpan.FromSeconds(60);

    /// <summary>Runs a program that has to succeed, and returns its standard output.</summary>
    public static string Run(string program, IReadOnlyList<string> arguments, CancellationToken stop) =>
        Run(program, arguments, ShortTime, stop);

    public static string Run(string program, IReadOnlyList<string> arguments, TimeSpan limit, CancellationToken stop)
    {
        stop.ThrowIfCancellationRequested();
        using var process = Start(program, arguments, new Dictionary<string, string>());
        var (output, errors) = (new StringBuilder(), new StringBuilder());
        process.OutputDataReceived += (_, line) => output.Append(line.Data).Append('\n');
        process.ErrorDataReceived += (_, line) => errors.Append(line.Data).Append('\n');
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        using (stop.Register(() => Kill(process)))
        {
            if (!process.WaitForExit(limit))
            {
                Kill(process);
                throw new BenchException($"{Path.GetFileName(program)} still ran after {limit.TotalSeconds:0} s");
            }
        }
        // Without a limit, this also waits for the last lines.
        process.WaitForExit();
        stop.ThrowIfCancellationRequested();
        if (process.ExitCode != 0)
            throw new BenchException(
                $"{Path.GetFileName(program)} ended with status {process.ExitCode}: {OneLine($"{errors}\n{output}")}".TrimEnd(' ', ':'));
        return output.ToString();
    }

    /// <summary>The output of a program that may be missing or fail; only facts for the report are asked for so.</summary>
    public static string? Ask(string program, params string[] arguments)
    {
        try
        {
            return Run(program, arguments, CancellationToken.None).Trim();
        }
        catch (BenchException)
        {
            return null;
        }
    }

    public static Process Start(string program, IEnumerable<string> arguments, IReadOnlyDictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(program,
            arguments)
        { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        try
        {
            var process = Process.Start(start)!;
            process.StandardInput.Close();
            return process;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new BenchException($"{program} can't be started: {e.Message}");
        }
    }

    /// <summary>Ends a process that this program started, if it hasn't ended by itself.</summary>
    public static void Kill(Process process)
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (InvalidOperationException)
        {
            // It has ended meanwhile.
        }
    }

    /// <summary>A message for a table: one line, and not a long one.</summary>
    public static string OneLine(object text)
    {
        var line = string.Join(" | ", text.ToString()!.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        return line.Length <= 300 ? line : line[..300] + "...";
    }
}
