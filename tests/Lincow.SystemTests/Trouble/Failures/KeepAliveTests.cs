using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>A TCP client whose machine has died doesn't keep its place for ever.</summary>
public class KeepAliveTests
{
    [Fact]
    public void A_silent_TCP_client_is_asked_whether_it_is_still_there()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:2M");
        using var server = LincowServer.Start([scratch["o.cow"], "--nbd", "tcp:127.0.0.1:0"]);
        using var client = new TcpClient();
        client.Connect(IPAddress.Loopback, new Uri(server.Uri).Port);
        // The greeting: the server has taken the connection.
        client.GetStream().ReadExactly(new byte[18]);
        var port = ((IPEndPoint)client.Client.LocalEndPoint!).Port.ToString("X4", CultureInfo.InvariantCulture);
        // proc(5): the sixth field begins with the timer that is running; 2 is keepalive.
        Assert.True(SpinWait.SpinUntil(() =>
            File.ReadLines("/proc/net/tcp").Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Any(fields => fields[2].EndsWith(":" + port, StringComparison.Ordinal)
                && fields[5].StartsWith("02:", StringComparison.Ordinal)), 10_000), "no keepalive timer runs");
        server.Stop();
    }
}
