using System.Text;
using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>A device for front ends of virtual machines, on the loop that owns it.</summary>
/// <param name="AlignmentBytes">What direct I/O asks of a buffer's address; 1 through the page cache.</param>
public sealed record VhostExport(string Name, BlockDevice Device, IoLoop Loop, int AlignmentBytes)
{
    /// <summary>Tells this opening of the device from any other.</summary>
    internal ulong Instance { get; } = (ulong)Random.Shared.NextInt64() | 1;

    /// <summary>What the guest sees as the disk's serial number (/sys/block/vda/serial): the first 20 bytes of the name.</summary>
    internal byte[] Id { get; } = MakeId(Name);

    private static byte[] MakeId(string name)
    {
        var id = new byte[VhostProtocol.IdBytes];
        Encoding.UTF8.GetEncoder().Convert(name, id, flush: true, out _, out _, out _);
        return id;
    }
}

/// <summary>
/// Listens for front ends of one device: QEMU, Cloud Hypervisor, Firecracker. One at a time, for two guests with one disk would ruin it;
/// the next is accepted when the first is gone. Listen and Stop run on the device's loop.
/// </summary>
public sealed class VhostServer(VhostExport export, int listener, Action<string> log) : IoCompletion
{
    /// <summary>Out of descriptors or memory: others have to leave first.</summary>
    private const int RetryMilliseconds = 100;

    private VhostSession? _session;
    private Action? _stopped;
    private bool _isAccepting, _isDelayed;

    public void Listen()
    {
        _isAccepting = true;
        export.Loop.Accept(listener, this);
    }

    /// <summary>Whether a virtual machine is connected. On the device's loop.</summary>
    public bool IsConnected => _session is not null;

    /// <summary>Accepts no more, finishes what is in flight, and calls back when the connection is closed.</summary>
    public void Stop(Action stopped)
    {
        _stopped = stopped;
        LinuxSocket.Shutdown(listener, LinuxSocket.ShutdownBoth);
        _session?.End();
        ReportIfStopped();
    }

    /// <summary>
    /// The device's loop has been abandoned: the front end sees its connection end, and nobody is accepted. On the thread that ran the
    /// loop.
    /// </summary>
    public void LoseLoop()
    {
        LinuxSocket.Shutdown(listener, LinuxSocket.ShutdownBoth);
        _session?.LoseLoop();
    }

    public override void Complete(int result)
    {
        _isAccepting = false;
        if (_stopped is not null)
        {
            if (result >= 0 && !_isDelayed)
                LinuxSocket.Close(result);
            ReportIfStopped();
        }
        else if (result >= 0 && !_isDelayed)
        {
            _session = VhostSession.TryOpen(export, result, log, SessionClosed);
            if (_session is not null)
            {
                _session.Start();
                return;
            }
            log($"{export.Name}: there is no memory for a vhost-user connection; it was closed");
            LinuxSocket.Close(result);
            Listen();
        }
        else if (_isDelayed || result is -Errno.Interrupted or -Errno.Again or -Errno.ConnectionReset or -103)
        {
            _isDelayed = false;
            Listen();
        }
        else
        {
            log($"{export.Name}: accepting a vhost-user connection failed: {Errno.Describe(-result)}");
            (_isDelayed, _isAccepting) = (true, true);
            export.Loop.Delay(RetryMilliseconds, this);
        }
    }

    private void SessionClosed()
    {
        _session = null;
        if (_stopped is not null)
            ReportIfStopped();
        else
            Listen();
    }

    private void ReportIfStopped()
    {
        if (_session is not null || _isAccepting || _stopped is not { } stopped)
            return;
        _stopped = null;
        LinuxSocket.Close(listener);
        stopped();
    }
}
