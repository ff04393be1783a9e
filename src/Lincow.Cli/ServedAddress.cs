using Lincow.Linux;
using Lincow.Serving.Control;
using Lincow.Serving.Hosting;

namespace Lincow.Cli;

/// <summary>Finds an export by where clients connect to it: a URI that 'ready' named, or the socket in it.</summary>
internal static class ServedAddress
{
    private const string UnixScheme = "+unix:///", SocketIs = "?socket=", VhostScheme = "vhost-user:";

    /// <summary>
    /// Whether a URI, unix:PATH, vhost-user:PATH, tcp:HOST:PORT or a socket's path leads to the export. A URI with a name leads to that
    /// export alone.
    /// </summary>
    public static bool Leads(string target, ExportRecord export) => export.Uris.Any(uri => uri == target || IsAt(target, uri));

    private static bool IsAt(string target, string uri)
    {
        if (SocketOf(uri) is { } socket)
        {
            var path = target.StartsWith("unix:", StringComparison.Ordinal) ? target[5..] : SocketOf(target) is { } of ? of : target;
            // A URI without a name means all that is there.
            var meansAll = !target.Contains("://", StringComparison.Ordinal) || target.Contains(UnixScheme + "?", StringComparison.Ordinal);
            return meansAll && path.Length > 0 && (LinuxPath.FullOrAsItIs(path) == socket || LinuxPath.AreSame(path, socket));
        }
        // nbd://HOST:PORT/NAME
        var place = uri.IndexOf("://", StringComparison.Ordinal) is >= 0 and var at ? uri[(at + 3)..uri.LastIndexOf('/')] : "";
        return target.StartsWith("tcp:", StringComparison.Ordinal)
            ? ListenAddress.TryParse(target, out var address) && address.ToString() == "tcp:" + place
            : target.TrimEnd('/') is var bare && bare.EndsWith("://" + place, StringComparison.Ordinal);
    }

    private static string? SocketOf(string uri) =>
        uri.StartsWith(VhostScheme, StringComparison.Ordinal) ? uri[VhostScheme.Length..]
        : uri.Contains(UnixScheme, StringComparison.Ordinal) && uri.IndexOf(SocketIs, StringComparison.Ordinal) is >= 0 and var at
            ? Uri.UnescapeDataString(uri[(at + SocketIs.Length)..])
        : null;
}
