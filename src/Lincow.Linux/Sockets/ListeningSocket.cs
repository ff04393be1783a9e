namespace Lincow.Linux;

/// <summary>
/// A Unix socket that this process listens on, with the file that leads to it: what is at the path later may be somebody else's.
/// </summary>
internal sealed class ListeningSocket
{
    private readonly string _path;
    private readonly FileIdentity? _file;

    private ListeningSocket(int descriptor, string path) => (Descriptor, _path, _file) = (descriptor, path, LinuxPath.Identity(path));

    /// <summary>Whoever takes connections from it closes it.</summary>
    public int Descriptor { get; }

    /// <summary>As <see cref="LinuxSocket.ListenUnix"/>.</summary>
    public static ListeningSocket Bind(string path, SocketAccess? access = null) => new(LinuxSocket.ListenUnix(path, access), path);

    /// <summary>
    /// Takes the file away, if it is still the one that was made. To be called while the socket listens: a successor takes over a path only
    /// when nobody listens there, so it can't come in between.
    /// </summary>
    public void RemovePath()
    {
        // mutation: successors-socket-removed
        if (_file is not null && LinuxPath.Identity(_path) == _file)
            _ = Libc.unlink(_path);
    }
}
