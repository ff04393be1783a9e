using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Snapshots;

/// <summary>What dm's snapshot-origin and snapshot-merge are for, by the built binary.</summary>
public class LiveOriginTests
{
    private const int Megabyte = 1 << 20;

    [Fact]
    public void A_snapshot_of_a_live_origin_shows_it_as_it_was_also_after_the_server_was_killed()
    {
        using var scratch = new Scratch();
        var origin = scratch["disk.img"];
        var before = Content(8 * Megabyte, 1);
        File.WriteAllBytes(origin, before);
        var store = scratch["monday.snap"];
        Cli.Ok("create", store, "--origin", origin, "--store", "snapshot");
        var socket = "unix:" + scratch.NewSocket();
        using (var server = LincowServer.Start(["--snapshot-origin", origin, store, "--nbd", socket], readyLines: 2))
        {
            var (snapshot, live) = (server.Uris[0], server.Uris[1]);
            Nbd.QemuIo(live, "write -P 7 1M 3M", "write -P 9 10000 5000", "write -z 5M 64k", "flush", "read -P 7 1M 3M",
                "read -P 0 5M 64k");
            Assert.Equal(before, Nbd.ReadAll(scratch, snapshot));
            // The snapshot is writable, and its origin doesn't notice.
            Nbd.QemuIo(snapshot, "write -P 3 7M 4k", "flush");
            Nbd.QemuIo(live, "write -P 8 6M 512", "flush");
            Assert.StartsWith($"0 {8 * Megabyte / 512} snapshot 6", Cli.Ok("status", store, "--dm"));
            server.Kill();
        }
        var after = File.ReadAllBytes(origin);
        Assert.Equal(7, after[Megabyte]);
        Assert.Equal(8, after[6 * Megabyte]);
        before.AsSpan(7 * Megabyte, 4096).Fill(3);
        using (var again = LincowServer.Start(scratch, store))
        {
            Assert.Equal(before, Nbd.ReadAll(scratch, again.Uri));
            again.Stop();
        }
        Assert.Empty(Cli.Check(store).Findings);
    }

    [Fact]
    public void A_live_origin_belongs_to_one_process()
    {
        using var scratch = new Scratch();
        var origin = scratch["disk.img"];
        File.WriteAllBytes(origin, Content(Megabyte, 2));
        var (store, other) = (scratch["a.snap"], scratch["b.cow"]);
        Cli.Ok("create", store, "--origin", origin, "--store", "snapshot");
        Cli.Ok("create", other, "--origin", origin);
        using (var server = LincowServer.Start(scratch, other))
        {
            Assert.Contains("is in use by process",
                Cli.Fails("serve", "--snapshot-origin", origin, store, "--nbd", "unix:" + scratch.NewSocket()));
            server.Stop();
        }
        using (var server = LincowServer.Start(["--snapshot-origin", origin, store, "--nbd", "unix:" + scratch.NewSocket()], readyLines: 2))
        {
            Assert.Contains("is being written by process", Cli.Fails("serve", other, "--nbd", "unix:" + scratch.NewSocket()));
            server.Stop();
        }
        Assert.Contains("is a linear overlay",
            Cli.Fails("serve", "--snapshot-origin", origin, other, "--nbd", "unix:" + scratch.NewSocket()));
    }

    [Fact]
    public void A_snapshot_that_cannot_keep_a_chunk_is_given_up_and_its_origin_goes_on()
    {
        using var scratch = new Scratch();
        var origin = scratch["disk.img"];
        var before = Content(4 * Megabyte, 3);
        File.WriteAllBytes(origin, before);
        var store = scratch["small.snap"];
        Cli.Ok("create", store, "--origin", origin, "--store", "snapshot", "--store-size", "256K");
        using (var server = LincowServer.Start(["--snapshot-origin", origin, store, "--nbd", "unix:" + scratch.NewSocket()], readyLines: 2))
        {
            Nbd.QemuIo(server.Uris[1], "write -P 1 0 128k", "flush", "write -P 2 1M 512k", "flush", "read -P 2 1M 512k",
                "read -P 1 0 128k");
            Assert.EndsWith(" snapshot Invalid\n", Cli.Ok("status", store, "--dm"));
            server.Stop();
        }
        Assert.Contains("was given up", Cli.Fails("serve", store, "--nbd", "unix:" + scratch.NewSocket()));
        // What it had kept is there for who asks.
        using var rescue = LincowServer.Start(scratch, store, "--read-only", "--rescue");
        Nbd.QemuIoReadOnly(rescue.Uri, $"read -P {before[0]} 0 1");
        rescue.Stop();
    }

