using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>
/// A Unix socket's path has at most 107 bytes. What lincow's own processes say to each other goes through longer ones; where others
/// connect, they are refused before anything is made, or the socket lies elsewhere.
/// </summary>
public class LongPathTests
{
    private static readonly string _long = new('r', 130);

    [Fact]
    public void What_is_attached_is_found_and_detached_whatever_the_run_directory_is_called()
    {
        using var attachments = new Attachments(_long);
        var scratch = attachments.Scratch;
        var overlay = scratch["w.cow"];
        Cli.Ok("create", overlay, "--origin", scratch.Random("o.img", 1 << 20));
        var device = attachments.Attach(overlay, "--via", "fuse");
        var status = Assert.Single(attachments.Status(overlay));
        Assert.Equal(device, status.Device);
        Assert.NotNull(status.Counters);
        attachments.Ok("reset", overlay);
        attachments.Ok("detach", overlay);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void What_is_served_is_reset_whatever_the_run_directory_is_called()
    {
        using var scratch = new Scratch();
        Dictionary<string, string> environment = new() { ["LINCOW_RUN_DIR"] = scratch[_long] };
        var overlay = scratch["w.cow"];
        Cli.Ok("create", overlay, "--origin", scratch.Random("o.img", 1 << 20));
        using var server = LincowServer.Start([overlay, "--nbd", "unix:" + scratch.NewSocket()], environment: environment);
        Assert.Contains("requests", Cli.Ok(environment, "status", overlay));
        Cli.Ok(environment, "reset", overlay);
        server.Stop();
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch[_long]));
    }

    [Fact]
    public void The_command_of_run_connects_whatever_the_directory_for_temporary_files_is_called()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch[_long]);
        Dictionary<string, string> environment = new() { ["TMPDIR"] = scratch[_long] };
        Assert.Equal($"{1 << 20}\n", Cli.Ok(environment, "run", "--no-device", "--origin", scratch.Random("o.img", 1 << 20), "--", "sh",
            "-c", "nbdinfo --size \"$LINCOW_URI\""));
    }

    [Fact]
    public void The_default_socket_of_serve_is_refused_with_a_way_out_where_nobody_could_connect()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch[_long]);
        Dictionary<string, string> environment = new() { ["XDG_RUNTIME_DIR"] = scratch[_long] };
        var result = Tool.Run(Cli.Binary, ["serve", "--origin", scratch.Random("o.img", 1 << 20)], environment);
        Assert.Contains("107 bytes", Cli.Error(result, Cli.Failed));
        Assert.Contains("--nbd unix:PATH", result.Errors);
    }

    [Theory]
    [InlineData("--nbd", "unix:")]
    [InlineData("--vhost-user", "")]
    public void A_socket_of_a_path_to_which_nobody_could_connect_is_refused(string option, string prefix)
    {
        using var scratch = new Scratch();
        var overlay = scratch["w.cow"];
        Cli.Ok("create", overlay, "--origin", scratch.Random("o.img", 1 << 20));
        Assert.Contains("107 bytes", Cli.Fails("serve", overlay, option, prefix + scratch[_long] + "/s"));
        Assert.True(Cli.Info(overlay).Clean);
    }

    [Fact]
    public void An_overlay_whose_name_fills_a_directory_entry_is_attached()
    {
        using var attachments = new Attachments();
        var scratch = attachments.Scratch;
        var overlay = scratch[new string('w', 255)];
        Cli.Ok("create", overlay, "--origin", scratch.Random("o.img", 1 << 20));
        var device = attachments.Attach(overlay, "--via", "fuse");
        Assert.Equal(device, Assert.Single(attachments.Status(overlay)).Device);
        attachments.Ok("detach", overlay);
        attachments.AssertNothingLeft();
    }

    [Fact]
    public void A_conversion_to_a_name_that_fills_a_directory_entry_is_made()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["w.cow"], "--origin", scratch.Random("o.img", 1 << 20));
        Cli.Ok("convert", scratch["w.cow"], scratch[new string('w', 255)], "--to", "snapshot");
        Assert.Equal("snapshot", Cli.Info(scratch[new string('w', 255)]).Store);
        Assert.Empty(Directory.EnumerateFiles(scratch.Directory, ".*"));
    }
}
