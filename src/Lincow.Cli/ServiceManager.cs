using System.Net.Sockets;

namespace Lincow.Cli;

/// <summary>Tells systemd that a service is ready, if it asked to be told (sd_notify(3)).</summary>
internal static class ServiceManager
{
    public static void SayReady()
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 1 } path)
            return;
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            // A name that begins with @ is an abstract one, which begins with a NUL.
            socket.SendTo("READY=1"u8, new UnixDomainSocketEndPoint(path[0] == '@' ? "\0" + path[1..] : path));
        }
        catch (SocketException e)
        {
            CommandRunner.Warn($"systemd couldn't be told that the device is ready: {e.Message}");
        }
    }
}