    [Fact]
    public void Commit_puts_into_the_origin_what_the_kernel_wrote_into_a_store()
    {
        using var scratch = new Scratch();
        const string sample = "dm-snapshot/c16-snap";
        var (store, origin) = (Samples.Unpack(scratch, sample + "/cow.img"), Samples.Origin(scratch, sample, 64 * Megabyte));
        Assert.Contains("733 chunks", Cli.Ok("commit", store, "--origin", origin));
        Assert.Equal(Samples.MergedSha256(sample), Scratch.Sha256(origin), ignoreCase: true);
        Assert.Equal(0, Cli.Info(store).Chunks.Data);
        // The note of the origin is as it is now.
        using var server = LincowServer.Start(scratch, store);
        Assert.Equal(Samples.MergedSha256(sample),
            Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(Nbd.ReadAll(scratch, server.Uri))), ignoreCase: true);
        server.Stop();
    }

    [Fact]
    public void The_sample_decrypts_below_an_overlay()
    {
        using var scratch = new Scratch();
        var plain = scratch["plain.img"];
        var content = Content(Megabyte, 4);
        File.WriteAllBytes(plain, content);
        var sample = Cli.InRepository("samples/decrypting-origin.cs");
        Tool.Ok("dotnet", "run", sample, "--", "make", plain, scratch["image.enc"], "secret");
        Assert.NotEqual(content, File.ReadAllBytes(scratch["image.enc"]));
        var socket = scratch.NewSocket();
        using var server = Surroundings.Start(new System.Diagnostics.ProcessStartInfo("dotnet",
            ["run", "--no-build", sample, "--", "serve", scratch["image.enc"], "secret", socket])
        { RedirectStandardOutput = true });
        try
        {
            var uri = server.StandardOutput.ReadLine()?["ready ".Length..] ?? throw new InvalidOperationException("the sample ended");
            Assert.Equal(content, Nbd.ReadAll(scratch, uri));
            Nbd.QemuIo(uri, "write -P 3 4000 9000", "read -P 3 4000 9000");
        }
        finally
        {
            server.Kill(entireProcessTree: true);
            server.WaitForExit();
        }
    }

    private static byte[] Content(int bytes, int seed)
    {
        var content = new byte[bytes];
        new Random(seed).NextBytes(content);
        return content;
    }

    [Fact]
    public void Zeroes_of_any_length_are_kept_by_the_snapshot_before_they_are_written()
    {
        // Windows of 64 MiB, and requests that begin and end within one.
        const int megabytes = 320;
        using var scratch = new Scratch();
        using (var file = File.Create(scratch["disk.img"]))
        {
            file.SetLength(megabytes << 20);
            for (var i = 0; i < megabytes; i++)
            {
                file.Position = (i << 20) + 4096 * (i % 200);
                file.WriteByte((byte)(i % 250 + 1));
            }
        }
        var before = Scratch.Sha256(scratch["disk.img"]);
        Cli.Ok("create", scratch["monday.snap"], "--origin", scratch["disk.img"], "--store", "snapshot");
        using var server = LincowServer.Start(["--snapshot-origin", scratch["disk.img"], scratch["monday.snap"], "--nbd",
            "unix:" + scratch.NewSocket()], readyLines: 2);
        Nbd.QemuIo(server.Uris[1], "write -z 1M 300M", "read -P 0 1M 300M", "write -z -f 310M 1M");
        Nbd.Script("""
            h = connect(sys.argv[1])
            h.zero(h.get_size() - 4096, 4096)
            h.shutdown()
            """, server.Uris[1]);
        Assert.Equal(before, System.Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(Nbd.ReadAll(scratch,
            server.Uris[0]))));
        server.Stop();
        Assert.Equal((1, 0), (Scratch.ReadAt(scratch["disk.img"], 0, 1)[0], Scratch.ReadAt(scratch["disk.img"], 200 << 20, 1)[0]));
    }

    [Fact]
    public void When_it_has_ended_its_snapshots_know_again_what_it_is_like()
    {
        using var scratch = new Scratch();
        var origin = scratch["disk.img"];
        File.WriteAllBytes(origin, Content(Megabyte, 3));
        Cli.Ok("create", scratch["a.snap"], "--origin", origin, "--store", "snapshot");
        using (var server = LincowServer.Start(["--snapshot-origin", origin, scratch["a.snap"], "--nbd", "unix:" + scratch.NewSocket()],
            readyLines: 2))
        {
            Nbd.QemuIo(server.Uris[1], "write -P 7 0 64k");
            server.Stop();
        }
        Assert.NotEmpty(Cli.Map(scratch["a.snap"]));
        // Refused when everything is open: there is a file in the socket's place.
        Assert.Contains("is not a socket",
            Cli.Fails("serve", "--snapshot-origin", origin, scratch["a.snap"], "--nbd", "unix:" + scratch.Random("file", 10)));
        Assert.NotEmpty(Cli.Map(scratch["a.snap"]));
        Scratch.WriteAt(origin, 5, [1]);
        Assert.Contains("is not the origin", Cli.Fails("map", scratch["a.snap"]));
    }

    [Theory]
    [InlineData(Megabyte)]
    [InlineData(Megabyte / 2)]
    public void Another_origin_is_refused_before_anything_is_written(int bytes)
    {
        using var scratch = new Scratch();
        var (origin, other, store) = (scratch["disk.img"], scratch["other.img"], scratch["a.snap"]);
        File.WriteAllBytes(origin, Content(Megabyte, 4));
        File.WriteAllBytes(other, Content(bytes, 5));
        Cli.Ok("create", store, "--origin", origin, "--store", "snapshot");
        var before = (Scratch.Sha256(store), Scratch.Sha256(other));
        Assert.Contains("is not the origin", Cli.Fails("serve", "--snapshot-origin", other, store, "--nbd", "unix:" + scratch.NewSocket()));
        Assert.Equal(before, (Scratch.Sha256(store), Scratch.Sha256(other)));
        // It still knows its own, and after an orderly end what that has become.
        using (var server = LincowServer.Start(["--snapshot-origin", origin, store, "--nbd", "unix:" + scratch.NewSocket()], readyLines: 2))
        {
            Nbd.QemuIo(server.Uris[1], "write -P 7 0 64k");
            server.Stop();
        }
        var kept = File.ReadAllBytes(origin);
        File.WriteAllBytes(origin, Content(Megabyte, 6));
        Assert.Contains("is not the origin",
            Cli.Fails("serve", "--snapshot-origin", origin, store, "--nbd", "unix:" + scratch.NewSocket()));
        File.WriteAllBytes(origin, kept);
        using var accepted = LincowServer.Start(["--snapshot-origin", origin, store, "--accept-origin", "--nbd",
            "unix:" + scratch.NewSocket()], readyLines: 2);
        accepted.Kill();
    }

    [Fact]
    public void A_block_device_is_claimed_and_so_is_one_over_its_file()
    {
        using var scratch = new Scratch();
        var image = scratch.Sparse("disk.img", 32 << 20);
        Tool.Ok("mkfs.ext4", "-q", image);
        using var device = new LoopDevice(image);
        Cli.Ok("create", scratch["a.snap"], "--origin", device.Path, "--store", "snapshot");
        Cli.Ok("create", scratch["b.snap"], "--origin", image, "--store", "snapshot");
        Directory.CreateDirectory(scratch["mnt"]);
        Tool.Ok("mount", "-o", "ro", device.Path, scratch["mnt"]);
        try
        {
            Assert.Contains("mounted", Cli.Fails("serve", "--snapshot-origin", device.Path, scratch["a.snap"], "--nbd",
                "unix:" + scratch.NewSocket()));
            Assert.Contains("mounted", Cli.Fails("serve", "--snapshot-origin", image, scratch["b.snap"], "--nbd",
                "unix:" + scratch.NewSocket()));
        }
        finally
        {
            Tool.Ok("umount", scratch["mnt"]);
        }
        using var server = LincowServer.Start(["--snapshot-origin", device.Path, scratch["a.snap"], "--nbd", "unix:" + scratch.NewSocket()],
            readyLines: 2);
        Assert.NotEqual(0, Tool.Run("mount", "-o", "ro", device.Path, scratch["mnt"]).ExitCode);
        Nbd.QemuIo(server.Uris[1], "write -P 7 20M 64k", "read -P 7 20M 64k");
        server.Stop();
    }
}
