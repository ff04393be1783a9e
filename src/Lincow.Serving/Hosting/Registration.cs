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
    private readonly IDisposable? _alive;
    private ServingRecord _record;

    private Registration(RunDirectory directory, LoopThread thread, ControlServer server, ServingRecord record, IDisposable? alive) =>
        (_directory, _thread, _server, _record, _alive) = (directory, thread, server, record, alive);

    /// <summary>Null, and why, where there is no place for it: clients are served all the same.</summary>
    public static Registration? TryBegin(string command, LoopThread thread, IReadOnlyList<ExportRecord> exports, ControlHandler handler,
        Action<string> log, out LincowError? why)
    {
        why = null;
        if (LinuxProcess.Own is not { } own)
            return null;
        var record = new ServingRecord(own.Id, own.StartTime, command, DateTimeOffset.Now, exports,
            Interlocked.Increment(ref s_hostCount) - 1, LinuxProcess.Namespace);
        IDisposable? alive = null;
        try
        {
            var directory = RunDirectory.Open();
            alive = RunDirectory.TryLock(record);
            var server = new ControlServer(thread.Loop, handler, log);
            var socket = LinuxSocket.ListenUnix(RunDirectory.SocketPath(record));
            thread.Loop.Post(() => server.Listen(socket));
            directory.Write(record);
            return new Registration(directory, thread, server, record, alive);
        }
        catch (Exception e) when (e is LincowException or IOException or UnauthorizedAccessException)
        {
            why = (e as LincowException)?.Error ?? ControlErrors.RecordUnwritable(RunDirectory.DefaultPath, e);
            if (alive is not null)
            {
                RunDirectory.Remove(record);
                alive.Dispose();
            }
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
        _alive?.Dispose();
    }
}
