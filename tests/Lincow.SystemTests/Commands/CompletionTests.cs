using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Commands;

/// <summary>
/// Completion in the shells themselves: bash and zsh on a terminal of their own, in which a person types and presses Tab; fish by its own
/// program for that. What was typed is never damaged.
/// </summary>
public sealed class CompletionTests : IDisposable
{
    /// <summary>
    /// Starts an interactive shell on a terminal, types what it is given with \t for Tab, and prints the words that `lincow` is then run
    /// with: the shell's function says them, in brackets, at the end of a line of its own.
    /// </summary>
    private const string Terminal = """
        import os, pty, re, select, sys, time
        shell, typed = sys.argv[1:3]
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ['TERM'] = 'dumb'
            os.execvp(shell.split()[0], shell.split())
        said = b''
        def until(pattern):
            global said
            end = time.monotonic() + 50
            while not re.search(pattern, said):
                if time.monotonic() > end or not select.select([terminal], [], [], end - time.monotonic())[0]:
                    sys.exit('not said: %r in %r' % (pattern, said))
                try:
                    said += os.read(terminal, 4096)
                except OSError:
                    sys.exit('ended: %r' % said)
        def type(text):
            while text:
                text = text[os.write(terminal, text):]
        type(b'PS1=; PROMPT=; . ./start; echo "rea""dy"\n')
        until(rb'ready\r?\n')
        said = b''
        # What completion takes is done before the line's end is read.
        type(typed.encode().decode('unicode_escape').encode() + b'\n')
        until(rb'GOT\[.*\]')
        print(re.search(rb'GOT\[(.*)\]', said).group(1).decode())
        type(b'exit\n')
        os.close(terminal)
        os.waitpid(pid, 0)
        """;

    private readonly Scratch _scratch = new();

    public CompletionTests()
    {
        Directory.CreateDirectory(_scratch["bin"]);
        File.CreateSymbolicLink(_scratch["bin/lincow"], Cli.Binary);
        foreach (var name in new[] { "mapped.cow", "my over lay.cow", "zebra.img", "status.cow" })
            File.WriteAllText(_scratch[name], "");
        Directory.CreateDirectory(_scratch["folder"]);
    }

    // What is typed, and the words that lincow gets.
    public static TheoryData<string, string> Lines => new()
    {
        { @"lincow ser\t --read\t x", "serve|--read-only|x" },
        { @"lincow info map\t", "info|mapped.cow" },
        { @"lincow info my\t", "info|my over lay.cow" },
        { @"lincow info ./my\t", "info|./my over lay.cow" },
        { @"lincow check stat\t", "check|status.cow" },
        { @"lincow serve x --cache wri\t", "serve|x|--cache|writeback" },
        { @"lincow serve x --cache=no\t", "serve|x|--cache=none" },
        { @"lincow serve x --nbd uni\tfoo", "serve|x|--nbd|unix:foo" },
        { @"lincow serve x --nbd unix:zeb\t", "serve|x|--nbd|unix:zebra.img" },
        { @"lincow serve x --nbd=unix:./zeb\t", "serve|x|--nbd=unix:./zebra.img" },
        { @"lincow create x --origin ze\t", "create|x|--origin|zebra.img" },
        { @"lincow create x --origin zer\t1M", "create|x|--origin|zero:1M" },
        { @"lincow convert x y --to=sn\t", "convert|x|y|--to=snapshot" },
        { @"lincow completion fi\t", "completion|fish" },
        { @"lincow help stat\t", "help|status" },
        { @"lincow list fol\t", "list|folder/" },
        { @"lincow run x -- zeb\t", "run|x|--|zebra.img" },
        { @"lincow nothing map\t", "nothing|map" },
        { @"lincow info nowhere\t", "info|nowhere" },
        { @"lincow serve x --size 1\t", "serve|x|--size|1" },
    };

    [Theory]
    [MemberData(nameof(Lines))]
    public void Bash_completes(string typed, string words) => Assert.Equal(words, Type("bash --norc --noprofile -i", "bash", typed));

