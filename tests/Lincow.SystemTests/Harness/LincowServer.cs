using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// A running <c>lincow serve</c>. Dispose kills it if the test didn't stop it, so that a failed test leaves nothing running.
/// </summary>
internal sealed partial class LincowServer : IDisposable
{
    public const int Terminate = 15;

    private const int HangUp = 1, Interrupt = 2, Kill9 = 9, Continue = 18, Halt = 19;

    private readonly Process _process;
    private readonly List<string> _output = [], _errors = [];
    private readonly Lock _gate = new();

    private LincowServer(Process process) => _process = process;

    /// <summary>What 'ready' named, in the order in which it was said.</summary>
    public IReadOnlyList<string> Uris { get; private set; } = [];

    public string Uri => Uris[0];

    public int Id => _process.Id;

    public bool IsRunning => !_process.HasExited;

    public string Errors
    {
        get
        {
            lock (_gate)
                return string.Join('\n', _errors);
        }
    }

    /// <summary>VmRSS of /proc/PID/status: memory in use now, in KiB.</summary>
    public long ResidentKiB =>
        long.Parse(File.ReadLines($"/proc/{Id}/status")
            .Single(line => line.StartsWith("VmRSS:", StringComparison.Ordinal))[6..].Replace("kB", "", StringComparison.Ordinal),
            CultureInfo.InvariantCulture);

    public int Descriptors => Directory.GetFileSystemEntries($"/proc/{Id}/fd").Length;

    public int Threads => Directory.GetDirectories($"/proc/{Id}/task").Length;

    /// <summary>Serves on a Unix socket in the scratch directory.</summary>
    public static LincowServer Start(Scratch scratch, params string[] arguments) =>
        Start([.. arguments, "--nbd", "unix:" + scratch.NewSocket()]);

    public static LincowServer Start(string[] arguments, int readyLines = 1, Dictionary<string, string>? environment = null)
    {
        // A shell that runs the tests in the background lets its children ignore SIGINT.
        var start = new ProcessStartInfo("env", ["--default-signal=INT,HUP", Cli.Binary, "serve", .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var (name, value) in environment ?? [])
            start.Environment[name] = value;
        var server = new LincowServer(Surroundings.Start(start));
        server.AwaitReady(readyLines);
        return server;
    }

    /// <summary>SIGTERM: intake stops, what is in flight is finished, everything is flushed, exit status 0.</summary>
    public void Stop() => Stop(Terminate);

    public void StopByInterrupt() => Stop(Interrupt);

    public void StopByHangUp() => Stop(HangUp);

    /// <summary>A signal that should end nothing, or that the test waits for by itself.</summary>
    public void Send(int signal) => Send(_process.Id, signal);

    /// <summary>Waits until it has ended, and returns the exit status.</summary>
    public int AwaitEnd()
    {
        Assert.True(_process.WaitForExit(Tool.Timeout), $"the server does not end\n{Errors}");
        _process.WaitForExit();
        return _process.ExitCode;
    }

    /// <summary>SIGSTOP: the process stands still until <see cref="Resume"/>.</summary>
    public void Pause() => Send(_process.Id, Halt);

    public void Resume() => Send(_process.Id, Continue);

    /// <summary>kill -9.</summary>
    public void Kill()
    {
        Send(_process.Id, Kill9);
        Assert.True(_process.WaitForExit(Tool.Timeout), "the server outlived kill -9");
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit();
        }
        _process.Dispose();
    }

    private void Stop(int signal)
    {
        Assert.False(_process.HasExited, $"the server ended by itself\n{Errors}");
        Send(_process.Id, signal);
        Assert.True(_process.WaitForExit(TimeSpan.FromSeconds(20)), $"the server still runs 20 s after signal {signal}\n{Errors}");
        _process.WaitForExit();
        Assert.True(_process.ExitCode == 0, $"exit status {_process.ExitCode} after signal {signal}\n{Errors}");
        Cli.AssertNoStackTrace(Errors);
    }

    private void AwaitReady(int lines)
    {
        using var ready = new CountdownEvent(lines);
        using var ended = new ManualResetEventSlim();
        _process.OutputDataReceived += (_, line) =>
        {
            if (line.Data is null)
            {
                ended.Set();
                return;
            }
            lock (_gate)
                _output.Add(line.Data);
            if (line.Data.StartsWith("ready ", StringComparison.Ordinal) && !ready.IsSet)
                ready.Signal();
        };
        _process.ErrorDataReceived += (_, line) =>
        {
            lock (_gate)
                _errors.Add(line.Data ?? "");
        };
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        if (WaitHandle.WaitAny([ready.WaitHandle, ended.WaitHandle], Tool.Timeout) != 0 && !ready.IsSet)
        {
            Dispose();
            Assert.Fail($"lincow serve {string.Join(' ', _process.StartInfo.ArgumentList)} did not get ready\n{Errors}");
        }
        lock (_gate)
            Uris = [.. _output.Where(line => line.StartsWith("ready ", StringComparison.Ordinal)).Select(line => line["ready ".Length..])];
    }

    private static void Send(int process, int signal) =>
        Assert.True(Signal(process, signal) == 0, $"signal {signal} could not be sent to process {process}");

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);
}
