using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>Tells systemd how a service is, if it asked to be told (sd_notify(3)).</summary>
internal static class ServiceManager
{
    /// <summary>It can be used.</summary>
    public static void SayReady() => Say("READY=1");

    /// <summary>It can be used, and is another process than the one that was started.</summary>
    public static void SayReady(int mainProcessId) => Say(string.Create(CultureInfo.InvariantCulture, $"MAINPID={mainProcessId}\nREADY=1"));

    /// <summary>It takes no more, and ends when what is there has been written.</summary>
    public static void SayStopping() => Say("STOPPING=1");

    private static void Say(string state)
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 1 } path)
            return;
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            // A name that begins with @ is an abstract one, which begins with a NUL.
            socket.SendTo(Encoding.ASCII.GetBytes(state), new UnixDomainSocketEndPoint(path[0] == '@' ? "\0" + path[1..] : path));
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            CommandRunner.Warn($"NOTIFY_SOCKET={path}: systemd couldn't be told '{state.ReplaceLineEndings(" ")}': {SystemReason.Of(e)}");
        }
    }
}