    [Theory]
    [MemberData(nameof(Lines))]
    // It takes the slash behind a folder away when the line is done.
    public void Zsh_completes(string typed, string words) => Assert.Equal(words.TrimEnd('/'), Type("zsh -f -i", "zsh", typed));

    [Theory]
    [InlineData("lincow ser", "serve")]
    [InlineData("lincow serve --read", "--read-only")]
    [InlineData("lincow info map", "mapped.cow")]
    [InlineData("lincow info my", "my over lay.cow")]
    [InlineData("lincow serve x --cache wri", "writeback")]
    [InlineData("lincow serve x --cache=no", "--cache=none")]
    [InlineData("lincow serve x --nbd unix:zeb", "unix:zebra.img")]
    [InlineData("lincow create x --origin ze", "zebra.img")]
    [InlineData("lincow create x --origin zer", "zero:")]
    [InlineData("lincow list fol", "folder/")]
    [InlineData("lincow nothing map", "")]
    [InlineData("lincow completion ", "bash|fish|zsh")]
    public void Fish_completes(string typed, string expected)
    {
        var result = Tool.Run("fish", ["--no-config", "-c", """
            cd $DIRECTORY
            set PATH $DIRECTORY/bin $PATH
            lincow completion fish | source
            complete -C $TYPED
            """], Environment(typed));
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.Equal(expected, string.Join('|', result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split('\t')[0].Replace("\\", "", StringComparison.Ordinal)).Order(StringComparer.Ordinal)));
    }

    [Fact]
    public void What_is_served_is_offered_to_those_who_ask_about_it()
    {
        Cli.Ok("create", _scratch["work.cow"], "--origin", "zero:1M");
        using var server = LincowServer.Start(_scratch, _scratch["work.cow"], "--name", "red");
        foreach (var command in new[] { "stop", "status" })
            Assert.Equal($"red\t{_scratch["work.cow"]}\n:words\n", Cli.Ok("__complete", command, ""));
        // It isn't attached.
        Assert.StartsWith(":files", Cli.Ok("__complete", "detach", ""));
        Assert.StartsWith(":files", Cli.Ok("__complete", "stop", _scratch["wo"]));
        server.Stop();
    }

    [Theory]
    [InlineData("bash")]
    [InlineData("zsh")]
    [InlineData("fish")]
    public void Every_command_and_option_of_the_help_is_offered(string shell)
    {
        Assert.Contains("__complete", Cli.Ok("completion", shell));
        foreach (var command in Cli.Ok("__complete", "").Split('\n').Where(line => line.Contains('\t', StringComparison.Ordinal)))
        {
            var name = command.Split('\t')[0];
            var help = Cli.Ok(name, "--help");
            foreach (var option in Cli.Ok("__complete", name, "--").Split('\n').Where(line => line.StartsWith('-')))
                Assert.Contains(option.Split('\t')[0], help);
        }
    }

    public void Dispose() => _scratch.Dispose();

    private string Type(string shell, string name, string typed)
    {
        File.WriteAllText(_scratch["start"], $$"""
            cd {{_scratch.Directory}}
            {{(name == "zsh" ? "autoload -U compinit; compinit -u -D" : "")}}
            . {{_scratch["bin/script"]}}
            """);
        File.WriteAllText(_scratch["bin/script"], Cli.Ok("completion", name) + """

            lincow() {
                if [ "$1" = __complete ]; then
                    command "$BINARY" "$@"
                else
                    local all=
                    for word in "$@"; do all="$all|$word"; done
                    echo "GOT[${all#|}]"
                fi
            }

            """);
        Tool.Find(name);
        var result = Tool.Run("bash", ["-c", "cd \"$DIRECTORY\" && exec python3 -c \"$0\" \"$1\" \"$TYPED\"", Terminal, shell],
            Environment(typed));
        Assert.True(result.ExitCode == 0, result.ToString());
        return result.Output.Trim();
    }

    private Dictionary<string, string> Environment(string typed) => new()
    {
        ["DIRECTORY"] = _scratch.Directory,
        ["TYPED"] = typed,
        ["BINARY"] = Cli.Binary,
        ["HOME"] = _scratch.Directory,
    };
}
