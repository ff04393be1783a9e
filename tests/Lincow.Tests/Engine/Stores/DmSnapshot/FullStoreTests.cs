using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Stores.DmSnapshot;

/// <summary>A store that is full does what the kernel's PO or P does, and keeps what it has.</summary>
public class FullStoreTests
{
    private const int Chunk = 4096, DeviceChunks = 400;

    // Header, area and 60 chunks of data.
    private const int Room = 60;

    private static TestStore Store(WhenFull whenFull = WhenFull.FailWrites) =>
        new(DeviceChunks * Chunk, Chunk,
            storeBytes: (Room + 2) * Chunk)
        { Options = new OverlayOptions { GiveUpWhenFull = whenFull == WhenFull.Invalidate } };

    [Fact]
    public void When_full_only_writes_to_new_chunks_fail_and_nothing_is_lost()
    {
        using var store = Store();
        var model = Fill(store, Room);
        Assert.Equal(-Errno.NoSpace, Write(store, model, Room, 1));
        Assert.Equal(-Errno.NoSpace, store.CopyUp(Room * Chunk, Chunk));
        Assert.Equal(-Errno.NoSpace, store.Zero(Room * Chunk, (DeviceChunks - Room) * Chunk));
        // Part of it would find room: all of it has to, or nothing is written.
        Assert.Equal(-Errno.NoSpace, store.Write((Room - 1) * Chunk, new byte[2 * Chunk]));
        Assert.Equal(model, store.Read(0, model.Length));
        // What the store holds can be changed, whole chunks and parts.
        Assert.Equal(0, Write(store, model, 3, 200));
        Assert.Equal(0, Write(store, model, Room - 1, 201));
        Assert.Equal(0, store.Write(7 * Chunk + 100, [1, 2, 3]));
        new byte[] { 1, 2, 3 }.CopyTo(model, 7 * Chunk + 100);
        Assert.Equal(0, store.Flush());
        Assert.Equal(model, store.Read(0, model.Length));
        Assert.True(store.Store.IsFull);
        // Said once, not for every write.
        Assert.Contains("is full", Assert.Single(store.Reports), StringComparison.Ordinal);

        Assert.Equal(0, store.Close());
        Assert.Empty(store.Findings());
        Assert.Equal(1, store.Peek(4, 1)[0]);
        store.Open();
        Assert.Equal(model, store.Read(0, model.Length));
        Assert.Equal(-Errno.NoSpace, Write(store, model, Room, 1));
    }

    [Fact]
    public void When_it_is_enlarged_it_goes_on_without_being_opened_again()
    {
        using var store = Store();
        var model = Fill(store, Room);
        for (var round = 1; round <= 5; round++)
        {
            Assert.Equal(-Errno.NoSpace, Write(store, model, Room * round, 1));
            // Across the end of the first area, too: chunk 258 is the next one.
            store.Enlarge((Room * (round + 1) + 2 + (round == 4 ? 1 : 0) + (round == 5 ? 1 : 0)) * Chunk);
            for (var i = Room * round; i < Room * (round + 1); i++)
                Assert.Equal(0, Write(store, model, i, i));
            Assert.Equal(0, store.Flush());
            Assert.False(store.Store.IsFull);
        }
        Assert.Equal(-Errno.NoSpace, Write(store, model, Room * 6, 1));
        Assert.Equal(model, store.Read(0, model.Length));
        Assert.Equal(0, store.Close());
        Assert.Empty(store.Findings());
        Assert.Equal(model, store.Read(0, model.Length));
        Assert.Equal(((ulong)Room * 6 - 1, (ulong)Room * 6 + 2), store.Entry(Room * 6 - 1));
    }

