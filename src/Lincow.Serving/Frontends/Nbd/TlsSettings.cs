using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// TLS for NBD (proto.md, "TLS support"): .NET's SslStream on the thread pool, between the client's socket and one end of a socket pair
/// whose other end takes the client's place on the loop. So the data path knows nothing of TLS.
/// </summary>
public sealed class TlsSettings
{
    /// <summary>How often the pump looks whether the server has closed its end while the client isn't reading.</summary>
    private const int HangUpMilliseconds = 500;

    /// <summary>What a certificate has to be for, if it says what it is for: TLS clients (RFC 5280, section 4.2.1.12).</summary>
    private static readonly Oid _clientAuthentication = new("1.3.6.1.5.5.7.3.2");

    private readonly SslStreamCertificateContext _certificate;
    private readonly X509Certificate2Collection? _authorities;
    private int _pumps;

    private TlsSettings(SslStreamCertificateContext certificate, X509Certificate2Collection? authorities, bool isRequired) =>
        (_certificate, _authorities, IsRequired) = (certificate, authorities, isRequired);

    /// <summary>Nothing but STARTTLS is answered in the open.</summary>
    public bool IsRequired { get; }

    /// <summary>Whoever has got through is a client with a certificate of one of the authorities.</summary>
    public bool KnowsClients => _authorities is not null;

    /// <summary>
    /// Reads PEM files. With an authority, clients must show a certificate that it signed. Throws <see cref="LincowException"/>.
    /// </summary>
    public static TlsSettings Load(string certificatePath, string keyPath, string? authorityPath, bool isRequired)
    {
        foreach (var path in new[] { certificatePath, keyPath, authorityPath })
        {
            if (path is not null && !File.Exists(path))
                throw new LincowException(NbdErrors.CertificateMissing(path));
        }
        try
        {
            using var pem = X509Certificate2.CreateFromPemFile(certificatePath, keyPath);
            // SslStream wants a key that it can keep: through PKCS #12, in memory.
            var certificate = X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null);
            // What follows it in the file leads to its authority, and is sent along. Offline: what is missing there is not looked for in
            // the network.
            var chain = new X509Certificate2Collection();
            chain.ImportFromPemFile(certificatePath);
            var context = SslStreamCertificateContext.Create(certificate, chain, offline: true);
            if (authorityPath is null)
                return new TlsSettings(context, null, isRequired);
            var authorities = new X509Certificate2Collection();
            authorities.ImportFromPemFile(authorityPath);
            if (authorities.Count == 0)
                throw new LincowException(NbdErrors.NoAuthority(authorityPath));
            return new TlsSettings(context, authorities, isRequired);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or CryptographicException)
        {
            throw new LincowException(NbdErrors.CertificateUnusable(certificatePath, keyPath, authorityPath, e), e);
        }
    }

    /// <summary>Waits until the last replies of closed connections have left, a bounded time.</summary>
    internal void WaitForPumps()
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (Volatile.Read(ref _pumps) > 0 && clock.ElapsedMilliseconds < NbdProtocol.GraceMilliseconds + HangUpMilliseconds)
            Thread.Sleep(5);
    }

    /// <summary>Takes over a client's socket; returns the descriptor that speaks plain text from now on.</summary>
    /// <param name="ended">Called, on any thread, when nothing is left of it.</param>
    internal int Wrap(int socket, Action<string> log, Action ended)
    {
        var (plain, pump) = LinuxSocket.Pair();
        Interlocked.Increment(ref _pumps);
        _ = Task.Run(async () =>
        {
            await PumpAsync(socket, pump, log);
            ended();
            Interlocked.Decrement(ref _pumps);
        });
        return plain;
    }

    private async Task PumpAsync(int clientDescriptor, int pumpDescriptor, Action<string> log)
    {
        using var client = new Socket(new SafeSocketHandle(clientDescriptor, ownsHandle: true));
        using var inner = new Socket(new SafeSocketHandle(pumpDescriptor, ownsHandle: true));
        try
        {
            await using var tls = new SslStream(new NetworkStream(client, ownsSocket: false));
            await using var plain = new NetworkStream(inner, ownsSocket: false);
            using (var deadline = new CancellationTokenSource(NbdProtocol.HandshakeMilliseconds))
                await tls.AuthenticateAsServerAsync(Options(), deadline.Token);
            var up = CopyAsync(tls, plain, () => inner.Shutdown(SocketShutdown.Send));
            var down = CopyAsync(plain, tls, () => inner.Shutdown(SocketShutdown.Receive));
            // The server's side decides when the connection is over: it closes when every reply has been sent. Once it has closed, a client
            // that doesn't take what is left gets the same grace as one in the open; then its socket is closed under it.
            while (!down.IsCompleted && !LinuxSocket.IsHungUp(pumpDescriptor))
                await Task.WhenAny(down, Task.Delay(HangUpMilliseconds));
            using var grace = new CancellationTokenSource(NbdProtocol.GraceMilliseconds);
            using var cut = grace.Token.Register(client.Dispose);
            await down;
            await tls.ShutdownAsync();
            client.Shutdown(SocketShutdown.Both);
            await up;
        }
        catch (AuthenticationException e)
        {
            log($"TLS: a client was turned away: {e.Message}");
        }
        catch (Exception e) when (e is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // The client went away.
        }
    }

    private static async Task CopyAsync(Stream from, Stream to, Action ended)
    {
        try
        {
            await from.CopyToAsync(to, 128 << 10);
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            // One side went away; the other is told below.
        }
        try
        {
            ended();
        }
        catch (SocketException)
        {
            // It is gone already.
        }
    }

    /// <summary>
    /// The terms for one connection. A client's certificate has to lead to one of the authorities through certificates of theirs or of its
    /// own sending, to be within its time, and to be for clients. Nothing is fetched to find that out: the address would be a stranger's,
    /// who isn't let in yet.
    /// </summary>
    private SslServerAuthenticationOptions Options()
    {
        var options = new SslServerAuthenticationOptions
        {
            ServerCertificateContext = _certificate,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13
        };
        // Also where no certificate is asked for: nothing is fetched, whatever a client shows.
        var policy = options.CertificateChainPolicy =
            new X509ChainPolicy { DisableCertificateDownloads = true, RevocationMode = X509RevocationMode.NoCheck };
        if (_authorities is null)
            return options;
        policy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        policy.CustomTrustStore.AddRange(_authorities);
        policy.ApplicationPolicy.Add(_clientAuthentication);
        options.ClientCertificateRequired = true;
        options.RemoteCertificateValidationCallback = (_, shown, _, errors) => shown is not null && errors == SslPolicyErrors.None;
        return options;
    }
}
