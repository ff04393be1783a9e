using System.Diagnostics;
using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>A server in the background, for a parent, with a file of its number.</summary>
public sealed class ServeLifeTests : IDisposable
{
    private readonly Scratch _scratch = new();

    private string Overlay => _scratch["o.cow"];

    private string Socket => _scratch["s"];

    public ServeLifeTests() => Cli.Ok("create", Overlay, "--origin", "zero:1M");

    [Fact]
    public void Fork_returns_when_clients_can_connect_and_the_server_goes_on()
    {
        // Standard output and error come to their end: the server holds neither.
        var output = Cli.Ok("serve", Overlay, "--nbd", "unix:" + Socket, "--fork", "--pid-file", _scratch["pid"]);
        Assert.Equal($"ready nbd+unix:///o?socket={Socket}\n", output);
        var pid = int.Parse(File.ReadAllText(_scratch["pid"]), CultureInfo.InvariantCulture);
        Assert.Equal(pid + "\n", File.ReadAllText(_scratch["pid"]));
        using (var client = RawClient.Ready(output.Trim()["ready ".Length..], "o"))
            Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, new byte[4096]).Error);
        // The terminal that started it is closed: nothing to somebody in the background.
        Tool.Ok("kill", "-HUP", pid.ToString(CultureInfo.InvariantCulture));
        Assert.Contains($"by process {pid} ", Cli.Ok("status", Overlay));
        Assert.Equal($"stopped {Overlay}\n", Cli.Ok("stop", Overlay));
        Assert.False(IsRunning(pid));
        Assert.False(File.Exists(_scratch["pid"]));
        var facts = Cli.Info(Overlay);
        Assert.Equal((true, 1L), (facts.Clean, facts.Chunks.Data + facts.Chunks.Zero));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Surroundings.RunDirectory));
    }

    [Theory]
    [InlineData(1, "missing.cow", "there is no such file")]
    [InlineData(1, "--origin|zero:1M|--nbd|unix:/dev/null/s", "/dev/null/s")]
    [InlineData(1, "--origin|zero:1M|--pid-file|/dev/null/p", "/dev/null/p")]
    [InlineData(2, "--origin|zero:1M|--name|a|--name|b", "2 names")]
    public void What_goes_wrong_before_it_is_ready_comes_out_of_fork(int status, string arguments, string expected)
    {
        var result = Cli.Run(["serve", "--fork", "--nbd", "unix:" + Socket, .. arguments.Split('|')]);
        Assert.Contains(expected, Cli.Error(result, status));
        Assert.Empty(result.Output);
        Assert.Empty(Directory.Exists(Surroundings.RunDirectory) ? Directory.GetFileSystemEntries(Surroundings.RunDirectory) : []);
    }

    [Fact]
    public void The_background_holds_nothing_of_the_caller()
    {
        // A lock, a pipe that somebody reads to its end, a directory; and the paths were relative.
        Bash("""
            cd "$DIRECTORY"
            exec 9>lock
            flock 9
            mkfifo pipe
            cat pipe >read &
            exec 8>pipe
            "$LINCOW" serve o.cow --nbd unix:s --fork --pid-file pid
            exec 8>&- 9>&-
            wait
            flock --nonblock lock true
            test "$(readlink /proc/$(cat pid)/cwd)" = /
            ls -l /proc/$(cat pid)/fd/0 /proc/$(cat pid)/fd/1 /proc/$(cat pid)/fd/2
            "$LINCOW" reset o.cow
            "$LINCOW" stop o.cow
            test ! -e pid
            """);
    }

    [Fact]
    public void A_file_that_is_no_pid_file_is_left_alone_and_an_old_one_is_replaced()
    {
        var image = _scratch.Random("image", 4096);
        var before = Scratch.Sha256(image);
        foreach (var fork in new[] { new[] { "--fork" }, [] })
            Assert.Contains("--pid-file", Cli.Fails(["serve", Overlay, "--nbd", "unix:" + Socket, "--pid-file", image, .. fork]));
        Assert.Equal(before, Scratch.Sha256(image));
        File.WriteAllText(_scratch["pid"], "4711\n");
        using var server = LincowServer.Start(_scratch, Overlay, "--pid-file", _scratch["pid"]);
        Assert.Equal(server.Id + "\n", File.ReadAllText(_scratch["pid"]));
        // Somebody else's by now.
        File.WriteAllText(_scratch["pid"], "4711\n");
        server.Stop();
        Assert.Equal("4711\n", File.ReadAllText(_scratch["pid"]));
    }

    [Theory]
    [InlineData("")]
    [InlineData("--fork")]
    public void With_its_parent_the_server_ends_in_order(string fork)
    {
        using var parent = Surroundings.Start(new ProcessStartInfo("bash", ["-c", """
            "$0" serve "$1" --nbd "unix:$2" --exit-with-parent --pid-file "$3" $4 &
            wait $!
            read -r line
            """, Cli.Binary, Overlay, Socket, _scratch["pid"], fork])
        { RedirectStandardInput = true, RedirectStandardOutput = true });
        Assert.StartsWith("ready", parent.StandardOutput.ReadLine());
        var pid = int.Parse(File.ReadAllText(_scratch["pid"]), CultureInfo.InvariantCulture);
        using (var client = RawClient.Ready($"nbd+unix:///o?socket={Socket}", "o"))
            Assert.Equal(0u, client.Ask(RawClient.Write, 0, 4096, [.. Enumerable.Repeat((byte)1, 4096)]).Error);
        using var server = Process.GetProcessById(pid);
        parent.Kill();
        Assert.True(server.WaitForExit(Tool.Timeout), "the server outlives its parent");
        var facts = Cli.Info(Overlay);
        Assert.Equal((true, 1L), (facts.Clean, facts.Chunks.Data));
        Assert.False(File.Exists(_scratch["pid"]));
    }

    public void Dispose()
    {
        Tool.Run(Cli.Binary, "stop", Overlay, "--quiet");
        _scratch.Dispose();
    }

    // Whoever took the orphan over may leave it as a zombie.
    private static bool IsRunning(int pid) => File.Exists($"/proc/{pid}/stat")
        && !File.ReadAllText($"/proc/{pid}/stat").Contains(") Z ", StringComparison.Ordinal);

    private string Bash(string script)
    {
        var result = Tool.Run("bash", ["-euc", script], new() { ["LINCOW"] = Cli.Binary, ["DIRECTORY"] = _scratch.Directory });
        Assert.True(result.ExitCode == 0, result.ToString());
        return result.Output;
    }
}
