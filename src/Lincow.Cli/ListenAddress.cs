using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>Where to listen: a Unix socket or a TCP address.</summary>
internal abstract record ListenAddress
{
    public sealed record Unix(string Path) : ListenAddress;

    public sealed record Tcp(string Host, int Port) : ListenAddress;

    /// <summary>Parses unix:PATH and tcp:HOST:PORT (tcp:[::1]:10809 for IPv6, tcp:PORT for the loopback).</summary>
    public static ListenAddress Parse(string text)
    {
        if (text.StartsWith("unix:", StringComparison.Ordinal) && text.Length > 5)
            return new Unix(UnixPath(text[5..]));
        if (text.StartsWith("tcp:", StringComparison.Ordinal))
        {
            var rest = text[4..];
            var colon = rest.LastIndexOf(':');
            var host = colon < 0 ? "127.0.0.1" : rest[..colon].Trim('[', ']');
            if (ushort.TryParse(rest[(colon + 1)..], out var port))
                return new Tcp(host.Length == 0 ? "0.0.0.0" : host, port);
        }
        throw new UsageException($"--nbd '{text}': write unix:PATH or tcp:HOST:PORT");
    }

    /// <summary>The absolute path of a socket, if it is short enough for one.</summary>
    public static string UnixPath(string text)
    {
        var path = System.IO.Path.GetFullPath(text);
        var bytes = System.Text.Encoding.UTF8.GetByteCount(path);
        return bytes <= LinuxSocket.MaxUnixPathBytes ? path
            : throw new LincowException($"{path}: a Unix socket's path has at most {LinuxSocket.MaxUnixPathBytes} bytes, and this one has {bytes}. Use a shorter one, for example in /run or /tmp");
    }
}
