using System.CommandLine;
using System.CommandLine.Help;

namespace Lincow.Cli;

/// <summary>
/// Looks at the words of a command line before they are parsed. To the parser, an option that it doesn't know is an argument; so a slip of
/// the keyboard would name an overlay. Here, whatever begins with a - is an option, unless a -- came before.
/// </summary>
internal static class Usage
{
    /// <summary>Commands that are planned: who asks for them should not look for the right spelling.</summary>
    public static readonly string[] PlannedCommands = ["apply", "checkpoint", "delete", "diff", "digest", "flatten", "fork", "hydrate",
        "pack", "pull", "push", "rebase", "resize", "seal", "snapshot", "tree", "unpack", "verify"];

    private static readonly Dictionary<string, string[]> PlannedOptions = new()
    {
        ["create"] = ["--expect"],
        ["serve"] = ["--bandwidth", "--expect", "--fork-on-connect", "--iops", "--metrics", "--quota", "--sandbox"],
        ["reset"] = ["--to"],
        ["commit"] = ["--into"],
    };

    /// <summary>Throws <see cref="UsageException"/> for a command or an option that isn't there, with the one that may be meant.</summary>
    public static void Judge(RootCommand root, string[] words)
    {
        if (words.Length == 0)
            return;
        if (words[0].StartsWith('-'))
        {
            JudgeOptions(root, words);
            return;
        }
        var command = FindCommand(root, words[0]);
        var options = words.AsSpan(1);
        if (Array.IndexOf(words, "--") is > 0 and var end)
            options = words.AsSpan(1, end - 1);
        JudgeOptions(command, options);
    }

    /// <summary>The command of that name; throws <see cref="UsageException"/>.</summary>
    public static Command FindCommand(RootCommand root, string name)
    {
        if (root.Subcommands.FirstOrDefault(command => command.Name == name) is { } command)
            return command;
        if (PlannedCommands.Contains(name))
            throw new UsageException($"'{name}' is not there yet: this version of lincow has no such command");
        throw new UsageException($"'{name}': lincow has no such command{DidYouMean(name, root.Subcommands.Where(other => !other.Hidden)
            .Select(other => other.Name))}");
    }

    /// <summary>The option of that name, the command's own or one that all have; null when there is none.</summary>
    public static Option? FindOption(Command command, string name) =>
        OptionsOf(command).FirstOrDefault(option => option.Name == name || option.Aliases.Contains(name));

    /// <summary>Options that can be typed after a command.</summary>
    public static IEnumerable<Option> OptionsOf(Command command) =>
        command.Options.Concat(command.Parents.OfType<Command>().SelectMany(parent => parent.Options.Where(option => option.Recursive)));

    /// <summary>Whether the word behind an option's name is its value.</summary>
    public static bool TakesValue(Option option) => option.Arity.MinimumNumberOfValues > 0;

    private static void JudgeOptions(Command command, ReadOnlySpan<string> words)
    {
        // Who asks for help gets it, whatever else is there.
        foreach (var word in words)
        {
            if (FindOption(command, word) is HelpOption)
                return;
        }
        var isValue = false;
        foreach (var word in words)
        {
            // A number may be negative, and is judged as a number.
            var isNumber = isValue && word.Length > 1 && char.IsAsciiDigit(word[1]);
            if (word.Length < 2 || word[0] != '-' || isNumber)
            {
                isValue = false;
                continue;
            }
            var split = word.AsSpan().IndexOfAny('=', ':');
            var name = split < 0 ? word : word[..split];
            // mutation: unknown-option-is-an-overlay
            var option = FindOption(command, name) ?? throw NoSuchOption(command, word, name);
            isValue = split < 0 && TakesValue(option);
        }
    }

    private static UsageException NoSuchOption(Command command, string word, string name)
    {
        var where = command is RootCommand ? "lincow" : $"'lincow {command.Name}'";
        if (PlannedOptions.TryGetValue(command.Name, out var planned) && planned.Contains(name))
            return new UsageException($"'{name}' is not there yet: in this version {where} has no such option");
        var known = OptionsOf(command).Where(option => !option.Hidden).SelectMany(option => option.Aliases.Append(option.Name))
            .Where(other => other.StartsWith("--", StringComparison.Ordinal));
        var hint = DidYouMean("--" + name.TrimStart('-'), known);
        return new UsageException($"'{name}': {where} has no such option{(hint.Length > 0 ? hint : command is RootCommand ? ""
            : $". A path that begins with '-' comes behind '--', or is written ./{word}")}");
    }

    private static string DidYouMean(string word, IEnumerable<string> known)
    {
        var (nearest, least) = ("", int.MaxValue);
        foreach (var name in known)
        {
            var distance = Distance(word, name);
            var isNear = distance <= Math.Max(1, Math.Min(word.Length, name.Length) / 3)
                || (word.Length > 3 && name.StartsWith(word, StringComparison.Ordinal));
            if (isNear && distance < least)
                (nearest, least) = (name, distance);
        }
        return nearest.Length == 0 ? "" : $"; did you mean '{nearest}'?";
    }

    /// <summary>
    /// How many letters were left out, put in, changed or swapped with their neighbour (the optimal string alignment distance).
    /// </summary>
    private static int Distance(string left, string right)
    {
        var rows = new int[left.Length + 1, right.Length + 1];
        for (var i = 0; i <= left.Length; i++)
        {
            for (var j = 0; j <= right.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    rows[i, j] = i + j;
                    continue;
                }
                var change = left[i - 1] == right[j - 1] ? 0 : 1;
                rows[i, j] = Math.Min(Math.Min(rows[i - 1, j], rows[i, j - 1]) + 1, rows[i - 1, j - 1] + change);
                if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1])
                    rows[i, j] = Math.Min(rows[i, j], rows[i - 2, j - 2] + 1);
            }
        }
        return rows[left.Length, right.Length];
    }
}
