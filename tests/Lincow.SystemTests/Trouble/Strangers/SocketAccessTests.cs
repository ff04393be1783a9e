using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Strangers;

/// <summary>Who may connect to the sockets of serve: its owner, and those who are let in.</summary>
public class SocketAccessTests
{
    private const string Nobody = "65534", Group = "65533";

    [Theory]
    [InlineData(new[] { "--socket-group", Group }, "660 65533")]
    [InlineData(new[] { "--socket-group", Group, "--socket-mode", "0620" }, "620 65533")]
    [InlineData(new[] { "--socket-mode", "666" }, "666 0")]
    [InlineData(new string[0], "600 0")]
    public void Sockets_have_the_group_and_mode_that_were_asked_for_whatever_umask_says(string[] options, string expected)
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        Tool.Ok("chmod", "711", scratch.Directory);
        Cli.Ok("create", scratch["w.cow"], "--origin", scratch.Random("o.img", 1 << 20));
        string[] sockets = [scratch["n"], scratch["v"]];
        // Again over what a server left that was killed, and over what is there after a clean end.
        for (var round = 0; round < 3; round++)
        {
            using var server = LincowServer.Start(
                [scratch["w.cow"], "--nbd", "unix:" + sockets[0], "--vhost-user", sockets[1], .. options], readyLines: 2);
            Assert.All(sockets, socket => Assert.Equal(expected + "\n", Tool.Ok("stat", "-c", "%a %g", socket)));
            Assert.Equal(expected[1] != '0', CanConnect(scratch, Group));
            Assert.Equal(expected.StartsWith("666", StringComparison.Ordinal), CanConnect(scratch, Nobody));
            if (round == 0)
                server.Kill();
            else
                server.Stop();
        }
    }

    [Theory]
    [InlineData("--socket-mode", "1777")]
    [InlineData("--socket-mode", "rw")]
    [InlineData("--socket-mode", "")]
    [InlineData("--socket-mode", "99999999999999999999")]
    [InlineData("--socket-group", "no-such-group")]
    [InlineData("--socket-group", "4294967295")]
    [InlineData("--socket-group", "")]
    public void What_is_no_mode_and_no_group_is_refused(string option, string value)
    {
        using var scratch = new Scratch();
        Assert.Contains(option,
            Cli.Misused("serve", "--origin", scratch.Random("o.img", 1 << 20), "--nbd", "unix:" + scratch["s"], option, value));
    }

    [Fact]
    public void Options_that_would_let_nobody_in_are_refused()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("o.img", 1 << 20);
        Assert.Contains("--nbd unix:PATH", Cli.Misused("serve", "--origin", origin, "--socket-group", "0"));
        Cli.Misused("serve", "--origin", origin, "--nbd", "tcp:127.0.0.1:0", "--socket-mode", "0660");
    }

    [Fact]
    public void A_group_that_may_not_be_given_is_said_so_and_leaves_no_socket()
    {
        Tool.RequireRoot();
        using var scratch = new Scratch();
        Tool.Ok("chmod", "777", scratch.Directory);
        var binary = scratch["lincow"];
        File.Copy(Cli.Binary, binary);
        Tool.Ok("chmod", "755", binary);
        var result = Tool.Run("setpriv", "--reuid=" + Nobody, "--regid=" + Nobody, "--clear-groups", "env", "-u", "LINCOW_RUN_DIR", binary,
            "serve", "--origin", "zero:1M", "--overlay", scratch.Directory, "--nbd", "unix:" + scratch["s"], "--socket-group", "0");
        Assert.Contains("can't be given to that group", Cli.Error(result, Cli.Failed));
        Assert.False(File.Exists(scratch["s"]));
    }

    private static bool CanConnect(Scratch scratch, string group) => Tool.Run("setpriv", "--reuid", Nobody, "--regid", Nobody,
        "--groups", group, "nbdinfo", "--size", $"nbd+unix:///?socket={scratch["n"]}").ExitCode == 0;
}
