using System.Text.RegularExpressions;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Clients;

/// <summary>Many connections, many exports, many addresses.</summary>
public partial class ConnectionTests
{
    [Fact]
    public void A_flush_on_one_connection_covers_what_another_wrote()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            writer, flusher, reader = (connect(sys.argv[1]) for _ in range(3))
            check(writer.can_multi_conn(), 'multi-conn')
            writer.pwrite(b'm' * 10000, 12345)
            check(reader.pread(10000, 12345) == b'm' * 10000, 'another connection sees it at once')
            flusher.flush()
            """, served.Uri);
        served.Kill();
        served.Start();
        Nbd.Script("check(connect(sys.argv[1]).pread(10000, 12345) == b'm' * 10000, 'the write after kill -9')", served.Uri);
        served.Stop();
    }

    [Fact]
    public void Sixteen_connections_write_side_by_side()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            handles = [connect(sys.argv[1]) for _ in range(16)]
            # Neighbouring bytes of the same chunks, all in flight at once.
            width = 1000
            for turn in range(20):
                for i, h in enumerate(handles):
                    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i + 1] * width)), (turn * 16 + i) * width)
            for h in handles:
                while h.aio_in_flight() > 0:
                    h.poll(-1)
            expected = b''.join(bytes([i + 1] * width) for _ in range(20) for i in range(16))
            for h in handles:
                check(h.pread(len(expected), 0) == expected, 'all connections see all writes')
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void A_read_only_export_refuses_every_change_with_eperm()
    {
        using var served = new ServedOverlay(serve: ["--read-only"]);
        Nbd.Script("""
            h = connect(sys.argv[1])
            check(h.is_read_only(), 'the flag')
            before = h.pread(8192, 0)
            expect(errno.EPERM, h.pwrite, b'x', 0)
            expect(errno.EPERM, h.trim, 4096, 0)
            expect(errno.EPERM, h.zero, 4096, 0)
            h.flush()
            check(h.pread(8192, 0) == before, 'the content')
            """, served.Uri);
        served.Stop();
        Assert.Equal(0, Cli.Info(served.Overlay).Chunks.Data);
    }

    [Fact]
    public void Several_exports_are_told_apart_by_name()
    {
        using var scratch = new Scratch();
        var overlays = MakeThree(scratch);
        using var server = LincowServer.Start([.. overlays, "--name", "red", "--name", "green one", "--nbd", "unix:" + scratch["s"]],
            readyLines: 3);
        Assert.Equal(
            [$"nbd+unix:///red?socket={scratch["s"]}", $"nbd+unix:///green%20one?socket={scratch["s"]}",
                $"nbd+unix:///c?socket={scratch["s"]}"], server.Uris);
        Nbd.Script("""
            uris = sys.argv[1:]
            for i, uri in enumerate(uris):
                connect(uri).pwrite(bytes([65 + i]) * 4096, 0)
            for i, uri in enumerate(uris):
                h = connect(uri)
                check(h.get_size() == (i + 1) << 20, 'the size of ' + uri)
                check(h.pread(4096, 0) == bytes([65 + i]) * 4096, 'the content of ' + uri)
            """, [.. server.Uris]);
        server.Stop();
        Assert.All(overlays, overlay => Assert.Equal(1, Cli.Info(overlay).Chunks.Data));
    }

    [Fact]
    public void An_unknown_name_among_several_exports_is_refused_and_the_others_go_on()
    {
        using var scratch = new Scratch();
        using var server = LincowServer.Start([.. MakeThree(scratch), "--nbd", "unix:" + scratch["s"]], readyLines: 3);
        Nbd.Script("""
            h = nbd.NBD()
            h.set_opt_mode(True)
            h.connect_uri(sys.argv[1])
            h.set_export_name('nobody')
            expect(errno.ENOENT, h.opt_go)
            h.set_export_name('b')
            h.opt_go()
            check(h.get_size() == 2 << 20, 'the right name on the same connection')
            """, $"nbd+unix:///?socket={scratch["s"]}");
        server.Stop();
    }

    [Fact]
    public void Two_exports_of_one_name_are_refused()
    {
        using var scratch = new Scratch();
        var overlays = MakeThree(scratch);
        var error = Cli.Fails([.. "serve".Split(' '), .. overlays, "--name", "x", "--name", "x", "--nbd", "unix:" + scratch["s"]]);
        Assert.Contains("'x'", error);
        Assert.All(overlays, overlay => Assert.True(Cli.Info(overlay).Clean));
    }

    [Fact]
    public void A_single_export_answers_to_any_name()
    {
        using var served = new ServedOverlay();
        foreach (var name in new[] { "", "default", "sda", "%C3%BC" })
            Assert.Contains("export-size: 4194304", Tool.Ok("nbdinfo", WithName(served.Uri, name)));
        served.Stop();
    }

    [Fact]
    public void A_Unix_socket_and_TCP_serve_the_same_device_at_once()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch.Random("origin.img", 1 << 20));
        using var server = LincowServer.Start([scratch["o.cow"], "--nbd", "unix:" + scratch["s"], "--nbd", "tcp:127.0.0.1:0"],
            readyLines: 2);
        Assert.StartsWith("nbd+unix:///o?socket=", server.Uris[0]);
        Assert.Matches(TcpUri(), server.Uris[1]);
        Nbd.QemuIo(server.Uris[0], "write -P 0x42 5000 3000", "flush");
        Nbd.QemuIo(server.Uris[1], "read -P 0x42 5000 3000", "write -P 0x43 9000 1");
        Nbd.QemuIo(server.Uris[0], "read -P 0x43 9000 1");
        server.Stop();
        Assert.False(File.Exists(scratch["s"]), "the socket's file is gone with the server");
    }

    [Fact]
    public void The_Unix_socket_belongs_to_its_owner_alone()
    {
        using var served = new ServedOverlay();
        Assert.Equal("600", Tool.Ok("stat", "--format=%a", served.Uri[(served.Uri.IndexOf("socket=", StringComparison.Ordinal) + 7)..])
            .Trim());
        served.Stop();
    }

    [Fact]
    public void Without_an_address_the_socket_lies_in_the_runtime_directory()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", "zero:1M");
        using var server = LincowServer.Start([scratch["o.cow"]], environment: new() { ["XDG_RUNTIME_DIR"] = scratch.Directory });
        Assert.Equal($"nbd+unix:///o?socket={scratch["lincow/o.sock"]}", server.Uri);
        Nbd.QemuIo(server.Uri, "write -P 1 0 4k");
        server.Stop();
    }

    [Fact]
    public void A_request_of_64_MiB_works()
    {
        using var served = new ServedOverlay(65 << 20);
        Nbd.Script("""
            h = connect(sys.argv[1])
            size = 64 << 20
            data = os.urandom(1 << 20) * 64
            h.pwrite(data, 12345)
            check(h.pread(size, 12345) == data, 'the bytes')
            """, served.Uri);
        served.Stop();
    }

    private static string WithName(string uri, string name)
    {
        var query = uri.IndexOf('?', StringComparison.Ordinal);
        return "nbd+unix:///" + name + uri[query..];
    }

    private static string[] MakeThree(Scratch scratch)
    {
        var origin = scratch.Random("origin.img", 1 << 20);
        Cli.Ok("create", scratch["a.cow"], "--origin", origin);
        Cli.Ok("create", scratch["b.cow"], "--origin", origin, "--size", "2M");
        Cli.Ok("create", scratch["c.cow"], "--origin", origin, "--size", "3M");
        return [scratch["a.cow"], scratch["b.cow"], scratch["c.cow"]];
    }

    [GeneratedRegex(@"^nbd://127\.0\.0\.1:[1-9][0-9]*/o$")]
    private static partial Regex TcpUri();
}
