using System.Text;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Strangers;

/// <summary>
/// An overlay from elsewhere names files of its author's choice: none of them is opened without the user's word (SECURITY.md).
/// </summary>
public class StrangerTests
{
    private const int OriginUriAt = 192, DataPathAt = 2304, MarkAt = 3336;

    [Fact]
    public void An_overlay_made_elsewhere_shows_no_file_of_this_machine()
    {
        using var scratch = new Scratch();
        var secret = scratch.Random("secret", 64 << 10, seed: 7);
        // Its author knows everything of the secret file but what is in it elsewhere: kind, size, time and samples all match.
        Cli.Ok("create", scratch["evil.cow"], "--origin", secret);
        MakeForeign(scratch["evil.cow"]);
        AssertRefused(scratch["evil.cow"], secret, scratch);
        Assert.Contains("--origin", Cli.Fails("map", scratch["evil.cow"], "--json"));
        Assert.Contains("--origin", Cli.Fails("serve", scratch["evil.cow"], "--read-only", "--nbd", "unix:" + scratch["s"]));
        // To accept a changed origin is not to name one.
        Assert.Contains("--origin", Cli.Fails("serve", scratch["evil.cow"], "--accept-origin", "--nbd", "unix:" + scratch["s"]));
        // Looking at it is harmless.
        Assert.Equal(secret, Cli.Info(scratch["evil.cow"]).Origin.Uri);
        Assert.Empty(Cli.Check(scratch["evil.cow"]).Findings);
    }

    [Fact]
    public void The_users_word_is_remembered()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin", 64 << 10, seed: 7);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        MakeForeign(scratch["o.cow"]);
        AssertRefused(scratch["o.cow"], origin, scratch);
        Cli.Ok("run", scratch["o.cow"], "--origin", origin, "--", "true");
        Cli.Ok("run", scratch["o.cow"], "--", "true");
        // Copies are this user's as well, wherever they lie and whatever they are called.
        File.Copy(scratch["o.cow"], scratch["copy"]);
        Cli.Ok("run", scratch["copy"], "--", "true");
    }

    [Theory]
    [InlineData("fifo")]
    [InlineData("link")]
    [InlineData("/dev/null")]
    public void A_path_that_was_put_into_an_overlay_is_not_so_much_as_opened(string target)
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin", 64 << 10);
        Cli.Ok("create", scratch["o.cow"], "--origin", origin);
        if (target == "fifo")
            Tool.Ok("mkfifo", target = scratch["fifo"]);
        else if (target == "link")
            File.CreateSymbolicLink(target = scratch["link"], origin);
        PutPath(scratch["o.cow"], OriginUriAt, target);
        AssertRefused(scratch["o.cow"], target, scratch);
    }

    [Fact]
    public void A_map_made_elsewhere_opens_no_data_file_on_its_own_word()
    {
        using var scratch = new Scratch();
        var victim = scratch.Random("victim", 1 << 20);
        Cli.Ok("create", scratch["a.img"], "--origin", "zero:1M", "--map", scratch["a.map"]);
        PutPath(scratch["a.map"], DataPathAt, victim);
        foreach (var command in new[] { "reset", "check", "info" })
        {
            var error = Cli.Fails(command, scratch["a.map"]);
            Assert.Contains(victim, error);
            Assert.Contains("--map", error);
        }
        Assert.Contains(victim, Cli.Fails("run", scratch["a.map"], "--", "true"));
        Assert.Equal(Scratch.RandomBytes(1 << 20, 1), File.ReadAllBytes(victim));
        // The data file itself, named by the user, is what it always was.
        Cli.Ok("run", scratch["a.img"], "--map", scratch["a.map"], "--accept-map", "--", "true");
    }

    [Fact]
    public void Names_can_not_write_lines_of_their_own_or_steer_a_terminal()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin\nlincow: error: all is lost\u001b[2J\u202e", 64 << 10);
        var overlay = scratch["o\n.cow"];
        Cli.Ok("create", overlay, "--origin", origin);
        var info = Cli.Ok("info", overlay);
        Assert.DoesNotContain('\u001b', info);
        Assert.DoesNotContain('\u202e', info);
        Assert.Contains("origin\\x0alincow: error: all is lost\\x1b[2J\\u202e", info);
        Assert.Equal((origin, overlay), (Cli.Info(overlay).Origin.Uri, Cli.Info(overlay).Overlay));
        MakeForeign(overlay);
        // Cli.Fails demands a single line of error.
        Assert.Contains("o\\x0a.cow", Cli.Fails("run", overlay, "--", "true"));
    }

    [Fact]
    public void The_key_is_its_users_alone()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch.Random("origin", 4096));
        var directory = Path.Combine(Environment.GetEnvironmentVariable("XDG_STATE_HOME") ?? "/var/lib", "lincow");
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(directory, "key")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(directory));
    }

    /// <summary>What an overlay that another machine marked looks like here.</summary>
    private static void MakeForeign(string overlay) => SuperblockPatch.WriteUInt64(overlay, MarkAt, 0x1234567890abcdef);

    private static void PutPath(string overlay, int at, string path)
    {
        var bytes = Encoding.UTF8.GetBytes(path);
        SuperblockPatch.Write(overlay, at, [.. BitConverter.GetBytes(bytes.Length), .. bytes]);
    }

    private static void AssertRefused(string overlay, string origin, Scratch scratch)
    {
        var error = Cli.Fails("serve", overlay, "--nbd", "unix:" + scratch["s"]);
        Assert.Contains(overlay, error);
        Assert.Contains(origin, error);
        Assert.Contains("--origin", error);
    }
}
