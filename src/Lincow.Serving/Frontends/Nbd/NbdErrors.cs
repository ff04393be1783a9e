using Lincow.Linux;
using Code = Lincow.LincowErrorCode;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>Errors of NBD's client, and of TLS.</summary>
internal static class NbdErrors
{
    public static LincowError NoServer(string server) => new(Code.PeerFailed, server,
        $"{server}: is no NBD server that lincow understands");

    public static LincowError NoReply(string server) => new(Code.PeerFailed, server,
        $"{server}: answered with something that is no reply");

    public static LincowError RequestFailed(string server, string command, long byteOffset, int errno) => new(Code.PeerFailed, server,
        $"{server}: {command} at device byte {byteOffset} failed: {Errno.Describe(errno)}",
        new("command", command), new("deviceOffset", byteOffset), new("errno", errno));

    public static LincowError Closed(string server) => new(Code.PeerFailed, server, $"{server}: closed the connection");

    public static LincowError CertificateMissing(string path) => new(Code.CertificateMissing, path,
        $"{path}: there is no such file; TLS needs a certificate, its key and perhaps an authority, each as PEM");

    public static LincowError NoAuthority(string path) => new(Code.CertificateMissing, path,
        $"{path}: holds no certificate, so nobody could be let in");

    public static LincowError CertificateUnusable(string certificate, string key, string? authority, Exception e) =>
        new(Code.CertificateUnusable, certificate,
            $"TLS: the certificate {certificate}, its key {key}{(authority is null ? "" : $" or the authority {authority}")} can't be "
            + $"read: {e.Message}", new("key", key), new("authority", authority), new("reason", e.Message));
}
