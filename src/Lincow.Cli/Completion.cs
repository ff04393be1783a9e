using System.CommandLine;
using Lincow.Serving.Control;

namespace Lincow.Cli;

/// <summary>
/// What may come at the cursor, for the scripts of <c>lincow completion</c>. They ask <c>lincow __complete WORD... CURRENT</c>, CURRENT
/// being what is left of the cursor of the word that it is in, and get lines:
///
///     words    what CURRENT may become, which begins with CURRENT, a tab and what it means; then the line ":words"
///     paths    ":files" or ":folders", a tab, and what of CURRENT stands before the path; the shell knows best how to complete one
///     nothing  ":nothing"
///
/// What is to come is known by its name in the help: PATH is a file, a|b is one of two words.
/// </summary>
internal static class Completion
{
    /// <summary>What the scripts ask with.</summary>
    public const string Verb = "__complete";

    private const string Words = ":words", Files = ":files", Folders = ":folders", Nothing = ":nothing";

    /// <summary>Prints the answer.</summary>
    public static int Answer(RootCommand root, string[] words)
    {
        string[] typed = words.Length == 0 ? [""] : words;
        foreach (var line in LinesFor(root, typed[..^1], typed[^1]))
            Console.Out.WriteLine(line);
        return 0;
    }

    internal static IEnumerable<string> LinesFor(RootCommand root, string[] before, string current)
    {
        if (before.Length == 0)
            return current.StartsWith('-') ? Offer(OptionsFor(root, before), current) : Offer(CommandsOf(root), current);
        if (root.Subcommands.FirstOrDefault(command => command.Name == before[0]) is not { } command)
            return [Nothing];
        var (expected, argumentCount, isEnded) = Read(command, before.AsSpan(1));
        if (expected is not null)
            return Value(root, command, NameOf(expected), "", current);
        if (!isEnded && current.StartsWith('-'))
        {
            return current.IndexOf('=') is > 0 and var equals
                ? Usage.FindOption(command, current[..equals]) is { } option && Usage.TakesValue(option)
                    ? Value(root, command, NameOf(option), current[..(equals + 1)], current[(equals + 1)..]) : [Nothing]
                : Offer(OptionsFor(command, before), current);
        }
        if (isEnded && command.Name == "run")
            return [Files];
        // The last one takes what there is.
        var arguments = command.Arguments;
        return arguments.Count > argumentCount ? Value(root, command, arguments[argumentCount].Name, "", current)
            : arguments.Count > 0 && arguments[^1].Arity.MaximumNumberOfValues > argumentCount
                ? Value(root, command, arguments[^1].Name, "", current)
            : [Nothing];
    }

    /// <summary>What the words lead to: an option whose value comes next, how many arguments there are, and whether -- was among
    /// them.</summary>
    private static (Option? Expected, int ArgumentCount, bool IsEnded) Read(Command command, ReadOnlySpan<string> words)
    {
        Option? expected = null;
        var (argumentCount, isEnded) = (0, false);
        foreach (var word in words)
        {
            if (expected is not null)
                expected = null;
            else if (!isEnded && word == "--")
                isEnded = true;
            else if (!isEnded && word.Length > 1 && word[0] == '-')
                expected = Usage.FindOption(command, word) is { } option && Usage.TakesValue(option) ? option : null;
            else
                argumentCount++;
        }
        return (expected, argumentCount, isEnded);
    }

    /// <param name="root">All commands.</param>
    /// <param name="command">The one that was typed.</param>
    /// <param name="name">What is to come, as help calls it.</param>
    /// <param name="prefix">What of the word stands before it.</param>
    /// <param name="current">What of it has been typed.</param>
    private static IEnumerable<string> Value(RootCommand root, Command command, string name, string prefix, string current) => name switch
    {
        "COMMAND" => Offer(CommandsOf(root), current),
        "DIR" => [Folders + "\t" + prefix],
        "DEVICE|OVERLAY" or "OVERLAY|DEVICE" => ServedOrFiles(command, current),
        "OVERLAY" when command.Name == "stop" => ServedOrFiles(command, current),
        _ when name.Contains('|', StringComparison.Ordinal) => Offer(name.Split('|').Select(word => (prefix + word, "")), prefix + current),
        "ADDRESS" when current.StartsWith("unix:", StringComparison.Ordinal) => [$"{Files}\t{prefix}unix:"],
        "ADDRESS" => Offer([(prefix + "unix:", "a Unix socket's path"), (prefix + "tcp:", "HOST:PORT")], prefix + current),
        "ORIGIN" when current.Length > 0 && "zero:".StartsWith(current, StringComparison.Ordinal) && !IsFileNamed(current) =>
            [$"{prefix}zero:\tno origin: zeroes, of this size", Words],
        "OVERLAY" or "ORIGIN" or "PATH" or "FILE" or "FILE.svg" or "SOURCE" or "DESTINATION" => [$"{Files}\t{prefix}"],
        _ => [Nothing],
    };

    private static IEnumerable<string> ServedOrFiles(Command command, string current)
    {
        if (current.Length > 0 && IsFileNamed(current))
            return [Files + "\t"];
        var served = new List<(string, string)>();
        try
        {
            foreach (var export in Servers.Find(null).Select(found => found.Export))
            {
                var device = export.Device ?? export.File;
                if (device is not null)
                    served.Add((device, export.Description));
                if (device is not null || command.Name != "detach")
                    served.Add((export.Name, export.Description));
            }
        }
        catch (Exception e) when (e is LincowException or IOException or UnauthorizedAccessException)
        {
            // Then there is nothing to offer but files.
        }
        var offered = served.FindAll(word => word.Item1.StartsWith(current, StringComparison.Ordinal));
        return offered.Count > 0 ? Offer(offered, current) : [Files + "\t"];
    }

    /// <summary>Whether a path begins so. What is a file's is never taken for something else.</summary>
    private static bool IsFileNamed(string beginning)
    {
        try
        {
            var folder = Path.GetDirectoryName(beginning) is { Length: > 0 } named ? named : beginning.StartsWith('/') ? "/" : ".";
            var name = Path.GetFileName(beginning);
            return Directory.EnumerateFileSystemEntries(folder)
                .Any(path => Path.GetFileName(path).StartsWith(name, StringComparison.Ordinal));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static IEnumerable<(string, string)> CommandsOf(RootCommand root) =>
        root.Subcommands.Where(command => !command.Hidden).Select(command => (command.Name, command.Description ?? ""));

    // Those that are there already aren't offered again, unless they may be repeated.
    private static IEnumerable<(string, string)> OptionsFor(Command command, string[] before) => Usage.OptionsOf(command)
        .Where(option => !option.Hidden && (option.Arity.MaximumNumberOfValues > 1 || !before.Contains(option.Name)))
        .Select(option => (option.Name, option.Description ?? ""));

    private static IEnumerable<string> Offer(IEnumerable<(string Word, string Meaning)> words, string current)
    {
        var fitting = words.Where(word => word.Word.StartsWith(current, StringComparison.Ordinal)).ToList();
        fitting.Sort((left, right) => string.CompareOrdinal(left.Word, right.Word));
        var lines = fitting.Select(word => $"{word.Word}\t{FirstSentence(word.Meaning)}").Distinct().ToList();
        return lines.Count > 0 ? lines.Append(Words) : [Nothing];
    }

    private static string FirstSentence(string text) =>
        text.AsSpan().IndexOfAny('.', ';') is > 0 and var end && (end + 1 == text.Length || text[end + 1] == ' ') ? text[..end] : text;

    private static string NameOf(Option option) => option.HelpName ?? "";
}
