using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Device;

/// <summary>What a device does when its blobs fail.</summary>
public class FaultTests
{
    private static readonly byte[] Chunk = [.. Enumerable.Range(0, 4096).Select(i => (byte)(i * 13 + 1))];

    private static TestOverlay Overlay(bool separate = true, long deviceBytes = 1 << 20) =>
        new(new Random(5), new OverlayShape(deviceBytes, 12, separate, deviceBytes));

    [Fact]
    public void What_a_device_that_outlives_its_server_has_answered_does_not_die_with_a_process()
    {
        using var overlay = Overlay();
        overlay.Device.OutlivesServer = true;
        for (var i = 0; i < 8; i++)
        {
            // New chunks, parts of chunks, zeroes: each changes the map. No flush.
            Assert.Equal(0, overlay.Write(i * 12288, Chunk));
            Assert.Equal(0, overlay.Write((i * 12288) + 4096 + 512, Chunk[..512]));
            Assert.Equal(0, overlay.Run(new TestRequest
            {
                Operation = Requests.BlockOperation.WriteZeroes,
                ByteOffset = (i * 12288) + 8192,
                ByteLength = 4096
            }));
            overlay.CutPower();
            overlay.Open();
            overlay.Device.OutlivesServer = true;
            Assert.Equal(Chunk, overlay.Read(i * 12288, 4096));
            Assert.Equal(Chunk[..512], overlay.Read((i * 12288) + 4096 + 512, 512));
            Assert.Equal(new byte[4096], overlay.Read((i * 12288) + 8192, 4096));
        }
    }

    [Fact]
    public void After_a_failed_data_sync_everything_is_an_error_until_reopened()
    {
        using var overlay = Overlay();
        overlay.Write(0, Chunk);
        overlay.Flush();
        overlay.Write(0, new byte[4096]);
        overlay.DataDisk.Fault = (call, _) => call == FileCall.Flush ? -Errno.IO : 0;
        Assert.Equal(-Errno.IO, overlay.Flush());
        overlay.DataDisk.Fault = (_, _) => 0;
        // The second sync would succeed, and its data would be gone.
        Assert.Equal(-Errno.IO, overlay.Flush());
        Assert.Equal(-Errno.IO, overlay.Write(0, Chunk));
        Assert.Contains(overlay.Reports, report => report.Contains("syncing data failed", StringComparison.Ordinal));
        overlay.CutPower();
        overlay.Open();
        Assert.Equal(0, overlay.Write(0, Chunk));
        Assert.Equal(0, overlay.Flush());
    }

