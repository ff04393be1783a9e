using System.Security.Cryptography;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Snapshots;

/// <summary>Stores that a kernel wrote, by the built binary: served, written on, reset, checked.</summary>
public class KernelStoreTests
{
    private const int SampleBytes = 64 << 20;

    [Theory]
    [InlineData("c8-mixed", 8)]
    [InlineData("c16-snap", 16)]
    public void A_store_of_the_kernels_is_served_and_written_on(string sample, int chunkSectors)
    {
        using var scratch = new Scratch();
        var folder = "dm-snapshot/" + sample;
        var (store, origin) = (Samples.Unpack(scratch, folder + "/cow.img"), Samples.Origin(scratch, folder, SampleBytes));
        var originSum = Scratch.Sha256(origin);
        Assert.Contains("--origin", Cli.Fails("serve", store, "--nbd", "unix:" + scratch.NewSocket()));
        byte[] expected;
        using (var server = LincowServer.Start(scratch, store, "--origin", origin))
        {
            expected = Nbd.ReadAll(scratch, server.Uri);
            Assert.Equal(Samples.MergedSha256(folder), Sum(expected), ignoreCase: true);
            Nbd.QemuIo(server.Uri, "write -P 1 100k 300k", "write -P 2 40000000 1536", "write -z 50M 100k", "flush");
            expected.AsSpan(100 << 10, 300 << 10).Fill(1);
            expected.AsSpan(40_000_000, 1536).Fill(2);
            expected.AsSpan(50 << 20, 100 << 10).Clear();
            server.Kill();
        }
        Assert.Empty(Cli.Check(store).Findings);
        // The origin is remembered, the size and the chunks are as they were.
        var facts = Cli.Info(store);
        Assert.Equal((SampleBytes, chunkSectors * 512L, "snapshot", origin), (facts.Size, facts.ChunkSize, facts.Store, facts.Origin.Uri));
        Assert.Equal($"0 {SampleBytes / 512} snapshot {origin} {store} P {chunkSectors}\n", Cli.Ok("info", store, "--dm"));
        using (var server = LincowServer.Start(scratch, store))
        {
            Assert.Equal(expected, Nbd.ReadAll(scratch, server.Uri));
            // What the killed one left in the run directory is no device.
            Assert.Equal($"0 {SampleBytes / 512} snapshot {Cli.Info(store).DmStatus}\n", Cli.Ok("status", store, "--dm"));
            server.Stop();
        }
        Cli.Ok("reset", store);
        Assert.Empty(Cli.Check(store).Findings);
        using (var server = LincowServer.Start(scratch, store, "--read-only"))
        {
            Assert.Equal(originSum, Sum(Nbd.ReadAll(scratch, server.Uri)), ignoreCase: true);
            server.Stop();
        }
        Assert.Equal(originSum, Scratch.Sha256(origin));
    }

    [Fact]
    public void A_store_that_overflowed_in_the_kernel_takes_no_chunk_until_it_is_larger()
    {
        using var scratch = new Scratch();
        const string folder = "dm-snapshot/c8-po-overflow";
        var (store, origin) = (Samples.Unpack(scratch, folder + "/cow.img"), Samples.Origin(scratch, folder, SampleBytes));
        using (var server = LincowServer.Start(scratch, store, "--origin", origin))
        {
            Assert.Equal(Samples.MergedSha256(folder), Sum(Nbd.ReadAll(scratch, server.Uri)), ignoreCase: true);
            var free = Cli.Map(store).First(range => range.Depth == 1 && range.Length >= 1 << 20).Start;
            Nbd.Script("h = connect(sys.argv[1])\nexpect(errno.ENOSPC, h.pwrite, b'x' * (1 << 20), int(sys.argv[2]))", server.Uri,
                $"{free}");
            Assert.EndsWith(" snapshot Overflow\n", Cli.Ok("status", store, "--dm"));
            Enlarge(store, 2 << 20);
            Nbd.QemuIo(server.Uri, $"write -P 9 {free} 1M", "flush", $"read -P 9 {free} 1M");
            Assert.StartsWith($"0 {SampleBytes / 512} snapshot ", Cli.Ok("status", store, "--dm"));
            Assert.DoesNotContain("Overflow", Cli.Ok("status", store, "--dm"));
            server.Stop();
        }
        Assert.Empty(Cli.Check(store).Findings);
    }

    [Fact]
    public void Tables_of_the_kernels_target_make_stores_and_find_them_again()
    {
        using var scratch = new Scratch();
        var (origin, store) = (scratch.Random("origin.img", 1 << 20), scratch["cow.img"]);
        // A blank file becomes a store of its own size: a header, an area and 30 chunks.
        scratch.Sparse("cow.img", 32 * 4096);
        var table = $"0 2048 snapshot {origin} {store} PO 8";
        using (var server = LincowServer.Start(scratch, "--table", table))
        {
            Nbd.QemuIo(server.Uri, "write -P 5 0 120k", "flush");
            Nbd.Script("h = connect(sys.argv[1])\nexpect(errno.ENOSPC, h.pwrite, b'x', 500000)\nh.pwrite(b'y', 4096)\nh.flush()",
                server.Uri);
            Assert.EndsWith(" snapshot Overflow\n", Cli.Ok("status", store, "--dm"));
            server.Stop();
        }
        Assert.Equal((32 * 4096, "256/256 16"), (new FileInfo(store).Length, Cli.Info(store).DmStatus));
        // As P it is given up.
        using (var server = LincowServer.Start(scratch, "--table", table.Replace(" PO ", " P ", StringComparison.Ordinal)))
        {
            Nbd.QemuIo(server.Uri, "read -P 5 8192 100k");
            Nbd.Script("h = connect(sys.argv[1])\nexpect(errno.EIO, h.pwrite, b'x', 500000)\nexpect(errno.EIO, h.pread, 512, 0)",
                server.Uri);
            Assert.EndsWith(" snapshot Invalid\n", Cli.Ok("status", store, "--dm"));
            server.Stop();
        }
        Assert.Equal("Invalid", Cli.Info(store).DmStatus);
        Assert.Contains("given up", Cli.Fails("serve", "--table", table, "--nbd", "unix:" + scratch.NewSocket()));
        Assert.Contains("valid is 0", Assert.Single(Cli.Check(store, Cli.DamageFound).Findings).Problem, StringComparison.Ordinal);
        using (var server = LincowServer.Start(scratch, store, "--read-only", "--rescue"))
        {
            Nbd.QemuIoReadOnly(server.Uri, "read -P 5 8192 100k", "read -P 121 4096 1");
            server.Stop();
        }
        Assert.Contains("--read-only", Cli.Fails("serve", store, "--rescue", "--nbd", "unix:" + scratch.NewSocket()));
        Cli.Ok("reset", store);
        // N keeps its table in memory, and leaves nothing behind.
        using (var server = LincowServer.Start(scratch, "--table", $"0 2048 snapshot {origin} {scratch["n.img"]} N 8"))
        {
            Nbd.QemuIo(server.Uri, "write -P 6 500000 5000", "read -P 6 500000 5000");
            Assert.Equal("0 2048 snapshot 16/2048 0\n", Cli.Ok("status", "--dm"));
            server.Stop();
        }
        Assert.False(File.Exists(scratch["n.img"]));
    }

    private static string Sum(byte[] content) => Convert.ToHexString(SHA256.HashData(content));

    private static void Enlarge(string store, long bytes)
    {
        using var file = File.OpenWrite(store);
        file.SetLength(file.Length + bytes);
    }
}
