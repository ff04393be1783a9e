using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Failures;

/// <summary>Disks that are full, and origins that can't be read.</summary>
public class DiskTests
{
    [Theory]
    [InlineData(4 << 10, 0)]
    [InlineData(64 << 10, 0)]
    [InlineData(4 << 10, 1 << 20)]
    public void A_full_disk_is_ENOSPC_for_the_client_and_what_came_before_is_intact(int chunkBytes, long leave)
    {
        using var scratch = new Scratch();
        using var disk = new SmallDisk(scratch, 32);
        var origin = scratch.Random("origin.img", 64 << 20);
        var overlay = Path.Combine(disk.Path, "o.cow");
        Cli.Ok("create", overlay, "--origin", origin, "--chunk", $"{chunkBytes}");
        using (var server = LincowServer.Start(scratch, overlay))
        {
            Nbd.Script("h = connect(sys.argv[1]); h.pwrite(b'e' * (4 << 20), 0); h.flush()", server.Uri);
            disk.Fill(leave);
            // Every write either holds or says ENOSPC; neither touches what was there.
            Nbd.Script("""
                h = connect(sys.argv[1])
                chunk = int(sys.argv[3])
                origin = open(sys.argv[2], 'rb').read()
                full = 0
                for i in range(64):
                    at = (8 << 20) + i * (256 << 10)
                    try:
                        h.pwrite(b'f' * (256 << 10), at)
                        check(h.pread(256 << 10, at) == b'f' * (256 << 10), 'a write that was acknowledged')
                    except nbd.Error as e:
                        check(e.errnum == errno.ENOSPC, e)
                        full += 1
                        check(h.pread(256 << 10, at) == origin[at:at + (256 << 10)], 'a write that was refused')
                check(full > 0, 'the disk was never full')
                check(h.pread(4 << 20, 0) == b'e' * (4 << 20), 'what came before')
                h.pwrite(b'E' * 4096, 8192)
                check(h.pread(4096, 8192) == b'E' * 4096, 'a write to space that the overlay has')
                """, server.Uri, origin, $"{chunkBytes}");
            disk.MakeRoom();
            Nbd.Script("""
                h = connect(sys.argv[1])
                h.pwrite(b'g' * (8 << 20), 32 << 20)
                h.flush()
                check(h.pread(8 << 20, 32 << 20) == b'g' * (8 << 20), 'writes work again')
                """, server.Uri);
            server.Stop();
        }
        Assert.Empty(Cli.Check(overlay).Findings);
        using var again = LincowServer.Start(scratch, overlay);
        Nbd.QemuIo(again.Uri, "read -P 0x65 16k 1M", "read -P 0x45 8k 4k", "read -P 0x67 32M 8M");
        again.Stop();
    }

    [Fact]
    public void A_flush_that_finds_no_room_for_the_map_fails_and_works_again_later()
    {
        using var scratch = new Scratch();
        using var disk = new SmallDisk(scratch, 32);
        var overlay = Path.Combine(disk.Path, "o.cow");
        Cli.Ok("create", overlay, "--origin", "zero:1G");
        using (var server = LincowServer.Start(scratch, overlay))
        {
            // The data goes to space that is reserved already (NO_HOLE), so only the map page is new.
            Nbd.Script("""
                h = connect(sys.argv[1])
                h.pwrite(b'a' * 4096, 0)
                h.flush()
                """, server.Uri);
            disk.Fill(64 << 10);
            Nbd.Script("""
                h = connect(sys.argv[1])
                # Each write lies in another page of the map, so data and map both want space.
                refused = 0
                for i in range(1, 16):
                    try:
                        h.pwrite(b'b' * 4096, i << 26)
                    except nbd.Error as e:
                        check(e.errnum == errno.ENOSPC, e)
                        refused += 1
                try:
                    h.flush()
                    flushed = True
                except nbd.Error as e:
                    check(e.errnum == errno.ENOSPC, e)
                    flushed = False
                check(refused > 0 or not flushed, 'the disk was never full')
                check(h.pread(4096, 0) == b'a' * 4096, 'what came before')
                """, server.Uri);
            disk.MakeRoom();
            Nbd.Script("""
                h = connect(sys.argv[1])
                h.flush()
                h.pwrite(b'c' * 4096, 1 << 20)
                h.flush()
                """, server.Uri);
            server.Kill();
        }
        Assert.Empty(Cli.Check(overlay).Findings);
        using var again = LincowServer.Start(scratch, overlay);
        Nbd.QemuIo(again.Uri, "read -P 0x61 0 4k", "read -P 0x63 1M 4k");
        again.Stop();
    }

