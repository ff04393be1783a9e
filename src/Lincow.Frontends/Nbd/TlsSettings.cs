using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Lincow.Linux;

namespace Lincow.Frontends.Nbd;

/// <summary>
/// TLS for NBD (proto.md, "TLS support"): .NET's SslStream on the thread pool, between the client's socket and one end of a socket pair whose other
/// end takes the client's place on the loop. So the data path knows nothing of TLS.
/// </summary>
public sealed class TlsSettings
{
    /// <summary>How often the pump looks whether the server has closed its end while the client isn't reading.</summary>
    private const int HangUpMilliseconds = 500;

    private readonly SslServerAuthenticationOptions _options;
    private int _pumps;

    private TlsSettings(SslServerAuthenticationOptions options, bool isRequired) => (_options, IsRequired) = (options, isRequired);

    /// <summary>Nothing but STARTTLS is answered in the open.</summary>
    public bool IsRequired { get; }

    /// <summary>Reads PEM files. With an authority, clients must show a certificate that it signed. Throws <see cref="LincowException"/>.</summary>
    public static TlsSettings Load(string certificatePath, string keyPath, string? authorityPath, bool isRequired)
    {
        foreach (var path in new[] { certificatePath, keyPath, authorityPath })
        {
            if (path is not null && !File.Exists(path))
                throw new LincowException($"{path}: there is no such file; TLS needs a certificate, its key and perhaps an authority, each as PEM");
        }
        try
        {
            using var pem = X509Certificate2.CreateFromPemFile(certificatePath, keyPath);
            // SslStream wants a key that it can keep: through PKCS #12, in memory.
            var certificate = X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null);
            var options = new SslServerAuthenticationOptions
            {
                ServerCertificate = certificate,
                EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            };
            if (authorityPath is not null)
            {
                var authorities = new X509Certificate2Collection();
                authorities.ImportFromPemFile(authorityPath);
                if (authorities.Count == 0)
                    throw new LincowException($"{authorityPath}: holds no certificate, so nobody could be let in");
                options.ClientCertificateRequired = true;
                options.RemoteCertificateValidationCallback = (_, shown, _, _) => IsSignedBy(shown, authorities);
            }
            return new TlsSettings(options, isRequired);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or System.Security.Cryptography.CryptographicException)
        {
            throw new LincowException($"TLS: the certificate {certificatePath}, its key {keyPath}{(authorityPath is null ? "" : $" or the authority {authorityPath}")} can't be read: {e.Message}", e);
        }
    }

    /// <summary>Waits until the last replies of closed connections have left, a bounded time.</summary>
    public void WaitForPumps()
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (Volatile.Read(ref _pumps) > 0 && clock.ElapsedMilliseconds < NbdProtocol.GraceMilliseconds + HangUpMilliseconds)
            Thread.Sleep(5);
    }

    /// <summary>Takes over a client's socket; returns the descriptor that speaks plain text from now on.</summary>
    internal int Wrap(int socket, Action<string> log)
    {
        var (plain, pump) = LinuxSocket.Pair();
        Interlocked.Increment(ref _pumps);
        _ = Task.Run(async () =>
        {
            await PumpAsync(socket, pump, log);
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
                await tls.AuthenticateAsServerAsync(_options, deadline.Token);
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

    private static bool IsSignedBy(X509Certificate? shown, X509Certificate2Collection authorities)
    {
        if (shown is null)
            return false;
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(authorities);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        using var certificate = X509CertificateLoader.LoadCertificate(shown.GetRawCertData());
        return chain.Build(certificate);
    }
}
