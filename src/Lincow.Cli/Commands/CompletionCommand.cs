using System.CommandLine;

namespace Lincow.Cli.Commands;

internal static class CompletionCommand
{
    public static Command Build()
    {
        var shell = Options.OneOf(new Argument<string>("bash|zsh|fish") { Description = "The shell" });
        var command = new Command("completion", "Print a shell's completion script.") { shell };
        command.SetAction(result =>
        {
            Console.Out.Write(Script(result.GetValue(shell)!));
            return 0;
        });
        return command.WithExamples("""
              source <(lincow completion bash)                                  # in ~/.bashrc
              source <(lincow completion zsh)                                   # in ~/.zshrc, behind compinit
              lincow completion fish > ~/.config/fish/completions/lincow.fish
            """);
    }

    // What may come, lincow says (Completion); paths are completed by the shell itself, which knows how to quote them.
    private static string Script(string shell) => shell switch
    {
        "bash" => Bash,
        "zsh" => Zsh,
        _ => Fish,
    };

    private const string Bash = """
        _lincow() {
            # bash splits words at colons and equals signs as well: what has no space between is one word.
            local line=${COMP_LINE:0:COMP_POINT} rest word cut i breaks= words=() reply=()
            for ((i = 0; i <= COMP_CWORD; i++)); do
                rest=${line#"${line%%[![:space:]]*}"}
                word=${COMP_WORDS[i]}
                ((i < COMP_CWORD)) || word=$rest
                if ((i > 0)) && [[ $rest == "$line" ]]; then
                    words[${#words[@]} - 1]+=$word
                else
                    words+=("$word")
                fi
                line=${rest#"$word"}
            done
            word=${words[${#words[@]} - 1]}
            mapfile -t reply < <("${1/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null)
            COMPREPLY=()
            ((${#reply[@]} > 0)) || return
            case ${reply[${#reply[@]} - 1]} in
            :words)
                unset "reply[${#reply[@]} - 1]"
                # Only what stands behind the last of them is replaced.
                [[ $COMP_WORDBREAKS != *:* ]] || breaks+=:
                [[ $COMP_WORDBREAKS != *=* ]] || breaks+==
                [ -z "$breaks" ] || cut=${word%"${word##*[$breaks]}"}
                for word in "${reply[@]}"; do
                    word=${word%%$'\t'*}
                    [[ $word != *[:=] ]] || compopt -o nospace
                    word=${word#"$cut"}
                    [[ $word != *[[:space:]]* ]] || printf -v word %q "$word"
                    COMPREPLY+=("$word")
                done
                ;;
            :folders*)
                compopt -o dirnames +o default +o bashdefault
                ;;
            :nothing)
                compopt +o default +o bashdefault
                ;;
            esac
            # Otherwise there are no words, and bash completes a path.
        }
        complete -o default -o bashdefault -F _lincow lincow

        """;

    private const string Zsh = """
        #compdef lincow
        _lincow() {
            local -a before reply finished open
            local word name meaning current=${(Q)PREFIX}
            (( CURRENT > 2 )) && before=("${(@Q)words[2,CURRENT-1]}")
            reply=("${(@f)$(${~words[1]} __complete "${before[@]}" "$current" 2>/dev/null)}")
            case ${reply[-1]} in
            (:words)
                for word in "${(@)reply[1,-2]}"; do
                    name=${word%%$'\t'*} meaning=${word#*$'\t'}
                    # What ends so goes on behind it.
                    if [[ $name == *[:=] ]]; then
                        open+=("$name")
                    else
                        finished+=("${name//:/\\:}:$meaning")
                    fi
                done
                (( $#open )) && compadd -S '' -a open
                (( $#finished )) && _describe lincow finished
                ;;
            (:files*|:folders*)
                name=${reply[-1]#*$'\t'}
                [[ -z $name ]] || compset -P "${(b)name}"
                [[ ${reply[-1]} == :folders* ]] && _files -/ || _files
                ;;
            esac
        }
        if [[ ${funcstack[1]} == _lincow ]]; then
            _lincow "$@"
        else
            compdef _lincow lincow
        fi

        """;

    private const string Fish = """
        function __lincow_complete
            set -l before (commandline -opc)
            set -l current (commandline -ct)
            set -l program $before[1]
            set -e before[1]
            set -l reply (command $program __complete $before "$current" 2>/dev/null)
            set -l kind (string split -- \t $reply[-1])
            set -e reply[-1]
            switch "$kind[1]"
                case :words
                    printf '%s\n' $reply
                case :files
                    # What stands before the path stays.
                    set -l path (string sub --start (math 1 + (string length -- "$kind[2]")) -- "$current")
                    for found in (__fish_complete_path "$path")
                        echo -- "$kind[2]$found"
                    end
                case :folders
                    __fish_complete_directories "$current" ''
            end
        end
        complete -c lincow -f -a '(__lincow_complete)'

        """;
}
