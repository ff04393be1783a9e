using System.Buffers.Binary;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Stores.DmSnapshot;

/// <summary>What a store does at its ends: opened after a cut, filled with zeroes, copied up, forgotten.</summary>
public class StoreTests
{
    private const int Chunk = 4096, Chunks = 600;

    [Fact]
    public void Chunks_lie_in_order_of_arrival_and_the_list_names_them()
    {
        using var store = new TestStore(Chunks * Chunk, Chunk);
        int[] order = [40, 7, 300, 8];
        foreach (var chunk in order)
            Assert.Equal(0, store.Write(chunk * Chunk, store.Chunk(chunk)));
        // Nothing is promised yet, and nothing is in the list.
        Assert.Equal((0UL, 0UL), store.Entry(0));
        Assert.Equal(0, store.Flush());
        for (var i = 0; i < order.Length; i++)
        {
            Assert.Equal(((ulong)order[i], (ulong)i + 2), store.Entry(i));
            Assert.Equal(store.Chunk(order[i]), store.Peek((i + 2) * Chunk, Chunk));
        }
        Assert.Equal((0UL, 0UL), store.Entry(order.Length));
    }

    [Fact]
    public void A_store_of_a_cut_reset_is_empty_for_readers_and_made_whole_by_a_writer()
    {
        using var store = Filled(40);
        Assert.Equal(0, store.Close());
        store.Poke(0, new byte[4]);
        Assert.False(store.Check().Clean);
        store.Options = new OverlayOptions { ReadOnly = true };
        Assert.Equal(store.OriginContent, store.Read(0, store.OriginContent.Length));
        Assert.Equal(0, store.Close());
        Assert.Equal(0U, BinaryPrimitives.ReadUInt32LittleEndian(store.Peek(0, 4)));
        store.Options = new OverlayOptions();
        Assert.Equal(store.OriginContent, store.Read(0, store.OriginContent.Length));
        Assert.Equal("536e4170" + "01000000" + "01000000" + "08000000", Convert.ToHexStringLower(store.Peek(0, 16)));
        Assert.Equal(-1, store.Peek(Chunk, Chunk).AsSpan().IndexOfAnyExcept((byte)0));
        Assert.Equal(0, store.Write(5 * Chunk, store.Chunk(1)));
        Assert.Equal(0, store.Close());
        Assert.Equal((5UL, 2UL), store.Entry(0));
        Assert.True(store.Check().Clean);
    }

    [Fact]
    public void What_a_cut_left_behind_the_end_of_the_list_never_joins_it()
    {
        // Sectors hold 32 entries: the next two entries end one, and what follows them lies in the next.
        using var store = Filled(62);
        Assert.Equal(0, store.Close());
        store.SetEntry(64, 500, 3);
        Assert.False(store.Check().Clean);
        Assert.Empty(store.Findings());
        store.Options = new OverlayOptions { ReadOnly = true };
        Assert.Equal(store.OriginContent[(500 * Chunk)..(501 * Chunk)], store.Read(500 * Chunk, Chunk));
        Assert.Equal(0, store.Close());
        Assert.Equal((500UL, 3UL), store.Entry(64));
        store.Options = new OverlayOptions();
        Assert.Equal(0, store.Write(200 * Chunk, store.Chunk(1)));
        Assert.Equal(0, store.Write(201 * Chunk, store.Chunk(2)));
        Assert.Equal(0, store.Close());
        Assert.Equal((201UL, 65UL), store.Entry(63));
        Assert.Equal((0UL, 0UL), store.Entry(64));
        Assert.True(store.Check().Clean);
        Assert.Equal(store.OriginContent[(500 * Chunk)..(501 * Chunk)], store.Read(500 * Chunk, Chunk));
    }

    [Fact]
    public void An_area_that_fills_is_followed_by_one_of_zeroes_whatever_was_there()
    {
        using var store = Filled(0);
        Assert.Equal(0, store.Close());
        // An earlier life of the store, as a reset leaves it where space can't be given back.
        for (var i = 0; i < 256; i++)
            store.SetEntry(256 + i, (ulong)i, (ulong)i + 2);
        for (var i = 0; i < 256; i++)
            Assert.Equal(0, store.Write(i * Chunk, store.Chunk(i)));
        Assert.Equal(0, store.Flush());
        Assert.Equal(-1, store.Peek(store.Layout.AreaOffset(1), Chunk).AsSpan().IndexOfAnyExcept((byte)0));
        Assert.Equal(0, store.Write(256 * Chunk, store.Chunk(256)));
        Assert.Equal(0, store.Close());
        Assert.Equal((256UL, 259UL), store.Entry(256));
        Assert.True(store.Check().Clean);
        Assert.Equal(store.Chunk(256), store.Read(256 * Chunk, Chunk));
    }

    [Fact]
    public void A_chunk_that_is_copied_up_is_as_it_was_and_no_longer_the_origins()
    {
        using var store = new StoreOnSimulatedDisk(64 * Chunk, Chunk);
        Assert.Equal(0, store.Write(2 * Chunk, new byte[Chunk]));
        var before = store.Read(0, 64 * Chunk);
        Assert.Equal(0, store.CopyUp(100, 5 * Chunk));
        Assert.Equal(6, store.Store.ExceptionCount);
        var writes = store.Disk.Writes;
        Assert.Equal(0, store.CopyUp(0, 6 * Chunk));
        Assert.Equal((6, writes), (store.Store.ExceptionCount, store.Disk.Writes));
        // Now the origin may change.
        store.OriginDisk.CopyIn(0, new byte[6 * Chunk]);
        Assert.Equal(before, store.Read(0, 64 * Chunk));
        Assert.Equal(0, store.Flush());
    }

