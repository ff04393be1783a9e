using System.Text;

namespace Lincow.Linux;

/// <summary>
/// How a Unix socket's path is said to the kernel (unix(7)): an address holds 107 bytes, while a directory may lie deeper than that. A
/// longer path goes through its directory, which is open meanwhile: /proc/self/fd/N/NAME. Only who can do the same reaches such a socket,
/// so it is good between lincow's own processes; what others connect to needs a path that fits (<see cref="MaxPathBytes"/>).
/// </summary>
internal sealed class UnixAddress : IDisposable
{
    /// <summary>The longest path: sun_path holds 108 bytes with its NUL.</summary>
    public const int MaxPathBytes = 107;

    private const int PathOnly = 0x200000;

    private readonly int _directory;

    private UnixAddress(string path, int directory) => (Path, _directory) = (path, directory);

    /// <summary>A path that fits, and leads there as long as this isn't disposed of.</summary>
    public string Path { get; }

    /// <summary>Whether others can connect to a socket of this path.</summary>
    public static bool Fits(string path) => Encoding.UTF8.GetByteCount(path) <= MaxPathBytes;

    /// <summary>Throws <see cref="LinuxException"/> when its directory can't be opened, or its name alone is too long.</summary>
    public static UnixAddress Of(string path)
    {
        if (Fits(path))
            return new UnixAddress(path, -1);
        var full = LinuxPath.Full(path);
        var directory = Libc.open(System.IO.Path.GetDirectoryName(full)!, PathOnly | Libc.Open.Directory | Libc.CloseOnExec, 0);
        if (directory < 0)
            throw new LinuxException("open", path, Libc.LastError);
        // mutation: long-socket-path-not-shortened
        var address = new UnixAddress($"/proc/self/fd/{directory}/{System.IO.Path.GetFileName(full)}", directory);
        if (Fits(address.Path))
            return address;
        address.Dispose();
        throw new LinuxException("bind", path, Errno.NameTooLong);
    }

    /// <summary>struct sockaddr_un.</summary>
    public byte[] ToBytes()
    {
        const byte familyUnix = 1;
        var bytes = new byte[2 + Encoding.UTF8.GetByteCount(Path) + 1];
        bytes[0] = familyUnix;
        Encoding.UTF8.GetBytes(Path, bytes.AsSpan(2));
        return bytes;
    }

    public void Dispose()
    {
        if (_directory >= 0)
            _ = Libc.close(_directory);
    }
}
