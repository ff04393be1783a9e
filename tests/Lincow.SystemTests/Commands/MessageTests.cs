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
        Assert.Equal(["attach", "check", "commit", "completion", "convert", "create", "demo", "detach", "info", "map", "reset", "run",
            "serve", "status"], listed.Order());
    }

    [Theory]
    [InlineData]
    [InlineData("bogus")]
    [InlineData("create")]
    [InlineData("create", "o.cow")]
    [InlineData("info")]
    [InlineData("info", "a", "b")]
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
    [InlineData("run", "--origin", "zero:1M", "--", "/no/such/command")]
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
    [InlineData("bash", "complete ")]
    [InlineData("zsh", "#compdef lincow")]
    [InlineData("fish", "complete -c lincow")]
    public void Completion_prints_a_script_for_the_shell(string shell, string expected) =>
        Assert.Contains(expected, Cli.Ok("completion", shell));

    [Fact]
    public void Bash_completes_commands_and_options_with_the_script()
    {
        using var scratch = new Scratch();
        File.CreateSymbolicLink(scratch["lincow"], Cli.Binary);
        var script = """
            PATH="$1:$PATH"
            source <(lincow completion bash)
            COMP_LINE="$2"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _lincow
            printf '%s\n' "${COMPREPLY[@]}"
            """;
        Assert.Equal("serve", Tool.Ok("bash", "-c", script, "bash", scratch.Directory, "lincow ser").Trim());
        Assert.Contains("--read-only", Tool.Ok("bash", "-c", script, "bash", scratch.Directory, "lincow serve --re"));
    }

    [Fact]
    public void The_version_is_a_version() => Assert.Matches(Version(), Cli.Ok("--version"));

    [GeneratedRegex(@"\b[A-Z][A-Za-z0-9]*_[A-Z]\w+|\bError[A-Z]\w+,|\(Parameter '")]
    private static partial Regex ResourceKey();

    [GeneratedRegex(@"^  ([a-z]+)\b", RegexOptions.Multiline)]
    private static partial Regex CommandLine();

    [GeneratedRegex(@"^\d+\.\d+\.\d+")]
    private static partial Regex Version();
}
