using System.Text.Json;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>A disk with bad sectors below the origin: each is lost alone, by every way of reading, and a write heals it.</summary>
public class BadSectorTests
{
    private const int Good = (2 << 20) + (3 * 512);

    // A loop device whose file has become shorter is a disk with bad sectors from there on: here from the fourth of a page.
    private static string Shorten(string file, LoopDevice disk)
    {
        using (var shorter = File.OpenWrite(file))
            shorter.SetLength(Good);
        Tool.Ok("blockdev", "--flushbufs", disk.Path);
        return disk.Path;
    }

    [Theory]
    [InlineData("writeback", 4 << 10, "")]
    [InlineData("writeback", 64 << 10, "")]
    [InlineData("writeback", 512, "posix")]
    [InlineData("none", 4 << 10, "")]
    [InlineData("none", 64 << 10, "posix")]
    public void A_bad_sector_takes_none_of_its_neighbours(string cache, int chunkBytes, string loop)
    {
        using var scratch = new Scratch();
        var content = Scratch.RandomBytes(4 << 20, 1);
        var file = scratch.Random("origin.img", 4 << 20);
        using var disk = new LoopDevice(file);
        Cli.Ok("create", scratch["o.cow"], "--origin", Shorten(file, disk), "--chunk", $"{chunkBytes}");
        File.WriteAllBytes(scratch["good.img"], content);
        using var server = LincowServer.Start([scratch["o.cow"], "--cache", cache, "--nbd", "unix:" + scratch.NewSocket()], 1,
            new() { ["LINCOW_IO"] = loop });
        Nbd.Script("""
            h = connect(sys.argv[1])
            good, chunk, bad = open(sys.argv[2], 'rb').read(), int(sys.argv[3]), int(sys.argv[4])
            for i in range(3):
                check(h.pread(512, bad - 512 * (i + 1)) == good[bad - 512 * (i + 1):bad - 512 * i], 'a sector before it')
            check(h.pread(1000, bad - 1000) == good[bad - 1000:bad], 'bytes up to it')
            check(h.pread(1 << 20, bad - (1 << 20)) == good[bad - (1 << 20):bad], 'a megabyte up to it')
            expect(errno.EIO, h.pread, 512, bad)
            expect(errno.EIO, h.pread, 4096, bad - 1536)
            if chunk > 512:
                expect(errno.EIO, h.pwrite, b'x' * 512, bad - 512)
                check(h.pread(512, bad - 512) == good[bad - 512:bad], 'what a write that failed did')
            start = bad // chunk * chunk
            h.pwrite(b'y' * (chunk - (bad - start)), bad)
            check(h.pread(bad - start, start) == good[start:bad], 'the sound part of a chunk that was healed')
            check(h.pread(start + chunk - bad, bad) == b'y' * (start + chunk - bad), 'the healed part')
            h.pwrite(b'z' * chunk, start + chunk)
            check(h.pread(chunk, start + chunk) == b'z' * chunk, 'a chunk that was written as a whole')
            h.flush()
            """, server.Uri, scratch["good.img"], $"{chunkBytes}", $"{Good}");
        var counters = JsonDocument.Parse(Cli.Ok("status", scratch["o.cow"], "--json")).RootElement[0].GetProperty("counters");
        Assert.Equal((2, chunkBytes > 512 ? 1 : 0, 0), (counters.GetProperty("readErrors").GetInt32(),
            counters.GetProperty("writeErrors").GetInt32(), counters.GetProperty("flushErrors").GetInt32()));
        Assert.Contains($"ERRORS: 2 reads, {(chunkBytes > 512 ? 1 : 0)} writes and 0 flushes failed\n",
            Cli.Ok("status", scratch["o.cow"]));
        server.Stop();
        Assert.Contains($"a read of 512 bytes at device byte {Good} failed: bytes ", server.Errors);
        Assert.Contains($" of {disk.Path} can't be read (Input/output error)", server.Errors);
        Assert.Equal(chunkBytes > 512, server.Errors.Contains("needs the rest of its chunk", StringComparison.Ordinal));
    }
}
