using System.Text.Json;
using System.Text.RegularExpressions;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>What the command says: help, usage errors, reports for people and for programs.</summary>
public partial class MessageTests
{
    [Theory]
    [InlineData("create")]
    [InlineData("serve")]
    [InlineData("run")]
    [InlineData("reset")]
    [InlineData("info")]
    [InlineData("map")]
    [InlineData("check")]
    [InlineData("demo")]
    [InlineData("completion")]
    [InlineData("attach")]
    [InlineData("detach")]
    [InlineData("status")]
    [InlineData("stop")]
    [InlineData("list")]
    [InlineData("help")]
    [InlineData("version")]
    [InlineData("commit")]
    [InlineData("convert")]
    [InlineData()]
    public void Help_has_examples(params string[] command)
    {
        var help = Cli.Ok([.. command, "--help"]);
        Assert.Contains("Usage:", help);
        Assert.Contains("Examples:", help);
        Assert.Contains("lincow " + string.Join(' ', command), help[help.IndexOf("Examples:", StringComparison.Ordinal)..]);
    }

    [Fact]
    public void Every_command_that_help_lists_is_tested_here()
    {
        var help = Cli.Ok("--help");
        var listed = CommandLine().Matches(help[help.IndexOf("Commands:", StringComparison.Ordinal)..help.IndexOf("Examples:",
            StringComparison.Ordinal)]).Select(match => match.Groups[1].Value);
        Assert.Equal(["attach", "check", "commit", "completion", "convert", "create", "demo", "detach", "help", "info", "list", "map",
            "reset", "run", "serve", "status", "stop", "version"], listed.Order());
    }

    [Theory]
    [InlineData]
    [InlineData("bogus")]
    [InlineData("create")]
    [InlineData("create", "o.cow")]
    [InlineData("info")]
    [InlineData("map", "a", "b")]
    [InlineData("serve", "a.cow", "--ndb", "unix:x")]
    [InlineData("stop")]
    [InlineData("snapshot", "a.cow", "name")]
    [InlineData("help", "bogus")]
    [InlineData("completion", "powershell")]
    [InlineData("/h")]
    [InlineData("info", "a", "--bogus")]
    [InlineData("check")]
    [InlineData("reset")]
    [InlineData("map")]
    [InlineData("serve", "--nbd")]
    [InlineData("create", "o.cow", "--origin", "zero:1M", "--store", "bogus")]
    [InlineData("completion", "tcsh")]
    public void Wrong_usage_exits_2_with_one_line_and_the_way_to_the_help(params string[] arguments)
    {
        var result = Cli.Run(arguments);
        Cli.Error(result, Cli.WrongUsage);
        Assert.Contains("--help", result.Errors);
        Assert.Empty(result.Output);
    }

    [Theory]
    [InlineData("info", "")]
    [InlineData("create", "", "--origin", "zero:1M")]
    [InlineData("create", "o.cow", "--origin", "zero:1M", "--map", "")]
    [InlineData("info", "/proc/self/mem")]
    [InlineData("info", "/nowhere/at/all")]
    [InlineData("serve", "--origin", "zero:1M", "--tls-cert", "/no.pem", "--tls-key", "/no.pem")]
    [InlineData("serve", "--origin", "zero:1M", "--tls-cert", "/dev/null", "--tls-key", "/dev/null")]
    [InlineData("serve", "--origin", "zero:1M", "--overlay", "/proc")]
    [InlineData("serve", "--origin", "zero:1M", "--nbd", "tcp:no.such.host.invalid:1")]
    public void An_error_is_a_sentence_and_not_a_key_of_the_framework(params string[] arguments)
    {
        var error = Cli.Fails(arguments);
        Assert.DoesNotMatch(ResourceKey(), error);
        Assert.Contains(' ', error);
    }

