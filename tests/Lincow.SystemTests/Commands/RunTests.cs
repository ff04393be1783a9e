using System.Globalization;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary><c>lincow run</c>: a server around a command.</summary>
public class RunTests
{
    [Fact]
    public void The_command_finds_the_device_in_LINCOW_URI()
    {
        using var scratch = new Scratch();
        var overlay = Make(scratch);
        Assert.Equal("2097152", Cli.Ok("run", overlay, "--", "sh", "-c", "nbdinfo --size \"$LINCOW_URI\"").Trim());
        Cli.Ok("run", overlay, "--", "sh", "-c", "qemu-io -f raw -c 'write -P 5 4096 8192' \"$LINCOW_URI\"");
        var facts = Cli.Info(overlay);
        Assert.Equal((true, 2L), (facts.Clean, facts.Chunks.Data));
        Cli.Ok("run", overlay, "--read-only", "--", "sh", "-c", "qemu-io -r -f raw -c 'read -P 5 4096 8192' \"$LINCOW_URI\"");
    }

    [Theory]
    [InlineData("exit 0", 0)]
    [InlineData("exit 7", 7)]
    [InlineData("exit 255", 255)]
    [InlineData("kill -9 $$", 128 + 9)]
    public void The_commands_exit_status_is_passed_through(string command, int status)
    {
        using var scratch = new Scratch();
        var overlay = Make(scratch);
        var result = Cli.Run("run", overlay, "--", "sh", "-c", command);
        Assert.True(result.ExitCode == status, result.ToString());
        Assert.DoesNotContain("lincow:", result.Errors);
        Assert.True(Cli.Info(overlay).Clean);
    }

    [Fact]
    public void Options_and_separators_behind_the_separator_belong_to_the_command()
    {
        using var scratch = new Scratch();
        Assert.Equal("--help -- --json\n", Cli.Ok("run", Make(scratch), "--", "printf", "%s %s %s\n", "--help", "--", "--json"));
    }

    [Theory]
    [InlineData("no-such-command", 127, "No such file or directory")]
    [InlineData("/nonexistent", 127, "No such file or directory")]
    [InlineData("./here", 127, "No such file or directory")]
    [InlineData("", 127, "No such file or directory")]
    [InlineData("/etc/passwd", 126, "Permission denied")]
    [InlineData("/etc", 126, "Permission denied")]
    [InlineData("/etc/passwd/x", 126, "Not a directory")]
    public void A_command_that_cannot_be_run_has_a_shells_status_and_the_overlay_is_clean(string command, int status, string expected)
    {
        using var scratch = new Scratch();
        var overlay = Make(scratch);
        var error = Cli.Error(Cli.Run("run", overlay, "--", command), status);
        Assert.Contains(command, error);
        Assert.Contains(expected, error);
        Assert.True(Cli.Info(overlay).Clean);
    }

    [Fact]
    public void A_program_in_the_current_directory_is_not_run_for_one_of_the_path()
    {
        using var scratch = new Scratch();
        var result = Tool.Run("bash", ["-euc", """
            cd "$1"
            printf '#!/bin/sh\necho trap\n' >true
            chmod +x true
            "$0" run --origin zero:1M -- true
            "$0" run --origin zero:1M -- ./true
            """, Cli.Binary, scratch.Directory], []);
        Assert.Equal((0, "trap\n"), (result.ExitCode, result.Output));
    }

    [Fact]
    public void A_run_without_a_command_is_wrong_usage()
    {
        using var scratch = new Scratch();
        Assert.Contains("--", Cli.Misused("run", Make(scratch)));
        Cli.Misused("run", "--", "true");
    }

    [Fact]
    public void A_transient_run_leaves_no_file_behind()
    {
        using var scratch = new Scratch();
        var origin = scratch.Random("origin.img", 1 << 20);
        var temporary = Directory.CreateDirectory(scratch["tmp"]).FullName;
        var before = Scratch.Sha256(origin);
        var result = Tool.Run(Cli.Binary,
            ["run", "--origin", origin, "--", "sh", "-c", "qemu-io -f raw -c 'write -P 5 0 1M' -c 'read -P 5 0 1M' \"$LINCOW_URI\""],
            new() { ["TMPDIR"] = temporary });
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.Empty(Directory.EnumerateFileSystemEntries(temporary));
        Assert.Equal(before, Scratch.Sha256(origin));
    }

    [Fact]
    public void SIGTERM_ends_the_command_and_the_overlay_is_clean()
    {
        using var scratch = new Scratch();
        var overlay = Make(scratch);
        using var process = Surroundings.Start(new System.Diagnostics.ProcessStartInfo(Cli.Binary,
            ["run", overlay, "--", "sh", "-c",
                "timeout 30 qemu-io -f raw -c 'write -P 5 0 4096' \"$LINCOW_URI\" >&2; echo started; exec sleep 60"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        });
        Assert.Equal("started", process.StandardOutput.ReadLine());
        Tool.Ok("kill", "-TERM", process.Id.ToString(CultureInfo.InvariantCulture));
        Assert.True(process.WaitForExit(TimeSpan.FromSeconds(20)), "lincow run still runs 20 s after SIGTERM");
        Assert.Equal(128 + 15, process.ExitCode);
        var facts = Cli.Info(overlay);
        Assert.Equal((true, 1L), (facts.Clean, facts.Chunks.Data));
    }

    private static string Make(Scratch scratch)
    {
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:2M");
        return scratch["o.cow"];
    }
}
