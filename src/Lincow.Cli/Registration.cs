using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Cli;

/// <summary>A serving process in the run directory: its record and its control socket, from <see cref="TryBegin"/> to <see cref="End"/>.</summary>
internal sealed class Registration
{
    private readonly RunDirectory _directory;
    private readonly LoopThread _thread;
    private readonly ControlServer _server;
    private ServingRecord _record;

    private Registration(RunDirectory directory, LoopThread thread, ControlServer server, ServingRecord record) =>
        (_directory, _thread, _server, _record) = (directory, thread, server, record);

    /// <summary>Null where there is no place for it: clients are served all the same.</summary>
    public static Registration? TryBegin(string command, LoopThread thread, List<ServedExport> exports, ControlHandler handler)
    {
        if (LinuxProcess.StartTime(Environment.ProcessId) is not { } startTime)
            return null;
        var record = new ServingRecord(Environment.ProcessId, startTime, command, DateTimeOffset.Now, exports);
        try
        {
            var directory = RunDirectory.Open();
            var server = new ControlServer(thread.Loop, handler);
            var socket = LinuxSocket.ListenUnix(RunDirectory.SocketPath(record));
            thread.Loop.Post(() => server.Listen(socket));
            directory.Write(record);
            return new Registration(directory, thread, server, record);
        }
        catch (Exception e) when (e is LincowException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Changes what the record says of an export.</summary>
    public void Update(int export, Func<ServedExport, ServedExport> change)
    {
        _record = _record with { Exports = [.. _record.Exports.Select((old, index) => index == export ? change(old) : old)] };
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
