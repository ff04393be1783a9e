using System.Globalization;
using System.Net.Sockets;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>
/// A server without descriptors: those who are connected go on, each listener complains once, and accepts again when there are some.
/// </summary>
public class DescriptorTests
{
    private const string Complaint = "Too many open files";

    [Fact]
    public void Every_listener_outlives_a_lack_of_descriptors()
    {
        Tool.Find("prlimit");
        using var scratch = new Scratch();
        var alone = new Dictionary<string, string> { ["LINCOW_RUN_DIR"] = scratch["run"] };
        Cli.Ok("create", scratch["a.cow"], "--origin", "zero:1M");
        var (socket, vhost) = (scratch.NewSocket(), scratch.NewSocket());
        using var server = LincowServer.Start([scratch["a.cow"], "--nbd", "unix:" + socket, "--vhost-user", vhost], 2, alone);
        using var connected = RawClient.Ready(server.Uri);
        connected.AssertAlive();
        // All numbers that are left are taken. (Far fewer, and poll(2) would refuse what the server waits for.)
        var used = Directory.GetFileSystemEntries($"/proc/{server.Id}/fd")
            .Select(path => int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture)).ToHashSet();
        Limit(server, Enumerable.Range(0, int.MaxValue).First(number => !used.Contains(number)));
        // They connect, and wait in the kernel's queue.
        using var nbd = new RawClient(server.Uri);
        using var machine = Connect(vhost);
        using var question = Connect(Directory.GetFiles(scratch["run"], "*.sock").Single());
        question.Send("{\"verb\":\"status\"}\n"u8);
        var end = DateTime.UtcNow + Tool.Timeout;
        while (Complaints(server) < 3)
        {
            Assert.True(DateTime.UtcNow < end, $"not all three complain:\n{server.Errors}");
            connected.AssertAlive();
        }
        // For as long as several tries take, nothing more is said.
        for (end = DateTime.UtcNow + TimeSpan.FromSeconds(2); DateTime.UtcNow < end;)
            connected.AssertAlive();
        Assert.Equal(3, Complaints(server));
        Limit(server, 1024);
        nbd.Greet(RawClient.FixedNewstyle);
        Assert.True(question.Receive(new byte[16]) > 0);
        // A message that is none has the connection closed: so it was accepted.
        machine.Send([.. Enumerable.Repeat((byte)0xff, 12)]);
        Assert.True(IsClosed(machine));
        connected.AssertAlive();
        server.Stop();
    }

    private static int Complaints(LincowServer server) => server.Errors.Split(Complaint).Length - 1;

    private static bool IsClosed(Socket socket)
    {
        try
        {
            return socket.Receive(new byte[1]) == 0;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode == SocketError.ConnectionReset;
        }
    }

    private static Socket Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 10_000 };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static void Limit(LincowServer server, int descriptors) =>
        Tool.Ok("prlimit", "--pid", server.Id.ToString(CultureInfo.InvariantCulture), $"--nofile={descriptors}:4096");
}
