using System.ComponentModel;
using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// Where a program is, as a shell finds it: in the directories of PATH, and nowhere else unless its name has a slash. .NET looks beside its
/// own program and in the current directory first.
/// </summary>
internal static class ProgramPath
{
    private const UnixFileMode Executable = UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    /// <summary>Throws <see cref="Win32Exception"/> when there is none.</summary>
    public static string Of(string command)
    {
        if (command.Contains('/', StringComparison.Ordinal))
            return Directory.Exists(command) ? throw new Win32Exception(Errno.Access) : LinuxPath.Full(command);
        var isThere = false;
        foreach (var directory in (Environment.GetEnvironmentVariable("PATH") ?? "/usr/local/bin:/usr/bin:/bin").Split(':'))
        {
            var path = Path.Combine(directory.Length == 0 ? "." : directory, command);
            if (command.Length == 0 || !File.Exists(path))
                continue;
            if ((File.GetUnixFileMode(path) & Executable) != 0)
                return LinuxPath.Full(path);
            isThere = true;
        }
        throw new Win32Exception(isThere ? Errno.Access : Errno.NoEntry);
    }
}
