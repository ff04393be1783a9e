using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>A server as a service of systemd's, or of whoever speaks as systemd does: sd_notify(3), sd_listen_fds(3), units.</summary>
public sealed class ServiceTests : IDisposable
{
    /// <summary>
    /// In systemd's place: listens at the paths or ports that are named, and starts lincow with them, as often as it is told to by a line.
    /// </summary>
    private const string Launcher = """
        import os, socket, sys
        sockets = []
        for place in sys.argv[2].split(','):
            if place.startswith('/'):
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(place)
            else:
                listener = socket.socket(socket.AF_INET)
                listener.bind(('127.0.0.1', int(place)))
            listener.listen(16)
            sockets.append(listener)
        print('listening', flush=True)
        for line in sys.stdin:
            pid = os.fork()
            if pid == 0:
                for number, listener in enumerate(sockets):
                    os.dup2(listener.fileno(), 100 + number)
                for number in range(len(sockets)):
                    os.dup2(100 + number, 3 + number)
                os.closerange(3 + len(sockets), 200)
                os.environ['LISTEN_FDS'] = str(len(sockets))
                os.environ['LISTEN_PID'] = str(os.getpid() + int(sys.argv[1]))
                os.execv(sys.argv[3], sys.argv[3:])
            print('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        """;

    private readonly Scratch _scratch = new();

    public ServiceTests() => Cli.Ok("create", _scratch["o.cow"], "--origin", "zero:1M");

    [Fact]
    public void Systemd_is_told_when_it_is_ready_and_when_it_stops()
    {
        using var manager = Manager(out var path);
        using var server = LincowServer.Start([_scratch["o.cow"], "--nbd", "unix:" + _scratch.NewSocket()],
            environment: new() { ["NOTIFY_SOCKET"] = path });
        Assert.Equal("READY=1", Receive(manager));
        server.Stop();
        Assert.Equal("STOPPING=1", Receive(manager));
    }

    [Fact]
    public void With_fork_systemd_is_told_which_process_is_the_service()
    {
        using var manager = Manager(out var path);
        Cli.Ok(new Dictionary<string, string> { ["NOTIFY_SOCKET"] = path }, "serve", _scratch["o.cow"], "--nbd",
            "unix:" + _scratch.NewSocket(), "--fork", "--pid-file", _scratch["pid"]);
        Assert.Equal($"MAINPID={File.ReadAllText(_scratch["pid"]).Trim()}\nREADY=1", Receive(manager));
        Cli.Ok("stop", _scratch["o.cow"]);
        Assert.Equal("STOPPING=1", Receive(manager));
    }

    [Theory]
    [InlineData("")]
    [InlineData("--fork")]
    public void Sockets_that_it_is_started_with_are_served_and_outlive_it(string fork)
    {
        var (first, second) = (_scratch.NewSocket(), _scratch.NewSocket());
        using var launcher = Launch($"{first},{second}", 0, ["serve", _scratch["o.cow"], .. fork.Split(' ',
            StringSplitOptions.RemoveEmptyEntries)]);
        for (var round = 0; round < 2; round++)
        {
            launcher.StandardInput.WriteLine("start");
            // Who connects before it is there waits; in the second round, in the queue of a socket that the first one had.
            using (var client = RawClient.Ready($"nbd+unix:///o?socket={first}", "o"))
                Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
            Assert.Equal($"ready nbd+unix:///o?socket={first}", launcher.StandardOutput.ReadLine());
            Assert.Equal($"ready nbd+unix:///o?socket={second}", launcher.StandardOutput.ReadLine());
            if (fork.Length > 0)
                Assert.Equal("ended 0", launcher.StandardOutput.ReadLine());
            using (var client = RawClient.Ready($"nbd+unix:///o?socket={second}", "o"))
                Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
            Cli.Ok("stop", second);
            if (fork.Length == 0)
                Assert.Equal("ended 0", launcher.StandardOutput.ReadLine());
            // They are the launcher's.
            Assert.True(File.Exists(first) && File.Exists(second));
        }
        launcher.StandardInput.Close();
        Assert.True(launcher.WaitForExit(Tool.Timeout));
    }

    [Fact]
    public void Sockets_that_are_meant_for_another_process_are_not_taken()
    {
        using var launcher = Launch(_scratch.NewSocket(), 1, ["serve", _scratch["o.cow"], "--nbd", "unix:" + _scratch["own"]]);
        launcher.StandardInput.WriteLine("start");
        Assert.Equal($"ready nbd+unix:///o?socket={_scratch["own"]}", launcher.StandardOutput.ReadLine());
        Cli.Ok("stop", _scratch["o.cow"]);
        Assert.Equal("ended 0", launcher.StandardOutput.ReadLine());
    }