    [Fact]
    public void An_error_of_the_default_sockets_directory_is_a_sentence()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        var result = Tool.Run(Cli.Binary, ["serve", scratch["o.cow"]], new() { ["XDG_RUNTIME_DIR"] = "/etc/passwd" });
        var error = Cli.Error(result, Cli.Failed);
        Assert.DoesNotMatch(ResourceKey(), error);
        Assert.Contains("/etc/passwd", error);
    }

    [Fact]
    public void A_failing_map_prints_nothing_on_stdout()
    {
        using var scratch = new Scratch();
        var noise = scratch.Random("noise", 10_000);
        Assert.Empty(Cli.Run("map", noise).Output);
        Assert.Empty(Cli.Run("map", noise, "--json").Output);
    }

    [Fact]
    public void Every_report_is_one_JSON_document()
    {
        using var scratch = new Scratch();
        foreach (var command in new string[][] { ["create", scratch["o.cow"], "--origin", "zero:1M"], ["info", scratch["o.cow"]],
            ["map", scratch["o.cow"]], ["check", scratch["o.cow"]], ["reset", scratch["o.cow"]] })
        {
            using var json = JsonDocument.Parse(Cli.Ok([.. command, "--json"]));
            Assert.True(json.RootElement.ValueKind is JsonValueKind.Object or JsonValueKind.Array);
        }
    }

    [Fact]
    public void Info_json_has_every_field_that_checks_read()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        using var json = JsonDocument.Parse(Cli.Ok("info", scratch["o.cow"], "--json"));
        const string fields = "overlay uuid origin size chunkSize store layout mode dataPath dataOffset mapPath mapOffset mapBytes chunks "
            + "allocatedBytes generation clean parent layers";
        foreach (var field in fields.Split(' '))
            Assert.True(json.RootElement.TryGetProperty(field, out _), field);
        foreach (var field in new[] { "uri", "size", "present" })
            Assert.True(json.RootElement.GetProperty("origin").TryGetProperty(field, out _), field);
        foreach (var field in new[] { "total", "data", "zero", "origin" })
            Assert.True(json.RootElement.GetProperty("chunks").TryGetProperty(field, out _), field);
        Assert.Equal("persistent", json.RootElement.GetProperty("mode").GetString());
    }

    [Fact]
    public void Info_for_people_names_the_shift_and_the_exact_size_of_the_map()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:10G");
        var facts = Cli.Info(scratch["o.cow"]);
        var text = Cli.Ok("info", scratch["o.cow"]);
        foreach (var expected in new[] { "10 GiB", "4 KiB", "zero:10G", $"{facts.MapBytes} bytes", $"{facts.DataOffset} bytes",
            facts.Uuid })
            Assert.Contains(expected, text);
    }

    [Fact]
    public void Quiet_says_nothing()
    {
        using var scratch = new Scratch();
        foreach (var command in new string[][] { ["create", scratch["o.cow"], "--origin", "zero:1M"], ["check", scratch["o.cow"]],
            ["reset", scratch["o.cow"]] })
        {
            var result = Cli.Run([.. command, "--quiet"]);
            Assert.Equal((0, "", ""), (result.ExitCode, result.Output, result.Errors));
        }
    }

    [Theory]
    [InlineData("--version")]
    [InlineData("-V")]
    [InlineData("version")]
    public void The_version_is_a_version(string word) => Assert.Matches(Version(), Cli.Ok(word));

    [Fact]
    public void Help_is_the_same_in_every_way_that_it_is_asked_for()
    {
        Assert.Equal(Cli.Ok("--help"), Cli.Ok("help"));
        Assert.Equal(Cli.Ok("serve", "--help"), Cli.Ok("help", "serve"));
        Assert.Equal(Cli.Ok("serve", "--help"), Cli.Ok("serve", "-h", "--bogus"));
    }

    [Theory]
    [InlineData("did you mean 'info'?", "ifno")]
    [InlineData("did you mean 'status'?", "stat")]
    [InlineData("did you mean 'serve'?", "help", "srve")]
    [InlineData("did you mean '--nbd'?", "serve", "a.cow", "--ndb", "unix:x")]
    [InlineData("did you mean '--nbd'?", "serve", "a.cow", "-nbd", "unix:x")]
    [InlineData("did you mean '--read-only'?", "serve", "--nbd", "--readonly", "a.cow")]
    [InlineData("did you mean '--force'?", "reset", "a.cow", "--forec")]
    [InlineData("did you mean '--version'?", "--verison")]
    [InlineData("no such option. A path that begins with '-'", "info", "-odd.cow")]
    [InlineData("is not there yet", "snapshot", "a.cow", "monday")]
    [InlineData("is not there yet", "help", "hydrate")]
    [InlineData("is not there yet", "reset", "a.cow", "--to", "monday")]
    [InlineData("no such command", "frobnicate")]
    public void A_slip_of_the_keyboard_is_refused_with_what_may_be_meant(string expected, params string[] arguments) =>
        Assert.Contains(expected, Cli.Misused(arguments));

    [Fact]
    public void Behind_two_dashes_nothing_is_an_option_and_an_option_may_have_any_value()
    {
        using var scratch = new Scratch();
        var result = Tool.Run("bash", ["-euc", """
            cd "$1"
            "$0" create --origin zero:1M --quiet -- -odd.cow
            "$0" create --origin zero:1M --quiet --map=-m x.cow
            "$0" info --json -- -odd.cow >/dev/null
            "$0" serve --fork --nbd unix:s -- -odd.cow >/dev/null
            "$0" stop --quiet -- -odd.cow
            test -e ./-m
            """, Cli.Binary, scratch.Directory], []);
        Assert.True(result.ExitCode == 0, result.ToString());
    }

    // Nobody makes files in sysfs, not even root.
    [Theory]
    [InlineData("create", "/sys/o.cow", "--origin", "zero:1M")]
    [InlineData("create", "/dev/null/o.cow", "--origin", "zero:1M")]
    [InlineData("create", "NEW", "--origin", "zero:1M", "--map", "/sys/m")]
    [InlineData("info", "/dev/null/o.cow")]
    [InlineData("list", "/dev/null/x")]
    [InlineData("map", "OVERLAY", "--image", "/sys/x.svg")]
    [InlineData("convert", "OVERLAY", "/sys/x.snap", "--to", "snapshot")]
    [InlineData("serve", "OVERLAY", "--nbd", "unix:/sys/s")]
    [InlineData("serve", "OVERLAY", "--nbd", "unix:NEW", "--pid-file", "/sys/pid")]
    [InlineData("serve", "OVERLAY", "--nbd", "unix:NEW", "--fork", "--pid-file", "/sys/pid")]
    [InlineData("serve", "--origin", "zero:1M", "--overlay", "/sys/x", "--nbd", "unix:NEW")]
    [InlineData("serve", "OVERLAY", "--nbd", "unix:NEW", "--tls-cert", "/sys", "--tls-key", "/sys")]
    public void What_the_system_refuses_is_said_in_its_own_words(params string[] arguments)
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        var error = Cli.Fails([.. arguments.Select(word => word.Replace("OVERLAY", scratch["o.cow"], StringComparison.Ordinal)
            .Replace("NEW", scratch["new"], StringComparison.Ordinal))]);
        Assert.DoesNotMatch(Framework(), error);
    }

    [GeneratedRegex("Access to the path|Could not find|is denied|Part of the path|'/", RegexOptions.IgnoreCase)]
    private static partial Regex Framework();

    [GeneratedRegex(@"\b[A-Z][A-Za-z0-9]*_[A-Z]\w+|\bError[A-Z]\w+,|\(Parameter '")]
    private static partial Regex ResourceKey();

    [GeneratedRegex(@"^  ([a-z]+)\b", RegexOptions.Multiline)]
    private static partial Regex CommandLine();

    [GeneratedRegex(@"^\d+\.\d+\.\d+")]
    private static partial Regex Version();
}
