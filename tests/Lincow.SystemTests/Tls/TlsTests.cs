using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Tls;

/// <summary>TLS by certificates, with libnbd (GnuTLS) as the client.</summary>
public class TlsTests(Certificates certificates) : IClassFixture<Certificates>
{
    [Fact]
    public void A_client_with_a_certificate_works_inside_TLS()
    {
        using var served = new ServedOverlay(serve: certificates.RequireClients);
        Assert.StartsWith("nbds+unix:///work?socket=", served.Uri);
        var uri = Secure(served.Uri, certificates.ClientDirectory);
        Assert.Contains("export-size: 4194304", Tool.Ok("nbdinfo", uri));
        Nbd.Script("""
            h = nbd.NBD()
            h.set_uri_allow_local_file(True)
            h.connect_uri(sys.argv[1])
            check(h.get_tls_negotiated(), 'TLS')
            data = os.urandom(3 << 20)
            h.pwrite(data, 12345)
            h.flush()
            check(h.pread(len(data), 12345) == data, 'the bytes')
            h.trim(1 << 20, 1 << 20)
            check(h.pread(1 << 20, 1 << 20) == bytes(1 << 20), 'zeroes')
            h.shutdown()
            """, uri);
        served.Stop();
    }

    [Fact]
    public void Whole_images_go_through_TLS_on_several_connections()
    {
        using var served = new ServedOverlay(16 << 20, serve: certificates.RequireClients);
        var uri = Secure(served.Uri, certificates.ClientDirectory);
        var (image, copy) = (served.Scratch.Random("image.img", 16 << 20, seed: 6), served.Scratch["copy.img"]);
        Tool.Ok("nbdcopy", "--connections=4", "--flush", image, uri);
        Tool.Ok("nbdcopy", "--connections=4", uri, copy);
        Assert.Equal(Scratch.Sha256(image), Scratch.Sha256(copy));
        served.Stop();
    }

