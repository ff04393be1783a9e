using System.Diagnostics.CodeAnalysis;
using Lincow.Linux;

namespace Lincow.Serving.Hosting;

/// <summary>Where clients connect: a Unix socket or a TCP address.</summary>
public abstract record ListenAddress
{
    private ListenAddress()
    {
    }

    /// <summary>A Unix socket at an absolute path. Its owner alone can connect, unless others are let in.</summary>
    /// <param name="Path">The path.</param>
    public sealed record Unix(string Path) : ListenAddress
    {
        /// <summary>Permissions of the socket's file, whatever umask says. To connect is to write.</summary>
        public UnixFileMode Mode { get; init; } = UnixFileMode.UserRead | UnixFileMode.UserWrite;

        /// <summary>The number of the group that the socket's file gets; null for this process's.</summary>
        public uint? Group { get; init; }

        /// <summary>As in <see cref="TryParse"/>.</summary>
        public override string ToString() => "unix:" + Path;
    }

    /// <summary>A TCP address. Everybody who reaches the port can connect.</summary>
    /// <param name="Host">An IP address, or a name of this machine.</param>
    /// <param name="Port">The port; 0 lets the system choose one.</param>
    public sealed record Tcp(string Host, int Port) : ListenAddress
    {
        /// <summary>As in <see cref="TryParse"/>.</summary>
        public override string ToString() => Host.Contains(':', StringComparison.Ordinal) ? $"tcp:[{Host}]:{Port}" : $"tcp:{Host}:{Port}";
    }

    /// <summary>
    /// Reads unix:PATH, tcp:HOST:PORT, tcp:[::1]:10809 for IPv6, tcp::PORT for all addresses and tcp:PORT for the loopback. Throws
    /// <see cref="LincowException"/> when the path is too long for a socket.
    /// </summary>
    /// <returns>False when it is none of these.</returns>
    public static bool TryParse(string text, [NotNullWhen(true)] out ListenAddress? address)
    {
        address = null;
        if (text.StartsWith("unix:", StringComparison.Ordinal) && text.Length > 5)
        {
            address = AtPath(text[5..]);
        }
        else if (text.StartsWith("tcp:", StringComparison.Ordinal))
        {
            var rest = text[4..];
            var colon = rest.LastIndexOf(':');
            var host = colon < 0 ? "127.0.0.1" : rest[..colon].Trim('[', ']');
            if (ushort.TryParse(rest[(colon + 1)..], out var port))
                address = new Tcp(host.Length == 0 ? "0.0.0.0" : host, port);
        }
        return address is not null;
    }

    /// <summary>
    /// A Unix socket at a path, absolute or not. Throws <see cref="LincowException"/> when it is too long for one (107 bytes).
    /// </summary>
    public static Unix AtPath(string path)
    {
        var full = LinuxPath.Full(path);
        return UnixAddress.Fits(full) ? new Unix(full) : throw new LincowException(
            HostErrors.SocketPathTooLong(full, System.Text.Encoding.UTF8.GetByteCount(full), UnixAddress.MaxPathBytes));
    }
}
