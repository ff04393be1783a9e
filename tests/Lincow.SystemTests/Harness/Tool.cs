using System.Diagnostics;
using System.Text;

namespace Lincow.SystemTests.Harness;

/// <summary>What a process left behind.</summary>
internal sealed record ToolResult(string Command, int ExitCode, string Output, string Errors)
{
    public override string ToString() => $"{Command}\nexit status {ExitCode}\n--- stdout\n{Output}\n--- stderr\n{Errors}";
}

/// <summary>Runs other programs: output captured, never for longer than the timeout, and nothing of it left over.</summary>
internal static class Tool
{
    public static readonly TimeSpan Timeout = TimeSpan.FromSeconds(60);

    private static readonly string[] Directories = [.. (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':'), "/usr/sbin", "/sbin"];

    /// <summary>Runs a program and asserts exit status 0; returns its standard output.</summary>
    public static string Ok(string program, params string[] arguments)
    {
        var result = Run(program, arguments);
        Assert.True(result.ExitCode == 0, result.ToString());
        return result.Output;
    }

    public static ToolResult Run(string program, params string[] arguments) => Run(program, arguments, []);

    public static ToolResult Run(string program, string[] arguments, Dictionary<string, string> environment, TimeSpan? limit = null)
    {
        var start = new ProcessStartInfo(Find(program), arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        using var process = Surroundings.Start(start);
        process.StandardInput.Close();
        var (output, errors) = (new StringBuilder(), new StringBuilder());
        process.OutputDataReceived += (_, line) => Append(output, line.Data);
        process.ErrorDataReceived += (_, line) => Append(errors, line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        var command = $"{program} {string.Join(' ', arguments)}";
        if (!process.WaitForExit(limit ?? Timeout))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{command}\nstill ran after {(limit ?? Timeout).TotalSeconds} s\n--- stdout\n{output}\n--- stderr\n{errors}");
        }
        // Without a limit, this also waits for the last lines.
        process.WaitForExit();
        return new ToolResult(command, process.ExitCode, output.ToString(), errors.ToString());
    }

    /// <summary>The program's path. A missing one skips the test, but fails it in CI, where everything has to be there.</summary>
    public static string Find(string program)
    {
        if (program.StartsWith('/') && File.Exists(program))
            return program;
        foreach (var directory in Directories)
        {
            if (directory.Length > 0 && File.Exists(Path.Combine(directory, program)))
                return Path.Combine(directory, program);
        }
        Missing($"{program} is not installed");
        return program;
    }

    /// <summary>Something that the test needs isn't here.</summary>
    public static void Missing(string what)
    {
        if (Environment.GetEnvironmentVariable("CI") == "true")
            Assert.Fail(what + ", and CI=true says that nothing may be skipped");
        Assert.Skip(what);
    }

    public static void RequireRoot()
    {
        if (!Environment.IsPrivilegedProcess)
            Missing("this needs root, for loop devices and mounts");
    }

    private static void Append(StringBuilder text, string? line)
    {
        if (line is not null)
            text.Append(line).Append('\n');
    }
}
