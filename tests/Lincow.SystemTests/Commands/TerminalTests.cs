using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>What a terminal is sent: text, and what is over when the command is. A terminal is made by util-linux's script.</summary>
public class TerminalTests
{
    [Theory]
    [InlineData("--version")]
    [InlineData("create", "again.cow", "--origin", "origin.img")]
    [InlineData("info", "work.cow")]
    [InlineData("map", "work.cow", "--json")]
    [InlineData("nonsense")]
    public void A_terminal_is_sent_text_alone(params string[] command)
    {
        using var scratch = Made();
        var sent = OnTerminal(scratch, command);
        Assert.NotEqual("", sent.Trim());
        Assert.DoesNotContain('\e', sent);
    }

    [Fact]
    public void A_bar_is_shown_while_something_takes_its_time_and_wiped_away_at_the_end()
    {
        using var scratch = Made();
        var sent = OnTerminal(scratch, "check", "work.cow");
        Assert.Contains("[#", sent);
        // The bar, and its end: what comes last begins a line anew and wipes it.
        Assert.Contains(" %\e[K", sent);
        var last = sent.LastIndexOf('\e');
        Assert.StartsWith("\n\e[K", sent[(last - 1)..].Replace('\r', '\n'));
        // Nothing that would have to be undone if the command were ended by a signal: modes, a hidden cursor.
        Assert.DoesNotContain("\e[?", sent);
        Assert.DoesNotContain('%', OnTerminal(scratch, "check", "work.cow", "--quiet"));
    }

    [Fact]
    public void A_reader_who_goes_ends_the_output_and_nothing_else()
    {
        using var scratch = Made();
        var result = Tool.Run("bash", "-c", $"set -o pipefail; '{Cli.Binary}' map '{scratch["work.cow"]}' --json | head -c 1");
        Assert.Equal(("[", ""), (result.Output.Trim(), result.Errors));
        Assert.Equal(0, result.ExitCode);
    }

    private static Scratch Made()
    {
        var scratch = new Scratch();
        using (var origin = File.Create(scratch["origin.img"]))
            origin.SetLength(1 << 20);
        Cli.Ok("create", scratch["work.cow"], "--origin", scratch["origin.img"]);
        return scratch;
    }

    private static string OnTerminal(Scratch scratch, params string[] command) => Tool.Run("script",
        "--quiet", "--command", $"cd '{scratch.Directory}' && '{Cli.Binary}' {string.Join(' ', command)}", "/dev/null").Output;
}
