using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>What whoever starts lincow limits or has open: a limit is an error with a sentence, what is open stays theirs.</summary>
public class LimitTests
{
    private static ToolResult Limited(int kibibytes, Dictionary<string, string> environment, params string[] arguments) =>
        Tool.Run("bash", ["-c", $"ulimit -c 0; ulimit -f {kibibytes}; exec \"$0\" \"$@\"", Cli.Binary, .. arguments], environment);

    [Fact]
    public void Create_says_that_a_file_may_not_be_that_long_and_leaves_none()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        Assert.Contains("ulimit -f", Cli.Error(Limited(64, [], "create", scratch["a.cow"], "--origin", origin), Cli.Failed));
        Assert.False(File.Exists(scratch["a.cow"]));
        // A transient overlay as well.
        Assert.Contains("a limit of this process", Cli.Error(Limited(64, [], "run", "--origin", origin, "--overlay", scratch.Directory,
            "--no-device", "--", "true"), Cli.Failed));
    }

    [Fact]
    public void Commit_and_convert_say_so_too()
    {
        using var scratch = new Scratch();
        // It can grow to the limit, and not to what the overlay holds.
        var origin = scratch.Random("origin.img", 64 << 10);
        Cli.Ok("create", scratch["a.cow"], "--origin", origin, "--size", "8M");
        using (var server = LincowServer.Start(scratch, scratch["a.cow"]))
        {
            Nbd.QemuIo(server.Uri, "write -P 7 6M 64k");
            server.Stop();
        }
        foreach (var arguments in new string[][] { ["commit", scratch["a.cow"]],
            ["convert", scratch["a.cow"], scratch["b.cow"], "--to", "linear"] })
            Assert.Contains("File too large", Cli.Error(Limited(2048, [], arguments), Cli.Failed));
        Assert.Empty(Directory.GetFiles(scratch.Directory, "*b.cow*"));
        Assert.DoesNotContain("commit:", Cli.Ok("info", scratch["a.cow"]));
        Cli.Ok("commit", scratch["a.cow"]);
    }

    [Fact]
    public void What_is_attached_under_a_limit_goes_on_behind_a_write_that_is_too_far()
    {
        using var attached = new Attachments();
        var overlay = attached.Scratch["a.cow"];
        Cli.Ok("create", overlay, "--origin", "zero:16M");
        var result = Limited(4096, attached.Environment, "attach", overlay, "--via", "fuse");
        Assert.True(result.ExitCode == 0, result.ToString());
        var device = result.Output.TrimEnd('\n').Split('\n')[^1];
        Assert.NotEqual(0, Tool.Run("dd", "if=/dev/urandom", "of=" + device, "bs=4096", "count=1", "seek=3000", "oflag=direct").ExitCode);
        Tool.Ok("dd", "if=/dev/urandom", "of=" + device, "bs=4096", "count=1", "seek=1", "oflag=direct");
        attached.Ok("detach", overlay);
    }

    [Fact]
    public void What_stays_in_the_background_holds_nothing_that_its_starter_has_open()
    {
        using var attached = new Attachments();
        var overlay = attached.Scratch["a.cow"];
        Cli.Ok("create", overlay, "--origin", "zero:16M");
        var result = Tool.Run("bash", ["-c", """
            exec 9>"$1/lock"; flock 9
            exec 8> >(cat >/dev/null; touch "$1/ended")
            "$0" attach "$2" >/dev/null || exit 1
            exec 8>&- 9>&-
            flock --wait 20 "$1/lock" true || exit 2
            for i in $(seq 400); do [ -e "$1/ended" ] && exit 0; sleep 0.05; done; exit 3
            """, Cli.Binary, attached.Scratch.Directory, overlay], attached.Environment);
        Assert.True(result.ExitCode == 0, result.ToString());
        var server = Assert.Single(attached.Status());
        foreach (var descriptor in new[] { 0, 1, 2 })
            Assert.Matches("^/dev/null$|\\.log$", File.ResolveLinkTarget($"/proc/{server.Pid}/fd/{descriptor}", false)!.FullName);
        attached.Ok("detach", overlay);
        attached.AssertNothingLeft();
    }
}
