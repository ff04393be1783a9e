using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Clients;

/// <summary>Each command of the protocol with each of its flags, by libnbd.</summary>
public class ProtocolTests
{
    [Fact]
    public void Read_after_trim_returns_zeroes()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            h.trim(1 << 20, 1 << 20)
            check(h.pread(1 << 20, 1 << 20) == bytes(1 << 20), 'whole chunks')
            before = h.pread(4096, 0)
            h.trim(100, 3)
            check(h.pread(4096, 0) == before, 'a part of a chunk of the origin')
            h.pwrite(b'x', 4000)
            h.trim(100, 3)
            check(h.pread(100, 3) == bytes(100), 'a part of a chunk of the overlay')
            check(h.pread(3, 0) == before[:3] and h.pread(64, 103) == before[103:167], 'what lies beside it')
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void Writes_of_any_alignment_leave_their_neighbours_alone()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            model = bytearray(open(sys.argv[2], 'rb').read())
            places = [(0, 1), (4095, 2), (8191, 4098), (511, 513), (len(model) - 1, 1), (12345, 54321), (20480, 4096), (20481, 1)]
            for offset, length in places:
                data = bytes([(offset + i) % 251 + 1 for i in range(length)])
                h.pwrite(data, offset)
                model[offset:offset + length] = data
            check(h.pread(len(model), 0) == model, 'the whole device')
            """, served.Uri, served.Origin);
        served.Stop();
    }

    [Fact]
    public void Fua_writes_and_flushes_are_accepted_and_survive_kill_9()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            h.pwrite(b'A' * 5000, 100, nbd.CMD_FLAG_FUA)
            h.zero(4096, 65536, nbd.CMD_FLAG_FUA)
            h.trim(4096, 131072, nbd.CMD_FLAG_FUA)
            h.pwrite(b'B' * 4096, 262144)
            h.flush()
            """, served.Uri);
        served.Kill();
        served.Start();
        Nbd.Script("""
            h = connect(sys.argv[1])
            check(h.pread(5000, 100) == b'A' * 5000, 'the write with FUA')
            check(h.pread(4096, 65536) == bytes(4096), 'the zeroing with FUA')
            check(h.pread(4096, 131072) == bytes(4096), 'the trim with FUA')
            check(h.pread(4096, 262144) == b'B' * 4096, 'the flushed write')
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void Cache_is_accepted_and_changes_nothing()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            before = h.pread(1 << 20, 0)
            h.pwrite(b'x' * 4096, 4096)
            h.cache(1 << 20, 0)
            h.cache(h.get_size(), 0)
            expect(errno.EINVAL, h.cache, 1, h.get_size())
            check(h.pread(1 << 20, 0) == before[:4096] + b'x' * 4096 + before[8192:], 'the content')
            """, served.Uri);
        served.Stop();
        Assert.Equal(1, Cli.Info(served.Overlay).Chunks.Data);
    }

    [Fact]
    public void Block_status_answers_both_contexts_in_one_request()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1], 'base:allocation', 'lincow:overlay')
            h.pwrite(b'x' * 8192, 8192)
            h.trim(4096, 1 << 20)
            size = h.get_size()
            found = extents(h, size, 0)
            check(found['base:allocation'] == [(0, 1 << 20, 0), (1 << 20, 4096, 3), ((1 << 20) + 4096, size - (1 << 20) - 4096, 0)], found)
            check(found['lincow:overlay'] == [(0, 8192, 0), (8192, 8192, 1), (16384, (1 << 20) - 16384, 0), (1 << 20, 4096, 3),
                                              ((1 << 20) + 4096, size - (1 << 20) - 4096, 0)], found)
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void Block_status_with_req_one_gives_one_extent_of_each_context()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1], 'base:allocation', 'lincow:overlay')
            h.trim(4096, 4096)
            found = {}
            def note(context, offset, entries, error):
                found[context] = list(entries)
                return 0
            h.block_status(h.get_size() - 4096, 4096, note, nbd.CMD_FLAG_REQ_ONE)
            check(found == {'base:allocation': [4096, 3], 'lincow:overlay': [4096, 3]}, found)
            h.block_status(100, 4100, note, nbd.CMD_FLAG_REQ_ONE)
            check(found == {'base:allocation': [100, 3], 'lincow:overlay': [100, 3]}, found)
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void Block_status_without_a_context_is_einval()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            expect(errno.EINVAL, h.block_status, 4096, 0, lambda *a: 0)
            check(len(h.pread(512, 0)) == 512, 'the connection lives')
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void A_structured_read_names_holes_and_DF_gets_one_piece()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            h.trim(64 << 10, 64 << 10)
            pieces = []
            def note(data, offset, status, error):
                pieces.append((offset, len(data), status))
                return 0
            whole = h.pread_structured(192 << 10, 0, note)
            check(pieces == [(0, 65536, nbd.READ_DATA), (65536, 65536, nbd.READ_HOLE), (131072, 65536, nbd.READ_DATA)], pieces)
            pieces.clear()
            check(h.pread_structured(192 << 10, 0, note, nbd.CMD_FLAG_DF) == whole, 'the same bytes')
            check(pieces == [(0, 192 << 10, nbd.READ_DATA)], pieces)
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void A_client_without_structured_replies_reads_the_same()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            h.trim(64 << 10, 64 << 10)
            h.pwrite(b'y' * 777, 5)
            plain = nbd.NBD()
            plain.set_request_structured_replies(False)
            plain.connect_uri(sys.argv[1])
            check(not plain.get_structured_replies_negotiated(), 'negotiated all the same')
            check(plain.pread(256 << 10, 0) == h.pread(256 << 10, 0), 'the bytes')
            plain.set_strict_mode(0)
            expect(errno.EINVAL, plain.pread, 512, plain.get_size())
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void Fast_zero_is_enotsup_where_it_would_not_be_fast()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            before = h.pread(16384, 0)
            expect(errno.ENOTSUP, h.zero, 100, 50, nbd.CMD_FLAG_FAST_ZERO)
            expect(errno.ENOTSUP, h.zero, 4096, 4000, nbd.CMD_FLAG_FAST_ZERO)
            check(h.pread(16384, 0) == before, 'a refused zeroing changed something')
            h.zero(8192, 4096, nbd.CMD_FLAG_FAST_ZERO)
            check(h.pread(16384, 0) == before[:4096] + bytes(8192) + before[12288:], 'the zeroing')
            """, served.Uri);
        served.Stop();
    }

    [Fact]
    public void Zeroing_with_no_hole_keeps_the_space_and_without_gives_it_back()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1])
            h.pwrite(b'x' * (2 << 20), 0)
            h.flush()
            h.zero(2 << 20, 0, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
            check(h.pread(2 << 20, 0) == bytes(2 << 20), 'zeroes')
            """, served.Uri);
        Assert.InRange(Scratch.DiskUsage(served.Overlay), 2 << 20, 3 << 20);
        Nbd.Script("h = connect(sys.argv[1]); h.pwrite(b'x' * (2 << 20), 0); h.zero(2 << 20, 0, nbd.CMD_FLAG_FUA)", served.Uri);
        Assert.InRange(Scratch.DiskUsage(served.Overlay), 0, 256 << 10);
        served.Stop();
    }

    [Fact]
    public void Requests_beyond_the_end_get_the_error_that_the_protocol_names()
    {
        using var served = new ServedOverlay();
        Nbd.Script("""
            h = connect(sys.argv[1], 'base:allocation')
            size = h.get_size()
            expect(errno.EINVAL, h.pread, 512, size)
            expect(errno.EINVAL, h.pread, 1024, size - 512)
            expect(errno.ENOSPC, h.pwrite, b'x' * 512, size)
            expect(errno.ENOSPC, h.pwrite, b'x' * 1024, size - 512)
            expect(errno.ENOSPC, h.zero, 1024, size - 512)
            expect(errno.EINVAL, h.trim, 1024, size - 512)
            expect(errno.EINVAL, h.pread, 512, 1 << 62)
            expect(errno.EINVAL, h.block_status, 512, size, lambda *a: 0)
            check(len(h.pread(512, size - 512)) == 512, 'the last sector')
            h.pwrite(b'z' * 512, size - 512)
            check(h.pread(512, size - 512) == b'z' * 512, 'the last sector, written')
            """, served.Uri);
        served.Stop();
    }
}
