namespace Lincow.Linux;

/// <summary>Who may connect to a Unix socket: the permissions of its file. To connect is to write.</summary>
/// <param name="Mode">Permission bits.</param>
/// <param name="Group">The file's group; null for this process's.</param>
internal sealed record SocketAccess(uint Mode, uint? Group)
{
    /// <summary>
    /// Gives the permissions to the socket that was just bound to a path, and to nothing that somebody put in its place. Before it listens:
    /// until then nobody can connect. Throws <see cref="LinuxException"/>.
    /// </summary>
    public void Grant(string path, string subject)
    {
        const int pathOnly = 0x200000;
        var descriptor = Libc.open(path, pathOnly | Libc.Open.NoFollow | Libc.CloseOnExec, 0);
        if (descriptor < 0)
            throw new LinuxException("open", subject, Libc.LastError);
        try
        {
            var own = $"/proc/self/fd/{descriptor}";
            if (!LinuxPath.IsSocket(own) || !LinuxPath.IsOwnedByThisUser(own, follow: true))
                throw new LinuxException("bind", subject, Errno.Exists);
            if (Group is { } group && Libc.chown(own, uint.MaxValue, group) < 0)
                throw new LinuxException("chown", subject, Libc.LastError);
            if (Libc.chmod(own, Mode) < 0)
                throw new LinuxException("chmod", subject, Libc.LastError);
        }
        finally
        {
            _ = Libc.close(descriptor);
        }
    }
}
