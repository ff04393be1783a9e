using System.CommandLine;
using Lincow.Linux;
using Lincow.Serving.Hosting;

namespace Lincow.Cli;

/// <summary>The options that say who else may connect to the Unix sockets of serve.</summary>
internal sealed class SocketArguments
{
    private const UnixFileMode OwnersAlone = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode WithGroup = OwnersAlone | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    private readonly Option<string?> _mode = new("--socket-mode")
    {
        Description = "Permissions of Unix sockets, in octal; to connect is to write [default: 0600, and 0660 with --socket-group]",
        HelpName = "MODE",
    };

    private readonly Option<string?> _group = new("--socket-group")
    {
        Description = "Group of Unix sockets, for example kvm: whoever is in it may connect as well",
        HelpName = "GROUP",
    };

    public void AddTo(Command command)
    {
        command.Add(_mode);
        command.Add(_group);
    }

    /// <summary>The addresses, with the permissions that were asked for. Throws <see cref="UsageException"/>.</summary>
    public (List<ListenAddress> Nbd, List<ListenAddress.Unix> Vhost) Apply(ParseResult result, List<ListenAddress> nbd,
        List<ListenAddress.Unix> vhost)
    {
        var (mode, group) = (result.GetValue(_mode), result.GetValue(_group));
        if (mode is null && group is null)
            return (nbd, vhost);
        if (vhost.Count == 0 && !nbd.OfType<ListenAddress.Unix>().Any())
            throw new UsageException("--socket-mode and --socket-group go with --nbd unix:PATH or --vhost-user PATH: nobody else reaches "
                + "the default socket, and TCP has no permissions");
        var permissions = mode is null ? WithGroup : ParseMode(mode);
        var number = group is null ? (uint?)null : ParseGroup(group);
        ListenAddress.Unix With(ListenAddress.Unix socket) => socket with { Mode = permissions, Group = number };
        return ([.. nbd.Select(address => address is ListenAddress.Unix socket ? With(socket) : address)], [.. vhost.Select(With)]);
    }

    private static UnixFileMode ParseMode(string text)
    {
        var mode = 0;
        foreach (var digit in text)
        {
            mode = digit is >= '0' and <= '7' && mode <= 0x1ff ? mode << 3 | digit - '0' : int.MaxValue;
            if (mode > 0x1ff)
                break;
        }
        return text.Length > 0 && mode <= 0x1ff ? (UnixFileMode)mode
            : throw new UsageException($"--socket-mode '{text}': give permissions in octal, from 0 to 0777, for example 0660");
    }

    private static uint ParseGroup(string text) => LinuxGroup.Find(text)
        ?? throw new UsageException($"--socket-group '{text}': there is no such group; give its name or number");
}
