using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// Refuses names that aren't UTF-8 before anything is done with them: arguments, the current directory, and the variables that name
/// directories. What has been made of them by the time a command gets them is another name (<see cref="NamesOfBytes"/>).
/// </summary>
internal static class Names
{
    private const string Advice = "isn't UTF-8, and lincow takes no other names";

    private static readonly string[] _directories = ["LINCOW_RUN_DIR", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"];

    /// <summary>Commands that find what they are about in records, whatever the current directory is called.</summary>
    private static readonly string[] _withoutPaths = ["status", "detach", "demo", "completion"];

    /// <summary>Throws <see cref="CommandException"/>.</summary>
    public static void Check(string command)
    {
        // What is behind -- as well: the user's command would get it.
        // mutation: another-name-instead
        if (NamesOfBytes.WrongArgument(Environment.GetCommandLineArgs()) is { } wrong)
            throw new CommandException($"{wrong}: {Advice}. Rename it (convmv does that for whole directories), or give a symbolic link "
                + "that leads there");
        foreach (var variable in _directories)
        {
            if (NamesOfBytes.WrongVariable(variable) is { } directory)
                throw new CommandException($"{directory}: {Advice}. Set {variable} to another directory");
        }
        // As HostMark looks for it.
        if (Environment.GetEnvironmentVariable("XDG_STATE_HOME") is not { Length: > 0 } && !Environment.IsPrivilegedProcess
            && NamesOfBytes.WrongVariable("HOME") is { } home)
            throw new CommandException($"{home}: {Advice}. Set XDG_STATE_HOME to a directory of yours with another name");
        // mutation: another-directory-instead
        if (!_withoutPaths.Contains(command) && NamesOfBytes.WrongCurrentDirectory() is { } current)
            throw new CommandException($"{current}: the current directory's name {Advice}. Change to another one, for example with 'cd /', "
                + "and give whole paths, by a symbolic link where that name is in them");
    }
}
