using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Serving.Hosting;

/// <summary>A host in the run directory: its record and its control socket, from <see cref="TryBegin"/> to <see cref="End"/>.</summary>
internal sealed class Registration
{
    private static int s_hostCount;

    private readonly RunDirectory _directory;
    private readonly LoopThread _thread;
    private readonly ControlServer _server;
    private ServingRecord _record;

    private Registration(RunDirectory directory, LoopThread thread, ControlServer server, ServingRecord record) =>
        (_directory, _thread, _server, _record) = (directory, thread, server, record);

    /// <summary>Null, and why, where there is no place for it: clients are served all the same.</summary>
    public static Registration? TryBegin(string command, LoopThread thread, IReadOnlyList<ExportRecord> exports, ControlHandler handler,
        Action<string> log, out LincowError? why)
    {
        why = null;
        if (LinuxProcess.StartTime(Environment.ProcessId) is not { } startTime)
            return null;
        var record = new ServingRecord(Environment.ProcessId, startTime, command, DateTimeOffset.Now, exports,
            Interlocked.Increment(ref s_hostCount) - 1);
        try
        {
            var directory = RunDirectory.Open();
            var server = new ControlServer(thread.Loop, handler, log);
            var socket = LinuxSocket.ListenUnix(RunDirectory.SocketPath(record));
            thread.Loop.Post(() => server.Listen(socket));
            directory.Write(record);
            return new Registration(directory, thread, server, record);
        }
        catch (Exception e) when (e is LincowException or IOException or UnauthorizedAccessException)
        {
            why = (e as LincowException)?.Error ?? ControlErrors.RecordUnwritable(RunDirectory.DefaultPath, e);
            return null;
        }
    }

    /// <summary>Writes down what is served now.</summary>
    public void Write(IReadOnlyList<ExportRecord> exports)
    {
        _record = _record with { Exports = exports };
        _directory.Write(_record);
    }

    public void RedirectToLog() => LinuxProcess.RedirectStandardStreams(RunDirectory.LogPath(_record));

    /// <summary>Answers nobody who has not asked yet.</summary>
    public void StopAsking() => _thread.Loop.Invoke(_server.StopAsking);

    /// <summary>Replies to whoever waits for one, then leaves nothing behind.</summary>
    public void End()
    {
        _thread.Loop.InvokeUntilEnded(_server.Stop);
        RunDirectory.Remove(_record);
    }
}
