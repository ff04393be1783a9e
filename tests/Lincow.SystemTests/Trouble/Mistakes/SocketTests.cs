using System.Net.Sockets;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Mistakes;

/// <summary>Places where nothing can listen.</summary>
public class SocketTests
{
    [Fact]
    public void A_socket_that_a_live_server_listens_on_is_left_to_it()
    {
        using var served = new ServedOverlay();
        var socket = served.Uri[(served.Uri.IndexOf("socket=", StringComparison.Ordinal) + 7)..];
        Cli.Ok("create", served.Scratch["second.cow"], "--origin", "zero:1M");
        Assert.Contains($"{socket}: is in use", Cli.Fails("serve", served.Scratch["second.cow"], "--nbd", "unix:" + socket));
        Assert.True(Cli.Info(served.Scratch["second.cow"]).Clean);
        Nbd.QemuIo(served.Uri, "write -P 1 0 4k", "read -P 1 0 4k");
        served.Stop();
    }

    [Fact]
    public void The_socket_of_a_server_that_was_killed_is_replaced()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        // At once: the kernel may still be busy with what the first one had in flight, its listening socket among it.
        for (var round = 0; round < 20; round++)
        {
            using var first = LincowServer.Start([scratch["o.cow"], "--nbd", "unix:" + scratch["s"]]);
            first.Kill();
            Assert.True(File.Exists(scratch["s"]), "kill -9 leaves the socket's file behind");
        }
        using var second = LincowServer.Start([scratch["o.cow"], "--nbd", "unix:" + scratch["s"]]);
        Nbd.QemuIo(second.Uri, "write -P 1 0 4k");
        second.Stop();
        Assert.False(File.Exists(scratch["s"]));
    }

    [Fact]
    public void A_regular_file_in_the_sockets_place_is_kept()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        File.WriteAllText(scratch["precious"], "words");
        Assert.Contains(scratch["precious"], Cli.Fails("serve", scratch["o.cow"], "--nbd", "unix:" + scratch["precious"]));
        Assert.Equal("words", File.ReadAllText(scratch["precious"]));
        Assert.Contains(scratch.Directory, Cli.Fails("serve", scratch["o.cow"], "--nbd", "unix:" + scratch.Directory));
        Assert.True(Cli.Info(scratch["o.cow"]).Clean);
    }

    [Fact]
    public void A_socket_path_is_at_most_107_bytes_long()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        var longest = scratch[new string('s', 107 - scratch.Directory.Length - 1)];
        Assert.Contains("107 bytes", Cli.Fails("serve", scratch["o.cow"], "--nbd", "unix:" + longest + "s"));
        using var server = LincowServer.Start([scratch["o.cow"], "--nbd", "unix:" + longest]);
        Nbd.QemuIo(server.Uri, "write -P 1 0 4k");
        server.Stop();
    }

    [Fact]
    public void A_socket_in_a_directory_that_is_not_there_is_named()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        Assert.Contains(scratch["no/s"], Cli.Fails("serve", scratch["o.cow"], "--nbd", "unix:" + scratch["no/s"]));
    }

    [Fact]
    public void A_taken_TCP_port_is_named()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        using var taken = new TcpListener(System.Net.IPAddress.Loopback, 0);
        taken.Start();
        var port = ((System.Net.IPEndPoint)taken.LocalEndpoint).Port;
        Assert.Contains($"127.0.0.1:{port}", Cli.Fails("serve", scratch["o.cow"], "--nbd", $"tcp:127.0.0.1:{port}"));
        Assert.True(Cli.Info(scratch["o.cow"]).Clean);
    }

    [Theory]
    [InlineData("tcp:127.0.0.1:99999")]
    [InlineData("tcp:127.0.0.1:http")]
    [InlineData("unix:")]
    [InlineData("carrier-pigeon")]
    public void An_address_that_is_none_is_wrong_usage(string address)
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        Assert.Contains(address, Cli.Misused("serve", scratch["o.cow"], "--nbd", address));
    }

    [Fact]
    public void A_host_that_is_not_there_is_an_error()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        Cli.Fails("serve", scratch["o.cow"], "--nbd", "tcp:no.such.host.invalid:10809");
        Assert.Contains("192.0.2.1", Cli.Fails("serve", scratch["o.cow"], "--nbd", "tcp:192.0.2.1:10809"));
        Assert.True(Cli.Info(scratch["o.cow"]).Clean);
    }
}