    [Fact]
    public void A_store_whose_next_area_would_lie_beyond_its_end_leaves_the_last_entry_free()
    {
        // Chunks of 512 bytes: 32 entries of an area, and not a chunk more than area 0's data.
        using var store = new TestStore(100 * 512, 512, storeBytes: 34 * 512);
        for (var i = 0; i < 31; i++)
            Assert.Equal(0, store.Write(i * 512, store.Chunk(i)));
        Assert.Equal(-Errno.NoSpace, store.Write(31 * 512, store.Chunk(31)));
        Assert.Equal(0, store.Close());
        // The list ends, so the store can be read.
        Assert.Empty(store.Findings());
        Assert.Equal((0UL, 0UL), store.Entry(31));
        store.Enlarge(35 * 512);
        Assert.Equal(0, store.Write(31 * 512, store.Chunk(31)));
        Assert.Equal(-Errno.NoSpace, store.Write(32 * 512, store.Chunk(32)));
        Assert.Equal(0, store.Close());
        Assert.Empty(store.Findings());
        Assert.Equal(store.Chunk(31), store.Read(31 * 512, 512));
    }

    [Fact]
    public void Given_up_when_full_it_is_invalid_on_disk_for_good_and_a_rescue_shows_what_it_had()
    {
        using var store = Store(WhenFull.Invalidate);
        var model = Fill(store, Room);
        Assert.Equal(0, store.Flush());
        Assert.Equal(-Errno.IO, Write(store, model, Room, 1));
        Assert.Equal(-Errno.IO, store.TryRead(0, 512));
        Assert.Equal(-Errno.IO, Write(store, model, 0, 1));
        Assert.Equal(-Errno.IO, store.Flush());
        Assert.Contains("given up", Assert.Single(store.Reports), StringComparison.Ordinal);
        Assert.Equal(0, store.Close());

        Assert.Equal("536e4170" + "00000000" + "01000000" + "08000000", Convert.ToHexStringLower(store.Peek(0, 16)));
        Assert.Contains("valid is 0", Assert.Single(store.Findings()), StringComparison.Ordinal);
        Assert.Contains("given up", Assert.Throws<LincowException>(store.Open).Message, StringComparison.Ordinal);
        store.Options = new OverlayOptions { ReadOnly = true };
        Assert.Contains("given up", Assert.Throws<LincowException>(store.Open).Message, StringComparison.Ordinal);
        store.Options = new OverlayOptions { Rescue = true };
        Assert.Equal(LincowErrorCode.RescueNeedsReadOnly, Assert.Throws<LincowException>(store.Open).Error.Code);
        var before = store.Peek(0, (Room + 2) * Chunk);
        store.Options = new OverlayOptions { ReadOnly = true, Rescue = true };
        Assert.Equal(model, store.Read(0, model.Length));
        Assert.Equal(-Errno.Perm, store.Write(0, [1]));
        Assert.Equal(0, store.Close());
        Assert.Equal(before, store.Peek(0, before.Length));

        store.Options = new OverlayOptions();
        store.Reset();
        Assert.Equal(store.OriginContent, store.Read(0, model.Length));
        Assert.Equal(0, Write(store, model, 5, 1));
    }

    [Fact]
    public void A_write_that_fails_gives_its_place_back()
    {
        using var store = new StoreOnSimulatedDisk(64 * Chunk, Chunk);
        store.Disk.Fault = (call, _) => call == FileCall.Write ? -Errno.NoSpace : 0;
        for (var i = 0; i < 100; i++)
            Assert.Equal(-Errno.NoSpace, store.Write(i % 10 * Chunk, new byte[3 * Chunk]));
        store.Disk.Fault = (_, _) => 0;
        Assert.Equal(0, store.Write(0, new byte[Chunk]));
        // Header, area, one chunk.
        Assert.Equal(3 * Chunk / 512, store.Store.AllocatedSectors);
    }

    private static byte[] Fill(TestStore store, int chunks)
    {
        var model = store.OriginContent.ToArray();
        for (var i = 0; i < chunks; i++)
            Assert.Equal(0, Write(store, model, i, i));
        return model;
    }

    /// <summary>Into the model, too, if it succeeds.</summary>
    private static int Write(TestStore store, byte[] model, int chunk, int number)
    {
        var content = store.Chunk(number);
        var result = store.Write(chunk * (long)Chunk, content);
        if (result == 0)
            content.CopyTo(model, chunk * Chunk);
        return result;
    }
}
