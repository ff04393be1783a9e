using Lincow.Linux;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// The front end that uses one device by one socket: QEMU, Cloud Hypervisor, Firecracker. One at a time, for two guests with one disk would
/// ruin it; the next is accepted when the first is gone. It is accepted on the loop in front; from <see cref="Take"/> on it belongs to the
/// device's loop.
/// </summary>
/// <param name="export">The device.</param>
/// <param name="resume">Has the next one accepted. Called from the device's loop.</param>
/// <param name="log">Takes sentences for people.</param>
internal sealed class VhostServer(Export export, Action resume, Action<string> log)
{
    private const int Nobody = -1;

    // Whoever takes it out, one of two threads, has to close it.
    private int _onItsWay = Nobody;
    private VhostSession? _session;
    private bool _isStopping;
    private Action? _stopped;

    /// <summary>
    /// Takes over the socket of a front end, on any thread. False, as an <see cref="Acceptor"/> asks: nobody else until this one is gone.
    /// </summary>
    public bool Take(int socket)
    {
        Volatile.Write(ref _onItsWay, socket);
        export.Loop.Post(Begin);
        // It may have been abandoned a moment ago, and then nobody else would close this socket.
        if (export.Loop.IsAbandoned && TakeOut() is >= 0 and var late)
            LinuxSocket.Close(late);
        return false;
    }

    /// <summary>Whether a virtual machine is connected. On the device's loop.</summary>
    public bool IsConnected => _session is not null;

    /// <summary>
    /// Finishes what is in flight, and calls back when the connection is closed. On the device's loop; nobody may be accepted any more.
    /// </summary>
    public void Stop(Action stopped)
    {
        (_stopped, _isStopping) = (stopped, true);
        _session?.End();
        ReportIfStopped();
    }

    /// <summary>The device's loop has been abandoned: the front end sees its connection end. On the thread that ran the loop.</summary>
    public void LoseLoop()
    {
        _session?.LoseLoop();
        if (TakeOut() is >= 0 and var waiting)
            LinuxSocket.Close(waiting);
    }

    private int TakeOut() => Interlocked.Exchange(ref _onItsWay, Nobody);

    private void Begin()
    {
        var socket = TakeOut();
        if (socket < 0)
            return;
        if (_isStopping)
        {
            LinuxSocket.Close(socket);
            return;
        }
        _session = VhostSession.TryOpen(export, socket, log, SessionClosed);
        if (_session is not null)
        {
            _session.Start();
            return;
        }
        log($"{export.Name}: there is no memory for a vhost-user connection; it was closed");
        LinuxSocket.Close(socket);
        resume();
    }

    private void SessionClosed()
    {
        _session = null;
        if (_isStopping)
            ReportIfStopped();
        else
            resume();
    }

    private void ReportIfStopped()
    {
        if (_session is not null || _stopped is not { } stopped)
            return;
        _stopped = null;
        stopped();
    }
}