    [Fact]
    public void A_descriptor_that_is_no_listening_socket_is_an_error()
    {
        var result = Tool.Run("bash", ["-c", """exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve "$1" """, Cli.Binary,
            _scratch["o.cow"]], []);
        Assert.Contains("descriptor 3", Cli.Error(result, Cli.Failed));
    }

    [Fact]
    public void Systemds_own_launcher_starts_it_with_the_first_client()
    {
        Tool.Find("systemd-socket-activate");
        var socket = _scratch.NewSocket();
        using var launcher = Surroundings.Start(new System.Diagnostics.ProcessStartInfo("systemd-socket-activate",
            ["--listen=" + socket, "--setenv=LINCOW_RUN_DIR", "--setenv=XDG_STATE_HOME", Cli.Binary, "serve", _scratch["o.cow"]])
        { RedirectStandardError = true, RedirectStandardOutput = true });
        // Its way to say that it listens.
        Assert.Contains("Listening", launcher.StandardError.ReadLine());
        using (var client = RawClient.Ready($"nbd+unix:///o?socket={socket}", "o"))
            Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
        Cli.Ok("stop", _scratch["o.cow"]);
        Assert.True(launcher.WaitForExit(Tool.Timeout));
        Assert.Equal(0, launcher.ExitCode);
    }

    [Fact]
    public void The_units_are_sound_and_what_they_start_gets_ready()
    {
        var service = Cli.InRepository("packaging/lincow-serve@.service");
        var socketUnit = Cli.InRepository("packaging/lincow-serve@.socket");
        if (Tool.Run("systemd-analyze", "--version").ExitCode == 0)
        {
            // The program is not installed here, which is the one thing that may be said.
            foreach (var unit in new[] { service, socketUnit })
                File.Copy(unit, _scratch[Path.GetFileName(unit).Replace("@.", "@data-work.cow.", StringComparison.Ordinal)]);
            var said = Tool.Run("systemd-analyze", "verify", "--man=no", _scratch["lincow-serve@data-work.cow.service"]);
            Assert.All(said.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Where(line => line.Contains("lincow", StringComparison.Ordinal)), line => Assert.Contains("not executable", line));
        }
        var command = File.ReadLines(service).Single(line => line.StartsWith("ExecStart=", StringComparison.Ordinal))["ExecStart=".Length..]
            .Replace("/usr/bin/lincow", Cli.Binary, StringComparison.Ordinal).Replace("/%I", _scratch["o.cow"], StringComparison.Ordinal)
            .Replace(" $LINCOW_OPTIONS", "", StringComparison.Ordinal);
        using var manager = Manager(out var path);
        using var launcher = Launch(_scratch["listen"], 0, command.Split(' ')[1..], path);
        launcher.StandardInput.WriteLine("start");
        Assert.Equal("READY=1", Receive(manager));
        Assert.Equal($"ready nbd+unix:///o?socket={_scratch["listen"]}", launcher.StandardOutput.ReadLine());
        Cli.Ok("stop", _scratch["o.cow"]);
        Assert.Equal("ended 0", launcher.StandardOutput.ReadLine());
    }

    public void Dispose()
    {
        Tool.Run(Cli.Binary, "stop", _scratch["o.cow"], "--quiet");
        _scratch.Dispose();
    }

    private static System.Diagnostics.Process Launch(string places, int pidOffset, string[] arguments, string? notify = null)
    {
        var start = new System.Diagnostics.ProcessStartInfo(Tool.Find("python3"),
            ["-c", Launcher, pidOffset.ToString(CultureInfo.InvariantCulture), places, Cli.Binary, .. arguments])
        { RedirectStandardInput = true, RedirectStandardOutput = true };
        if (notify is not null)
            start.Environment["NOTIFY_SOCKET"] = notify;
        var launcher = Surroundings.Start(start);
        Assert.Equal("listening", launcher.StandardOutput.ReadLine());
        return launcher;
    }

    private Socket Manager(out string path)
    {
        path = _scratch["notify"];
        var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        socket.Bind(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static string Receive(Socket manager)
    {
        var buffer = new byte[256];
        return Encoding.UTF8.GetString(buffer, 0, manager.Receive(buffer));
    }
}
