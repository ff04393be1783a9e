using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Tls;

/// <summary>
/// An authority, a server's and a client's certificate, and a stranger's of another authority: made by openssl once for the class.
/// </summary>
public sealed class Certificates : IDisposable
{
    private readonly Scratch _scratch = new();

    public Certificates()
    {
        foreach (var authority in new[] { "good", "bad" })
        {
            Directory.CreateDirectory(_scratch[authority]);
            Authority(authority);
            Sign(authority, "server", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth");
            Sign(authority, "client", "extendedKeyUsage=clientAuth");
        }
        // A client that trusts the good authority, but has nothing to show.
        Directory.CreateDirectory(_scratch["anonymous"]);
        File.Copy(Authority(), Path.Combine(AnonymousDirectory, "ca-cert.pem"));
        // One that shows what another authority signed.
        Directory.CreateDirectory(_scratch["stranger"]);
        File.Copy(Authority(), Path.Combine(StrangerDirectory, "ca-cert.pem"));
        File.Copy(_scratch["bad/client-cert.pem"], Path.Combine(StrangerDirectory, "client-cert.pem"));
        File.Copy(_scratch["bad/client-key.pem"], Path.Combine(StrangerDirectory, "client-key.pem"));
        // One that shows a certificate of the right authority, for another purpose.
        Directory.CreateDirectory(ServerAsClientDirectory);
        File.Copy(Authority(), Path.Combine(ServerAsClientDirectory, "ca-cert.pem"));
        File.Copy(_scratch["good/server-cert.pem"], Path.Combine(ServerAsClientDirectory, "client-cert.pem"));
        File.Copy(_scratch["good/server-key.pem"], Path.Combine(ServerAsClientDirectory, "client-key.pem"));
    }

    public string ServerAsClientDirectory => _scratch["server-as-client"];

    /// <summary>A stranger whose certificate says that its authority's is to be had from a port of this machine.</summary>
    public string Pointing(int port)
    {
        var directory = Directory.CreateDirectory(_scratch["pointing"]).FullName;
        Sign("bad", "pointing", $"extendedKeyUsage=clientAuth\nauthorityInfoAccess=caIssuers;URI:http://127.0.0.1:{port}/authority");
        File.Copy(Authority(), Path.Combine(directory, "ca-cert.pem"));
        File.Copy(_scratch["bad/pointing-cert.pem"], Path.Combine(directory, "client-cert.pem"));
        File.Copy(_scratch["bad/pointing-key.pem"], Path.Combine(directory, "client-key.pem"));
        return directory;
    }

    /// <summary>As libnbd wants it: ca-cert.pem, client-cert.pem, client-key.pem.</summary>
    public string ClientDirectory => _scratch["good"];

    public string AnonymousDirectory => _scratch["anonymous"];

    public string StrangerDirectory => _scratch["stranger"];

    public string[] ServerOptions => ["--tls-cert", _scratch["good/server-cert.pem"], "--tls-key", _scratch["good/server-key.pem"]];

    public string[] RequireClients => [.. ServerOptions, "--tls-ca", Authority(), "--tls-require"];

    public string OtherKey => _scratch["bad/server-key.pem"];

    public void Dispose() => _scratch.Dispose();

    private string Authority() => _scratch["good/ca-cert.pem"];

    private void Authority(string name) =>
        Tool.Ok("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            $"/CN={name} authority",
            "-keyout", _scratch[name + "/ca-key.pem"], "-out", _scratch[name + "/ca-cert.pem"]);

    private void Sign(string authority, string role, string extensions)
    {
        var stem = _scratch[$"{authority}/{role}"];
        File.WriteAllText(stem + ".ext", extensions);
        Tool.Ok("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", $"/CN={role}", "-keyout",
            stem + "-key.pem", "-out", stem + ".csr");
        Tool.Ok("openssl", "x509", "-req", "-in", stem + ".csr", "-CA", _scratch[authority + "/ca-cert.pem"], "-CAkey",
            _scratch[authority + "/ca-key.pem"],
            "-CAcreateserial", "-days", "2", "-extfile", stem + ".ext", "-out", stem + "-cert.pem");
    }
}
