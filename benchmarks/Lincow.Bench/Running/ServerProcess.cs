using System.Diagnostics;
using System.Globalization;

namespace Lincow.Bench.Running;

/// <summary>
/// A server under test, from its start to its end. Dispose kills it if it wasn't stopped, so that a failed cell leaves nothing running.
/// </summary>
internal sealed class ServerProcess : IDisposable
{
    private static readonly TimeSpan ReadyLimit = TimeSpan.FromSeconds(60);

    /// <summary>A server flushes at its end, which may be gigabytes on a slow disk.</summary>
    private static readonly TimeSpan StopLimit = TimeSpan.FromMinutes(10);

    private const int KeptErrorLines = 5;

    private readonly Process _process;
    private readonly string _name;
    private readonly Queue<string> _errors = [];
    private readonly Lock _gate = new();

    private ServerProcess(Process process, string name) => (_process, _name) = (process, name);

    public bool IsRunning => !_process.HasExited;

    /// <summary>User and system time so far, of all its threads and of children that have ended.</summary>
    public double CpuSeconds
    {
        get
        {
            // The second field is the program's name in parentheses and may hold anything; the fields after it count from 3.
            var stat = ReadProc("stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[11..15].Sum(ticks => long.Parse(ticks, CultureInfo.InvariantCulture)) / Posix.TicksPerSecond;
        }
    }

    public long ResidentKiB => StatusKiB("VmRSS:");

    public long PeakKiB => StatusKiB("VmHWM:");

    /// <summary>Starts the server and returns at once.</summary>
    public static ServerProcess Start(string[] command, IReadOnlyDictionary<string, string> environment)
    {
        var process = Tool.Start(command[0], command[1..], environment);
        var server = new ServerProcess(process, Path.GetFileName(command[0]));
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, line) => server.KeepError(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return server;
    }

    /// <summary>Waits until the server listens, and connects.</summary>
    public NbdProbe Connect(string socketPath, CancellationToken stop, string export = "")
    {
        try
        {
            return NbdProbe.Connect(socketPath, export, ReadyLimit, () => IsRunning, stop);
        }
        catch (BenchException e)
        {
            throw new BenchException($"{_name}: {e.Message}{Errors()}");
        }
    }

    /// <summary>SIGTERM, and the wait for everything that the server does before it ends.</summary>
    public void Stop()
    {
        if (_process.HasExited)
            throw new BenchException($"{_name} ended by itself{Errors()}");
        _ = Posix.Kill(_process.Id, Posix.SigTerm);
        if (!_process.WaitForExit(StopLimit))
            throw new BenchException($"{_name} still runs {StopLimit.TotalMinutes:0} minutes after SIGTERM{Errors()}");
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            Tool.Kill(_process);
            _process.WaitForExit();
        }
        _process.Dispose();
    }

    private void KeepError(string? line)
    {
        if (string.IsNullOrWhiteSpace(line))
            return;
        lock (_gate)
        {
            _errors.Enqueue(line);
            if (_errors.Count > KeptErrorLines)
                _errors.Dequeue();
        }
    }

    private string Errors()
    {
        lock (_gate)
            return _errors.Count == 0 ? "" : ": " + Tool.OneLine(string.Join('\n', _errors));
    }

    private long StatusKiB(string field)
    {
        var line = ReadProc("status").Split('\n').FirstOrDefault(line => line.StartsWith(field, StringComparison.Ordinal));
        return line is null ? 0 : long.Parse(line[field.Length..].Replace("kB", "", StringComparison.Ordinal),
            CultureInfo.InvariantCulture);
    }

    private string ReadProc(string name)
    {
        try
        {
            return File.ReadAllText($"/proc/{_process.Id}/{name}");
        }
        catch (IOException)
        {
            throw new BenchException($"{_name} ended by itself{Errors()}");
        }
    }
}
