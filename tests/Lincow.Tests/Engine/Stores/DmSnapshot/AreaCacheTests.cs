using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Stores.DmSnapshot;
using Lincow.Tests.Engine.Device;

namespace Lincow.Tests.Engine.Stores.DmSnapshot;

/// <summary>Areas are read when they are needed, and only so many are kept.</summary>
public class AreaCacheTests
{
    private const int Chunk = 512, Entries = 32, Areas = 100, Page = 4096;

    [Fact]
    public void With_many_more_areas_than_the_cache_holds_everything_is_right_and_memory_is_bounded()
    {
        const int capacity = 4, loadsAtOnce = 16;
        using var store = new TestStore(Areas * Entries * Chunk,
            Chunk)
        { Options = new OverlayOptions { AreaCacheBytes = capacity * Page } };
        var model = new byte[store.OriginContent.Length];
        // In any order, so that neighbours have their entries far apart.
        var random = new Random(2);
        var order = Enumerable.Range(0, Areas * Entries).ToArray();
        random.Shuffle(order);
        foreach (var chunk in order)
        {
            store.Chunk(chunk).CopyTo(model, chunk * Chunk);
            Assert.Equal(0, store.Write(chunk * Chunk, store.Chunk(chunk)));
            if (random.Next(50) == 0)
                Assert.Equal(0, store.Flush());
        }
        Assert.Equal(0, store.Close());
        store.Open();
        Assert.Equal(capacity, store.Store.Cache.Capacity);
        // One request whose areas the cache can't hold together.
        Assert.Equal(model, store.Read(0, model.Length));
        // Beside the areas: the states of chunks.
        Assert.InRange(store.RentedBytes, 1, (capacity + 1) * Page + (64 << 10));
        // Many at once, reads and parts of chunks.
        var requests = Enumerable.Range(0, 64).Select(i => new TestRequest
        {
            Operation = i % 4 == 0 ? Requests.BlockOperation.Write : Requests.BlockOperation.Read,
            ByteOffset = i % 4 == 0 ? i * 4000 + 5 : random.Next(model.Length - 5000),
            ByteLength = i % 4 == 0 ? 700 : 5000,
        }).ToList();
        requests.ForEach(request => request.SubmitTo(store.Device));
        Assert.InRange(store.RentedBytes, 1, (capacity + loadsAtOnce + 1 + 16) * Page);
        requests.ForEach(store.Await);
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        foreach (var write in requests.Where(request => request.Operation == Requests.BlockOperation.Write))
            write.Content.CopyTo(model.AsSpan((int)write.ByteOffset));
        requests.ForEach(request => request.Dispose());
        Assert.Equal(model, store.Read(0, model.Length));
        // Beside the areas: the states of chunks.
        Assert.InRange(store.RentedBytes, 1, (capacity + 1) * Page + (64 << 10));
    }

    [Fact]
    public void An_area_is_read_once_as_long_as_there_is_room_for_it()
    {
        using var store = new TestStore(8 * Entries * Chunk, Chunk) { Options = new OverlayOptions { AreaCacheBytes = 4 * Page } };
        for (var i = 0; i < 8 * Entries; i++)
            Assert.Equal(0, store.Write(i * Chunk, store.Chunk(i)));
        Assert.Equal(0, store.Close());
        store.Open();
        var cache = store.Store.Cache;
        Assert.Equal((0, 0), (cache.Hits, cache.Misses));
        Read(0);
        Assert.Equal(1, cache.Misses);
        var hits = cache.Hits;
        Read(1);
        Read(Entries - 1);
        Assert.Equal((1, hits + 2), (cache.Misses, cache.Hits));
        // A whole area in one read: one look a chunk.
        Assert.Equal(0, store.TryRead(Entries * Chunk, Entries * Chunk));
        Assert.Equal(2, cache.Misses);
        Read(2 * Entries);
        Read(3 * Entries);
        Read(0);
        Assert.Equal(4, cache.Misses);
        // The fifth takes the place of one of them.
        Read(4 * Entries);
        Assert.Equal(5, cache.Misses);
        for (var area = 0; area < 5; area++)
            Read(area * Entries);
        Assert.InRange(cache.Misses, 6, 10);

        void Read(int chunk) => Assert.Equal(store.Chunk(chunk), store.Read(chunk * Chunk, Chunk));
    }