    [Fact]
    public void After_a_failed_map_sync_the_device_is_failed()
    {
        using var overlay = Overlay();
        overlay.Write(0, Chunk);
        overlay.MapDisk.Fault = (call, _) => call == FileCall.Flush ? -Errno.IO : 0;
        Assert.Equal(-Errno.IO, overlay.Flush());
        overlay.MapDisk.Fault = (_, _) => 0;
        Assert.Equal(-Errno.IO, overlay.Flush());
        Assert.Contains(overlay.Reports, report => report.Contains("failed and answers every request", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 0)]
    [InlineData(3, -Errno.IO)]
    public void A_map_write_that_fails_is_tried_again_and_then_fails_its_flush_alone(int failures, int expected)
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Write(0, Chunk));
        Assert.Equal(0, overlay.Flush());
        Assert.Equal(0, overlay.Write(4096, Chunk));
        var left = failures;
        overlay.MapDisk.Fault = (call, _) => call == FileCall.Write && left-- > 0 ? -Errno.IO : 0;
        Assert.Equal(expected, overlay.Flush());
        Assert.Equal(expected < 0 ? 1 : 0, overlay.Reports.Count);
        Assert.Equal(Chunk, overlay.Read(4096, 4096));
        Assert.Equal(0, overlay.Write(8192, Chunk));
        Assert.Equal(0, overlay.Flush());
        overlay.CutPower();
        overlay.Open();
        Assert.Equal([.. Chunk, .. Chunk, .. Chunk], overlay.Read(0, 3 * 4096));
    }

    [Fact]
    public void What_was_flushed_survives_a_cut_behind_a_map_write_that_failed()
    {
        using var overlay = Overlay();
        for (var round = 0; round < 40; round++)
        {
            Assert.Equal(0, overlay.Write(round * 4096, Chunk));
            Assert.Equal(0, overlay.Flush());
            Assert.Equal(0, overlay.Write((100 + round) * 4096, Chunk));
            overlay.MapDisk.Fault = (call, _) => call == FileCall.Write ? -Errno.IO : 0;
            Assert.Equal(-Errno.IO, overlay.Flush());
            overlay.MapDisk.Fault = (_, _) => 0;
            overlay.CutPower();
            overlay.Open();
            for (var i = 0; i <= round; i++)
                Assert.Equal(Chunk, overlay.Read(i * 4096, 4096));
        }
    }

    // Areas of 32 entries: the first round fills one or ends in the second, the next one ends in the second, or fills it, or goes on.
    [Theory]
    [InlineData(32, 5)]
    [InlineData(40, 5)]
    [InlineData(40, 24)]
    [InlineData(40, 100)]
    public void Entries_whose_write_failed_may_have_landed_and_lead_to_nothing_that_a_cut_can_tear(int first, int then)
    {
        for (var (turns, seed) = (1, 0); turns > 0; seed++)
        {
            using var store = new StoreOnSimulatedDisk(200 * 512, 512, seed: seed);
            // What earlier lives left: no end of a list, and no data of this one.
            var junk = new byte[200 * 512];
            junk.AsSpan().Fill(0xee);
            store.Disk.CopyIn(2 * 512, junk);
            store.Disk.Settle();
            Assert.Equal(0, store.Write(0, Marked(0, first)));
            // The last image: the first area.
            store.Disk.Fault = (call, offset) => call == FileCall.Write && offset == 512 ? -Errno.IO : 0;
            Assert.Equal(-Errno.IO, store.Flush());
            store.Disk.Fault = (_, _) => 0;
            Assert.Equal(0, store.Write(first * 512, Marked(first, then)));
            using var flush = new TestRequest { Operation = Requests.BlockOperation.Flush };
            var result = store.RunAndCut(flush, turns);
            Assert.True(result is null or 0);
            for (var chunk = 0; chunk < 200; chunk++)
            {
                var now = store.AfterCut.AsSpan(chunk * 512, 512);
                var isNew = chunk < first + then && now.SequenceEqual(Marked(chunk, 1));
                var mayBeOld = result is null || chunk >= first + then;
                Assert.True(isNew || (mayBeOld && now.SequenceEqual(store.OriginContent.AsSpan(chunk * 512, 512))),
                    $"chunk {chunk} after {turns} turns with seed {seed}, the flush {result}");
            }
            // Each turn of the flush several times, and its end.
            if (seed % 32 == 31)
                turns = result is null ? turns + 1 : 0;
        }

        static byte[] Marked(int chunk, int count) =>
            [.. Enumerable.Range(chunk * 512, count * 512).Select(i => (byte)(100 + (i / 512 % 100)))];
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Where_some_writes_fail_the_requests_fail_whose_own_they_are_and_no_others(bool isSnapshot)
    {
        const int chunks = 256, requests = 6000;
        using TestDevice device = isSnapshot ? new StoreOnSimulatedDisk(chunks * 4096, 4096) : Overlay(deviceBytes: chunks * 4096);
        var random = new Random(17);
        var faults = 0;
        int Fault(FileCall call, long offset) => call == FileCall.Write && random.Next(50) == 0 ? -Errno.IO + (faults++ * 0) : 0;
        foreach (var disk in device is TestOverlay overlay
            ? new[] { overlay.MapDisk, overlay.DataDisk } : [((StoreOnSimulatedDisk)device).Disk])
            disk.Fault = Fault;
        var (model, failed, flushes, failedFlushes) = (device.OriginContent.ToArray(), 0, 0, 0);
        for (var i = 0; i < requests; i++)
        {
            var (before, chunk) = (faults, random.Next(chunks));
            if (i % 5 == 4)
            {
                flushes++;
                var result = device.Flush();
                failedFlushes += result < 0 ? 1 : 0;
                Assert.True(result == 0 || faults - before >= 3, $"a flush failed after {faults - before} failed writes");
                continue;
            }
            var content = Chunk.ToArray();
            content[0] = (byte)i;
            if (device.Write(chunk * 4096, content) == 0)
            {
                content.CopyTo(model, chunk * 4096);
                continue;
            }
            failed++;
            Assert.True(faults > before, "a write failed, and nothing of its own had");
            // Each of its sectors is old or new.
            var now = device.Read(chunk * 4096, 4096);
            for (var sector = 0; sector < 4096; sector += 512)
                Assert.True(now.AsSpan(sector, 512).SequenceEqual(content.AsSpan(sector, 512))
                    || now.AsSpan(sector, 512).SequenceEqual(model.AsSpan((chunk * 4096) + sector, 512)));
            now.CopyTo(model, chunk * 4096);
        }
        Assert.True(faults > requests / 100);
        // Before, nearly all of them.
        Assert.InRange(failed, 1, requests / 20);
        Assert.InRange(failedFlushes, 0, flushes / 100);
        Assert.Equal(model, device.Read(0, model.Length));
    }

    [Fact]
    public void What_is_in_flight_when_the_device_fails_gets_an_error_too()
    {
        using var overlay = Overlay();
        overlay.Write(0, Chunk);
        overlay.DataDisk.Fault = (call, _) => call == FileCall.Flush ? -Errno.IO : 0;
        var flush = new TestRequest { Operation = Requests.BlockOperation.Flush };
        var reads = Enumerable.Range(0, 50).Select(_ => new TestRequest { Operation = Requests.BlockOperation.Read, ByteLength = 4096 })
            .ToList();
        reads.ForEach(read => read.SubmitTo(overlay.Device));
        Assert.Equal(-Errno.IO, overlay.Run(flush));
        // The disk's cache is gone: they may read what was there before the write that had succeeded.
        var waiting = reads.Where(read => read.Result is null).ToList();
        Assert.NotEmpty(waiting);
        while (overlay.World.PendingCount > 0)
            overlay.World.Turn();
        Assert.All(waiting, read => Assert.Equal(-Errno.IO, read.Result));
        reads.ForEach(read => read.Dispose());
    }

    [Fact]
    public void A_reset_of_an_open_overlay_that_fails_fails_the_device()
    {
        using var overlay = Overlay();
        overlay.Write(0, Chunk);
        overlay.Flush();
        overlay.MapDisk.Fault = (call, _) => call == FileCall.Flush ? -Errno.IO : 0;
        Assert.Throws<LincowException>(overlay.Store.Restart);
        overlay.MapDisk.Fault = (_, _) => 0;
        Assert.Equal(-Errno.IO, overlay.Write(0, Chunk));
        Assert.Equal(-Errno.IO, overlay.Flush());
    }

    [Fact]
    public void Requests_that_are_held_back_go_in_their_order_once_it_is_over()
    {
        using var overlay = Overlay();
        overlay.Device.Hold();
        var requests = Enumerable.Range(0, 8).Select(i => new TestRequest { Operation = Requests.BlockOperation.Write, ByteLength = 4096 })
            .ToList();
        for (var i = 0; i < requests.Count; i++)
        {
            requests[i].Content.Fill((byte)(i + 1));
            requests[i].SubmitTo(overlay.Device);
        }
        Assert.Equal((0, 0), (overlay.Device.InFlight, overlay.World.PendingCount));
        overlay.Store.Restart();
        overlay.Device.Release();
        while (overlay.World.PendingCount > 0)
            overlay.World.Turn();
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        Assert.Equal(8, overlay.Read(0, 1)[0]);
    }

    [Fact]
    public void A_map_without_room_fails_the_flush_and_the_next_one_makes_it_good()
    {
        using var overlay = Overlay();
        overlay.Write(0, Chunk);
        overlay.MapDisk.Fault = (call, _) => call == FileCall.Write ? -Errno.NoSpace : 0;
        Assert.Equal(-Errno.NoSpace, overlay.Flush());
        overlay.MapDisk.Fault = (_, _) => 0;
        Assert.Equal(0, overlay.Flush());
        overlay.CutPower();
        overlay.Open();
        Assert.Equal(Chunk, overlay.Read(0, 4096));
    }

    [Fact]
    public void A_write_without_room_is_refused_and_leaves_the_chunk_as_it_was()
    {
        using var overlay = Overlay();
        overlay.Write(4096, Chunk);
        overlay.DataDisk.Fault = (call, _) => call == FileCall.Write ? -Errno.NoSpace : 0;
        Assert.Equal(-Errno.NoSpace, overlay.Write(0, Chunk));
        Assert.Equal(-Errno.NoSpace, overlay.Write(8192 + 100, [1, 2, 3]));
        Assert.Equal(overlay.OriginContent[..4096], overlay.Read(0, 4096));
        Assert.Equal(Chunk, overlay.Read(4096, 4096));
        Assert.Equal(overlay.OriginContent[8192..12288], overlay.Read(8192, 4096));
        overlay.DataDisk.Fault = (_, _) => 0;
        Assert.Equal(0, overlay.Write(0, Chunk));
        Assert.Equal(Chunk, overlay.Read(0, 4096));
    }

    [Fact]
    public void A_read_error_of_the_origin_is_an_error_for_its_range_alone()
    {
        using var overlay = Overlay();
        Array.Fill(overlay.OriginContent, (byte)7);
        overlay.OriginDisk.CopyIn(0, overlay.OriginContent);
        overlay.OriginDisk.Fault = (call, offset) => call == FileCall.Read && offset / 4096 == 3 ? -Errno.IO : 0;
        using var read = new TestRequest { Operation = Requests.BlockOperation.Read, ByteOffset = 3 * 4096 + 512, ByteLength = 512 };
        Assert.Equal(-Errno.IO, overlay.Run(read));
        // A copy-up needs the origin; a whole chunk doesn't, and makes the range good.
        Assert.Equal(-Errno.IO, overlay.Write(3 * 4096 + 5, [1]));
        Assert.Equal(overlay.OriginContent[..4096], overlay.Read(2 * 4096, 4096));
        Assert.Equal(0, overlay.Write(3 * 4096, Chunk));
        Assert.Equal(Chunk, overlay.Read(3 * 4096, 4096));
        Assert.Equal(0, overlay.Flush());
    }

    [Fact]
    public void A_map_page_damaged_after_a_clean_close_is_replaced_by_its_twin()
    {
        using var overlay = Overlay();
        overlay.Write(0, Chunk);
        overlay.Close();
        Damage(overlay, slot: 0);
        overlay.Open();
        Assert.Equal(Chunk, overlay.Read(0, 4096));
        Assert.Single(overlay.Reports);
        overlay.Close();
        Damage(overlay, slot: 1);
        overlay.Open();
        Assert.Equal(Chunk, overlay.Read(0, 4096));
    }

    [Fact]
    public void A_map_page_whose_newer_slot_is_damaged_in_use_is_refused_not_guessed()
    {
        // Two map pages: the second one stays good.
        using var overlay = Overlay(deviceBytes: (ChunkMap.ChunksPerPage + 10L) * 4096);
        overlay.Write(0, Chunk);
        overlay.Flush();
        overlay.Write(4096, Chunk);
        overlay.Flush();
        overlay.CutPower();
        // The first flush went to slot 0, the second to slot 1.
        Damage(overlay, slot: 1);
        overlay.Open();
        using var read = new TestRequest { Operation = Requests.BlockOperation.Read, ByteOffset = 8192, ByteLength = 4096 };
        Assert.Equal(-Errno.IO, overlay.Run(read));
        Assert.Equal(-Errno.IO, overlay.Write(8192, Chunk));
        Assert.Equal(-Errno.IO, overlay.Zero(8192, 4096));
        Assert.Contains("device bytes 0 to", Assert.Single(overlay.Reports), StringComparison.Ordinal);
        Assert.Equal(0, overlay.Write(ChunkMap.ChunksPerPage * 4096L, Chunk));
        Assert.Equal(0, overlay.Close());
        overlay.Open();
        // Damage isn't forgotten by a close.
        Assert.True(overlay.Store.Superblock.InUse);
        Assert.Equal(-Errno.IO, overlay.Zero(8192, 4096));
    }

    private static void Damage(TestOverlay overlay, int slot)
    {
        var sector = new byte[512];
        var offset = LinearStore.PageOffset(0, slot) + 3 * 512;
        overlay.MapDisk.CopyOut(offset, sector);
        sector[200] ^= 16;
        overlay.MapDisk.CopyIn(offset, sector);
        overlay.MapDisk.Settle();
    }
}
