using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>
/// One overlay's disk stands still, fails, or its log does: everybody else goes on, questions are answered, and the server comes to its
/// end.
/// </summary>
public sealed class StandstillTests : IDisposable
{
    private readonly Scratch _scratch = new();

    [Theory]
    [InlineData("write")]
    [InlineData("trims")]
    [InlineData("map")]
    [InlineData("snapshot")]
    [InlineData("transient")]
    public void A_file_system_that_is_frozen_holds_up_its_own_overlay_alone(string what)
    {
        using var disk = new SmallDisk(_scratch, 64);
        var onDisk = Path.Combine(disk.Path, "a");
        string[] frozen = what switch
        {
            "map" => [Made("a.cow", "--map", onDisk)],
            "snapshot" => [Made(onDisk, "--store", "snapshot")],
            "transient" => ["--overlay", disk.Path, "--origin", "zero:16M"],
            _ => [Made(onDisk)],
        };
        // A transient overlay is served alone: its neighbour is another server's.
        var others = what == "transient" ? [] : new[] { Made("b.cow"), Made("c.cow") };
        using var server = LincowServer.Start([.. frozen, .. others, "--stop-timeout", "2", "--nbd", "unix:" + _scratch.NewSocket()],
            Math.Max(1, others.Length + 1));
        var name = what == "transient" ? "zero" : "a";
        using var a = RawClient.Ready(server.Uri, name);
        Assert.Equal(0u, a.Ask(RawClient.Write, 0, 4 << 20, new byte[4 << 20]).Error);
        Assert.Equal(0u, a.Ask(RawClient.Flush, 0, 0).Error);
        var clients = others.Select(overlay => RawClient.Ready(server.Uri, Path.GetFileNameWithoutExtension(overlay))).ToList();
        Tool.Ok("fsfreeze", "--freeze", disk.Path);
        try
        {
            if (what == "trims")
            {
                for (var i = 0u; i < 200; i++)
                    a.Send(RawClient.Request(RawClient.Trim, 1000 + i, i << 16, 1 << 16));
            }
            a.Send([.. RawClient.Request(RawClient.Write, 1, 8 << 20, 4096), .. new byte[4096]]);
            a.Send(RawClient.Request(RawClient.Flush, 2, 0, 0));
            // Each has ten seconds to be answered, on a machine where it takes one millisecond.
            foreach (var client in clients)
            {
                Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
                Assert.Equal(0u, client.Ask(RawClient.Write, 1 << 20, 1 << 20, new byte[1 << 20]).Error);
                Assert.Equal(0u, client.Ask(RawClient.Trim, 1 << 20, 1 << 20).Error);
                Assert.Equal(0u, client.Ask(RawClient.Flush, 0, 0).Error);
            }
            if (others.Length > 0)
            {
                using var fresh = RawClient.Ready(server.Uri, "b");
                fresh.AssertAlive();
            }
            using (var greeted = new RawClient(server.Uri))
                greeted.Greet(RawClient.FixedNewstyle);
            Assert.Contains(name, Cli.Ok("status"));
            server.Send(15);
            var clock = Stopwatch.StartNew();
            while (!server.Errors.Contains("stands still", StringComparison.Ordinal) && clock.Elapsed < Tool.Timeout)
                Thread.Sleep(20);
            Assert.Contains("stands still", server.Errors);
            // What goes well is flushed and closed by then, whatever stands still.
            Assert.All(others, overlay => Assert.True(Cli.Info(overlay).Clean, overlay));
            Assert.False(File.Exists(server.Uri[(server.Uri.IndexOf("socket=", StringComparison.Ordinal) + 7)..]));
        }
        finally
        {
            Tool.Ok("fsfreeze", "--unfreeze", disk.Path);
        }
        Assert.Equal(1, server.AwaitEnd());
        clients.ForEach(client => client.Dispose());
    }