    [Fact]
    public void TLS_works_over_TCP_with_the_hosts_name_checked()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:2M");
        using var server = LincowServer.Start([scratch["o.cow"], "--nbd", "tcp:127.0.0.1:0", .. certificates.RequireClients]);
        Assert.StartsWith("nbds://127.0.0.1:", server.Uri);
        var uri = server.Uri.Replace("127.0.0.1", "localhost", StringComparison.Ordinal);
        Assert.Contains("export-size: 2097152", Tool.Ok("nbdinfo", $"{uri}?tls-certificates={certificates.ClientDirectory}"));
        server.Stop();
    }

    [Fact]
    public void Required_TLS_refuses_plain_clients()
    {
        using var served = new ServedOverlay(serve: [.. certificates.ServerOptions, "--tls-require"]);
        Assert.NotEqual(0, Tool.Run("nbdinfo", Plain(served.Uri)).ExitCode);
        using (var client = new RawClient(served.Uri))
        {
            client.Greet(RawClient.FixedNewstyle);
            foreach (var option in new[] { RawClient.List, RawClient.Info, RawClient.Go, RawClient.StructuredReply })
            {
                client.Option(option, []);
                Assert.Equal(RawClient.TlsRequired, client.OptionReply(option));
            }
            // It can't say no to this option, so it leaves.
            client.Option(RawClient.ExportName, []);
            client.AssertClosed();
        }
        Tool.Ok("nbdinfo", Secure(served.Uri, certificates.AnonymousDirectory));
        served.Stop();
    }

    [Fact]
    public void Offered_TLS_takes_plain_clients_too()
    {
        using var served = new ServedOverlay(serve: certificates.ServerOptions);
        Tool.Ok("nbdinfo", Plain(served.Uri));
        Tool.Ok("nbdinfo", Secure(served.Uri, certificates.AnonymousDirectory));
        served.Stop();
    }

    [Fact]
    public void An_authority_refuses_clients_without_a_certificate_and_strangers()
    {
        using var served = new ServedOverlay(serve: certificates.RequireClients);
        foreach (var directory in new[] { certificates.AnonymousDirectory, certificates.StrangerDirectory })
        {
            // With TLS 1.3, the client learns of it only when it next reads: whatever it does, it must get nothing.
            var result = Tool.Run("nbdinfo", "--size", Secure(served.Uri, directory));
            Assert.True(result.ExitCode != 0 && !result.Output.Contains("4194304", StringComparison.Ordinal), result.ToString());
        }
        Tool.Ok("nbdinfo", Secure(served.Uri, certificates.ClientDirectory));
        served.Stop();
    }

    [Fact]
    public void A_certificate_for_servers_lets_no_client_in()
    {
        using var served = new ServedOverlay(serve: certificates.RequireClients);
        var result = Tool.Run("nbdinfo", "--size", Secure(served.Uri, certificates.ServerAsClientDirectory));
        Assert.True(result.ExitCode != 0 && !result.Output.Contains("4194304", StringComparison.Ordinal), result.ToString());
        Tool.Ok("nbdinfo", Secure(served.Uri, certificates.ClientDirectory));
        served.Stop();
    }

    [Fact]
    public void Nothing_is_fetched_from_where_a_strangers_certificate_says()
    {
        using var web = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        web.Start();
        var directory = certificates.Pointing(((System.Net.IPEndPoint)web.LocalEndpoint).Port);
        using var served = new ServedOverlay(serve: certificates.RequireClients);
        Assert.NotEqual(0, Tool.Run("nbdinfo", "--size", Secure(served.Uri, directory)).ExitCode);
        Assert.False(web.Pending());
        served.Stop();
    }

    [Fact]
    public void Plain_bytes_slipped_in_behind_STARTTLS_close_the_connection()
    {
        using var served = new ServedOverlay(serve: certificates.ServerOptions);
        using (var client = new RawClient(served.Uri))
        {
            client.Greet(RawClient.FixedNewstyle);
            client.Send([.. "IHAVEOPT"u8, 0, 0, 0, 5, 0, 0, 0, 0, .. "IHAVEOPT"u8, 0, 0, 0, 3, 0, 0, 0, 0]);
            client.AssertClosed();
        }
        Tool.Ok("nbdinfo", Secure(served.Uri, certificates.AnonymousDirectory));
        served.Stop();
    }

    [Fact]
    public void Noise_and_silence_in_place_of_the_TLS_handshake_harm_nobody()
    {
        using var served = new ServedOverlay(serve: certificates.RequireClients);
        using (var noisy = AfterStartTls(served.Uri))
        {
            noisy.Send(Scratch.RandomBytes(10_000, 3));
            noisy.AssertClosed();
        }
        using var silent = AfterStartTls(served.Uri);
        using (AfterStartTls(served.Uri))
        {
            // This one vanishes at once.
        }
        Tool.Ok("nbdinfo", Secure(served.Uri, certificates.ClientDirectory));
        // The silent one is still connected.
        served.Stop();
    }

    [Fact]
    public void A_server_stops_on_SIGTERM_with_TLS_clients_connected()
    {
        using var served = new ServedOverlay(serve: certificates.RequireClients);
        using var client = Nbd.StartScript("""
            h = nbd.NBD()
            h.set_uri_allow_local_file(True)
            h.connect_uri(sys.argv[1])
            h.pwrite(b's' * 8192, 0)
            print('written', flush=True)
            time.sleep(60)
            """, Secure(served.Uri, certificates.ClientDirectory));
        Assert.Equal("written", client.StandardOutput.ReadLine());
        served.Stop();
        client.Kill();
        client.WaitForExit();
        var facts = Cli.Info(served.Overlay);
        Assert.Equal((true, 2L), (facts.Clean, facts.Chunks.Data));
    }

    [Fact]
    public void Certificates_that_can_not_be_used_are_named()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        string[] serve = ["serve", scratch["o.cow"], "--nbd", "unix:" + scratch["s"]];
        var (certificate, key) = (certificates.ServerOptions[1], certificates.ServerOptions[3]);
        File.WriteAllText(scratch["empty.pem"], "");
        Assert.Contains(scratch["nowhere.pem"], Cli.Fails([.. serve, "--tls-cert", scratch["nowhere.pem"], "--tls-key", key]));
        Assert.Contains(scratch["nowhere.pem"], Cli.Fails([.. serve, "--tls-cert", certificate, "--tls-key", scratch["nowhere.pem"]]));
        Assert.Contains(scratch["empty.pem"], Cli.Fails([.. serve, "--tls-cert", scratch["empty.pem"], "--tls-key", key]));
        Assert.Contains(scratch["nowhere.pem"],
            Cli.Fails([.. serve, "--tls-cert", certificate, "--tls-key", key, "--tls-ca", scratch["nowhere.pem"]]));
        Assert.Contains(certificates.OtherKey, Cli.Fails([.. serve, "--tls-cert", certificate, "--tls-key", certificates.OtherKey]));
        // An authority's file without a certificate would let nobody in.
        Assert.Contains(scratch["empty.pem"],
            Cli.Fails([.. serve, "--tls-cert", certificate, "--tls-key", key, "--tls-ca", scratch["empty.pem"]]));
        Cli.Misused([.. serve, "--tls-cert", certificate]);
        Cli.Misused([.. serve, "--tls-require"]);
        Assert.True(Cli.Info(scratch["o.cow"]).Clean);
    }

    private static RawClient AfterStartTls(string uri)
    {
        var client = new RawClient(uri);
        client.Greet(RawClient.FixedNewstyle);
        client.Option(RawClient.StartTls, []);
        Assert.Equal(RawClient.Ack, client.OptionReply(RawClient.StartTls));
        return client;
    }

    private static string Secure(string uri, string directory) => $"{uri}&tls-certificates={directory}";

    private static string Plain(string uri) => uri.Replace("nbds+unix", "nbd+unix", StringComparison.Ordinal);
}
