using System.CommandLine;

namespace Lincow.Cli.Commands;

internal static class CompletionCommand
{
    public static Command Build()
    {
        var shell = new Argument<string>("SHELL") { Description = "bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        var command = new Command("completion", "Print a shell's completion script.") { shell };
        command.SetAction(result =>
        {
            Console.Out.Write(Script(result.GetValue(shell)!));
            return 0;
        });
        return command.WithExamples("""
              source <(lincow completion bash)
              lincow completion fish > ~/.config/fish/completions/lincow.fish
            """);
    }

    // The parser itself completes: its [suggest:POSITION] directive prints what fits there. Paths are the shell's own job.
    private static string Script(string shell) => shell switch
    {
        "bash" => """
            _lincow() {
                local IFS=$'\n'
                COMPREPLY=($(lincow "[suggest:${COMP_POINT}]" "${COMP_LINE}" 2>/dev/null | grep -F -- "${COMP_WORDS[COMP_CWORD]}"))
            }
            complete -o default -o bashdefault -F _lincow lincow

            """,
        "zsh" => """
            #compdef lincow
            _lincow() {
                local -a found
                found=("${(@f)$(lincow "[suggest:${CURSOR}]" "${BUFFER}" 2>/dev/null)}")
                compadd -a found
                _files
            }
            compdef _lincow lincow

            """,
        _ => """
            complete -c lincow -a '(lincow "[suggest:"(commandline -C)"]" (commandline -b) 2>/dev/null)'

            """,
    };
}