    [Fact]
    public void Zeroing_takes_room_for_what_is_not_zero_already_and_no_more()
    {
        // The second half is a hole.
        using var store = new StoreOnSimulatedDisk(64 * Chunk, Chunk);
        Assert.Equal(0, store.Zero(32 * Chunk, 32 * Chunk));
        Assert.Equal(0, store.Zero(40 * Chunk + 512, 1024, flags: BlockFlags.NoHole));
        Assert.Equal((0, 0), (store.Store.ExceptionCount, store.Disk.Writes));
        Assert.Equal(0, store.Zero(30 * Chunk + 512, 8 * Chunk));
        Assert.Equal(2, store.Store.ExceptionCount);
        var expected = store.OriginContent.ToArray();
        expected.AsSpan(30 * Chunk + 512).Clear();
        Assert.Equal(expected, store.Read(0, expected.Length));
        // Behind FUA it is there for good, entries and all.
        Assert.Equal(0, store.Zero(0, Chunk, flags: BlockFlags.ForceUnitAccess));
        Assert.False(store.Store.HasUncommitted);
        Assert.Equal(-Errno.NotSupported, store.Zero(0, Chunk, BlockOperation.Discard));
    }

    [Fact]
    public void Without_a_table_on_disk_chunks_fill_the_file_from_its_start_and_are_forgotten()
    {
        using var store = new TestStore(Chunks * Chunk, Chunk);
        Assert.Equal(0, store.Close());
        var data = store.Path + ".n";
        File.WriteAllBytes(data, new byte[10 * Chunk]);
        store.OpenTransient(data);
        int[] order = [40, 7, 300, 8, 9];
        foreach (var chunk in order)
            Assert.Equal(0, store.Write(chunk * Chunk, store.Chunk(chunk)));
        Assert.Equal(0, store.Flush());
        var content = File.ReadAllBytes(data);
        for (var i = 0; i < order.Length; i++)
            Assert.Equal(store.Chunk(order[i]), content.AsSpan(i * Chunk, Chunk));
        Assert.Equal(-1, content.AsSpan(order.Length * Chunk).IndexOfAnyExcept((byte)0));
        for (var i = 0; i < 5; i++)
            Assert.Equal(0, store.Write((100 + i) * Chunk, store.Chunk(i)));
        Assert.Equal(-Errno.NoSpace, store.Write(200 * Chunk, store.Chunk(1)));
        var expected = store.OriginContent.ToArray();
        foreach (var chunk in order)
            store.Chunk(chunk).CopyTo(expected, chunk * Chunk);
        for (var i = 0; i < 5; i++)
            store.Chunk(i).CopyTo(expected, (100 + i) * Chunk);
        Assert.Equal(expected, store.Read(0, expected.Length));
        Assert.Equal(0, store.Close());
        Assert.Equal(10 * Chunk, new FileInfo(data).Length);
        store.OpenTransient(data);
        Assert.Equal(store.OriginContent, store.Read(0, expected.Length));
        Assert.Equal(0, store.Close());
        // Given up when full, as the kernel's N is.
        store.Options = new OverlayOptions { GiveUpWhenFull = true };
        store.OpenTransient(data);
        Assert.Equal(-Errno.IO, store.Write(0, new byte[11 * Chunk]));
        Assert.Equal(-Errno.IO, store.TryRead(0, 512));
    }

    [Fact]
    public void A_round_commits_nothing_that_was_recorded_since_it_began()
    {
        // Areas of 32 entries.
        using var store = new StoreOnSimulatedDisk(1 << 18, 512);
        Assert.Equal(0, store.Write(0, new byte[40 * 512]));
        store.Store.BeginRound();
        // Areas fill up meanwhile, and no area is there yet to follow them.
        Assert.Equal(0, store.Write(40 * 512, new byte[100 * 512]));
        var entries = 0;
        var image = new TestImage();
        while (store.Store.TryTakeImage(image))
        {
            var from = (int)(image.TargetOffset - new SnapshotLayout(9).AreaOffset(image.Page)) / ExceptionEntry.SizeBytes;
            for (var i = 0; i < image.ImageBytes / ExceptionEntry.SizeBytes; i++)
            {
                var number = (image.Page * 32) + from + i;
                var isThere = ExceptionEntry.Read(image.Content, i).NewChunk != 0;
                Assert.Equal(number < 40, isThere);
                entries += isThere ? 1 : 0;
            }
            store.Buffers.Return(image.Image);
        }
        Assert.Equal(40, entries);
    }

    private sealed unsafe class TestImage : MetadataImage
    {
        public ReadOnlySpan<byte> Content => new((void*)Image.Address, ImageBytes);

        public override void End(int result)
        {
        }
    }

    /// <summary>The device's first chunks written, in order.</summary>
    private static TestStore Filled(int count)
    {
        var store = new TestStore(Chunks * Chunk, Chunk);
        for (var i = 0; i < count; i++)
            Assert.Equal(0, store.Write(i * Chunk, store.Chunk(i)));
        return store;
    }
}