    [Fact]
    public void An_area_that_cannot_be_read_is_an_error_for_those_who_need_it()
    {
        using var store = new StoreOnSimulatedDisk(8 * Entries * Chunk, Chunk, areaCacheBytes: 1);
        for (var i = 0; i < 4 * Entries; i++)
            Assert.Equal(0, store.Write(i * Chunk, new byte[Chunk]));
        Assert.Equal(0, store.Flush());
        Assert.Equal(0, store.TryRead(2 * Entries * Chunk, Chunk));
        var bad = new SnapshotLayout(9).AreaOffset(1);
        store.Disk.Fault = (call, offset) => call == FileCall.Read && offset == bad ? -Errno.IO : 0;
        Assert.Equal(-Errno.IO, store.TryRead(Entries * Chunk, Chunk));
        Assert.Equal(-Errno.IO, store.TryRead(0, 4 * Entries * Chunk));
        Assert.Equal(-Errno.IO, store.Write(Entries * Chunk + 7, [1]));
        Assert.Equal(0, store.TryRead(0, Entries * Chunk));
        store.Disk.Fault = (_, _) => 0;
        Assert.Equal(0, store.TryRead(0, 4 * Entries * Chunk));
        Assert.Empty(store.Reports);
    }

    [Fact]
    public void A_table_grows_with_a_few_moves_for_each_entry()
    {
        const ulong entries = 1_000_000;
        using var table = new ChunkTable();
        var random = new Random(5);
        var most = 0L;
        for (ulong i = 0; i < entries; i++)
        {
            var before = table.Moves;
            Assert.True(table.TryAdd(i * 3, (uint)i));
            most = Math.Max(most, table.Moves - before);
            Assert.False(table.TryAdd((ulong)random.NextInt64((long)i + 1) * 3, 7));
            // Amid a move everything is found, wherever it is, and nothing else.
            var some = (ulong)random.NextInt64((long)i + 1);
            Assert.True(table.TryGet(some * 3, out var value));
            Assert.Equal((uint)some, value);
            Assert.False(table.TryGet((some * 3) + 1, out _));
        }
        Assert.InRange(most, 1, ChunkTable.MovesPerEntry);
        Assert.Equal((long)entries, table.Count);
        Assert.True(table.Moves > (long)entries / 2);
        for (ulong i = 0; i < entries; i++)
            Assert.True(table.TryGet(i * 3, out var value) && value == i);
    }

    [Fact]
    public void A_table_that_was_prepared_for_many_entries_moves_none_for_them()
    {
        using var table = new ChunkTable();
        for (ulong i = 0; i < 10_000; i++)
            Assert.True(table.TryAdd(i, (uint)i));
        Assert.True(table.TryPrepare(100_000));
        for (ulong i = 10_000; i < 110_000; i++)
            Assert.True(table.TryAdd(i, (uint)i));
        for (ulong i = 0; i < 110_000; i++)
            Assert.True(table.TryGet(i, out var value) && value == i);
    }

    [Fact]
    public void Chunks_that_were_chosen_to_meet_in_the_table_are_found_as_soon_as_others()
    {
        var clock = Stopwatch.StartNew();
        using var table = new ChunkTable();
        for (ulong i = 0; i < 60_000; i++)
            Assert.True(table.TryAdd((i / 8 << 41) | (i & 7), (uint)i));
        // All of them in one row: 10^9 looks.
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(2), $"{clock.Elapsed}");
        Assert.False(table.TryAdd(3UL << 41, 1));
        Assert.True(table.TryGet((7499UL << 41) | 7, out var value));
        Assert.Equal(59_999U, value);
        Assert.False(table.TryGet(7500UL << 41, out _));
    }
}