    [Fact]
    public void A_server_whose_store_lies_on_a_file_system_that_has_shut_down_answers_questions_and_serves_the_others()
    {
        Tool.RequireRoot();
        var image = _scratch.Sparse("xfs.img", 512L << 20);
        Tool.Ok("mkfs.xfs", "-q", image);
        var mounted = _scratch["xfs"];
        Directory.CreateDirectory(mounted);
        Tool.Ok("mount", "-o", "loop", image, mounted);
        try
        {
            var (lost, kept) = (Made(Path.Combine(mounted, "a.snap"), "--store", "snapshot"), Made("b.cow"));
            using var server = LincowServer.Start([lost, kept, "--nbd", "unix:" + _scratch.NewSocket()], 2);
            using var a = RawClient.Ready(server.Uri, "a");
            Assert.Equal(0u, a.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
            using var b = RawClient.Ready(server.Uri, "b");
            ShutDown(mounted);
            for (var i = 0; i < 3; i++)
            {
                Assert.Contains("a.snap", Cli.Ok("status"));
                Assert.Contains("a.snap", Cli.Ok("status", "--json"));
                Cli.Ok("status", "--dm");
                // The kernel says EIO, however often it is asked, and for whatever.
                Assert.NotEqual(0u, a.Ask(RawClient.Write, (ulong)(i + 1) << 20, 4096, new byte[4096]).Error);
                Assert.NotEqual(0u, a.Ask(RawClient.Flush, 0, 0).Error);
                Assert.Equal(0u, b.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
            }
            Assert.True(server.IsRunning, server.Errors);
            server.Send(15);
            Assert.Equal(1, server.AwaitEnd());
            Cli.AssertNoStackTrace(server.Errors);
            Assert.True(Cli.Info(kept).Clean);
        }
        finally
        {
            Tool.Run("umount", "--lazy", mounted);
        }
    }

    [Fact]
    public void Servers_that_stand_still_are_waited_for_together()
    {
        var servers = Enumerable.Range(0, 4).Select(i => LincowServer.Start(_scratch, Made($"still{i}.cow"))).ToList();
        servers.ForEach(server => server.Pause());
        // Each is given five seconds.
        var clock = Stopwatch.StartNew();
        var said = Cli.Ok("status");
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(15));
        Assert.All(Enumerable.Range(0, 4), i => Assert.Contains($"still{i}: ", said));
        Assert.Equal(4, said.Split("it doesn't answer").Length - 1);
        servers.ForEach(server => server.Dispose());
    }

    [Fact]
    public void A_terminal_that_is_closed_ends_serve_in_order_and_signals_without_a_meaning_end_nothing()
    {
        var overlay = Made("a.cow");
        using var server = LincowServer.Start(_scratch, overlay);
        using (var client = RawClient.Ready(server.Uri))
        {
            foreach (var signal in (int[])[10, 12, 13, 14, 16, 24, 25, 26, 27, 29, 30, .. Enumerable.Range(34, 31)])
            {
                server.Send(signal);
                client.AssertAlive();
            }
            Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
        }
        server.StopByHangUp();
        var info = Cli.Info(overlay);
        Assert.True(info.Clean);
        Assert.Equal(1, info.Chunks.Data);
    }

    [Fact]
    public void A_file_that_may_not_grow_is_an_error_of_that_write()
    {
        Tool.Find("prlimit");
        var overlay = Made("a.cow");
        using var server = LincowServer.Start(_scratch, overlay);
        using var client = RawClient.Ready(server.Uri);
        Tool.Ok("prlimit", "--pid", server.Id.ToString(CultureInfo.InvariantCulture), "--fsize=4194304");
        Assert.NotEqual(0u, client.Ask(RawClient.Write, 8 << 20, 4096, new byte[4096]).Error);
        Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
        Assert.Equal(0u, client.Ask(RawClient.Flush, 0, 0).Error);
    }

    [Fact]
    public void A_log_that_nobody_reads_holds_up_nobody()
    {
        var overlay = Made("a.cow");
        var (socket, vhost) = (_scratch.NewSocket(), _scratch.NewSocket());
        // Standard error is a pipe whose reader sleeps.
        using var shell = Surroundings.Start(new ProcessStartInfo("bash",
            ["-c", "exec \"$@\" 2> >(exec sleep 60)", "-", Cli.Binary, "serve", overlay, "--nbd", "unix:" + socket, "--vhost-user", vhost])
        {
            RedirectStandardOutput = true,
        });
        try
        {
            Assert.StartsWith("ready", shell.StandardOutput.ReadLine());
            for (var i = 0; i < 3000; i++)
            {
                using var bad = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 10_000 };
                bad.Connect(new UnixDomainSocketEndPoint(vhost));
                bad.Send(Encoding.ASCII.GetBytes(new string('\xff', 12)));
                Closed(bad);
            }
            using (var client = RawClient.Ready("nbd+unix:///?socket=" + socket))
                client.AssertAlive();
            Tool.Ok("kill", "-TERM", shell.Id.ToString(CultureInfo.InvariantCulture));
            Assert.True(shell.WaitForExit(Tool.Timeout), "the server does not end");
            Assert.True(Cli.Info(overlay).Clean);
        }
        finally
        {
            shell.Kill(entireProcessTree: true);
        }
    }

    public void Dispose() => _scratch.Dispose();

    private static void Closed(Socket socket)
    {
        try
        {
            Assert.Equal(0, socket.Receive(new byte[1]));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            // That is an end, too.
        }
    }

    private string Made(string name, params string[] more)
    {
        var path = Path.IsPathRooted(name) ? name : _scratch[name];
        Cli.Ok(["create", path, "--origin", "zero:16M", .. more]);
        return path;
    }

    // XFS_IOC_GOINGDOWN, without flushing the log.
    private static void ShutDown(string mounted) =>
        Tool.Ok("python3", "-c",
            "import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))", mounted);
}