    [Fact]
    public void Stopping_on_a_full_disk_keeps_what_was_flushed()
    {
        using var scratch = new Scratch();
        using var disk = new SmallDisk(scratch, 32);
        var overlay = Path.Combine(disk.Path, "o.cow");
        Cli.Ok("create", overlay, "--origin", "zero:64M");
        using (var server = LincowServer.Start(scratch, overlay))
        {
            Nbd.QemuIo(server.Uri, "write -P 0x71 0 4M", "flush");
            disk.Fill(0);
            Nbd.Script("expect(errno.ENOSPC, connect(sys.argv[1]).pwrite, b'x' * (8 << 20), 16 << 20)", server.Uri);
            server.Stop();
        }
        // It may stay marked as in use, for want of room to mark it otherwise; nothing is lost by that.
        Assert.Empty(Cli.Check(overlay).Findings);
        disk.MakeRoom();
        using var again = LincowServer.Start(scratch, overlay);
        Nbd.QemuIo(again.Uri, "read -P 0x71 0 4M", "read -P 0 16M 8M");
        again.Stop();
        Assert.True(Cli.Info(overlay).Clean);
    }

    [Fact]
    public void Create_on_a_full_disk_leaves_nothing_behind()
    {
        using var scratch = new Scratch();
        using var disk = new SmallDisk(scratch, 32);
        disk.Fill(0);
        var overlay = Path.Combine(disk.Path, "o.cow");
        Cli.Fails("create", overlay, "--origin", "zero:64M", "--preallocate");
        Assert.False(File.Exists(overlay));
    }

    [Fact]
    public void A_read_error_of_the_origin_is_EIO_for_that_range_alone()
    {
        using var scratch = new Scratch();
        var content = Scratch.RandomBytes(4 << 20, 1);
        var file = scratch.Random("origin.img", 4 << 20);
        using var loop = new LoopDevice(file);
        // A loop device whose file has become shorter is a disk with bad blocks at its end.
        using (var shorter = File.OpenWrite(file))
            shorter.SetLength(2 << 20);
        Tool.Ok("blockdev", "--flushbufs", loop.Path);
        Cli.Ok("create", scratch["o.cow"], "--origin", loop.Path);
        using var server = LincowServer.Start(scratch, scratch["o.cow"]);
        Nbd.Script("""
            h = connect(sys.argv[1])
            good = open(sys.argv[2], 'rb').read()
            bad = 3 << 20
            expect(errno.EIO, h.pread, 4096, bad)
            expect(errno.EIO, h.pwrite, b'x', bad + 100)
            check(h.pread(1 << 20, 0) == good[:1 << 20], 'the sound range')
            h.pwrite(b'y' * 4096, bad)
            check(h.pread(4096, bad) == b'y' * 4096, 'a whole chunk needs no origin')
            h.zero(4096, bad + 4096)
            check(h.pread(4096, bad + 4096) == bytes(4096), 'nor does a zeroed one')
            expect(errno.EIO, h.pread, 16384, bad)
            h.flush()
            """, server.Uri, file);
        server.Stop();
        Assert.Empty(Cli.Check(scratch["o.cow"]).Findings);
        Assert.Equal(content[..(2 << 20)], File.ReadAllBytes(file));
    }
}
