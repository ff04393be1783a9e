using Lincow.Blobs;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Device;

/// <summary>
/// However long a request is, in one turn of the loop the device does a bounded amount of work, and what is short is answered in between.
/// Work is counted in units, not in seconds.
/// </summary>
public class TurnTests
{
    private const int Sectors = 32768;
    private const long DeviceBytes = Sectors * 512L;

    /// <summary>A turn's units, what a request may do besides, and the last step, which is begun while there are units left.</summary>
    private const long MostUnits = TurnWork.UnitsPerTurn + (2 * TurnWork.Allowance) + 4096;

    private static TestOverlay Overlay(bool hasOrigin = false) =>
        new(new Random(3), new OverlayShape(DeviceBytes, 9, true, hasOrigin ? DeviceBytes : 0));

    /// <summary>Every other chunk has another state.</summary>
    private static void Alternate(TestOverlay overlay, ChunkState state)
    {
        overlay.Read(0, 1);
        overlay.Read(DeviceBytes - 1, 1);
        overlay.Read(DeviceBytes / 2, 1);
        for (var chunk = 0L; chunk < Sectors; chunk += 2)
            overlay.Store.Map.Set(new ChunkIndex(chunk), 1, state);
    }

    /// <summary>Submits a long request and then a short one; counts the work of every turn.</summary>
    private static long MostPerTurn(CowDevice device, Func<bool> turn, TestRequest request, bool takesManyTurns = true)
    {
        using var probe = new TestRequest { Operation = BlockOperation.Read, ByteOffset = DeviceBytes - 512, ByteLength = 512 };
        var spent = device.Turns.Spent;
        if (request.Operation != BlockOperation.Reclaim)
            request.SubmitTo(device);
        var most = device.Turns.Spent - spent;
        probe.SubmitTo(device);
        var (turns, probeTurns, workTurns) = (0, int.MaxValue, 0);
        while (request.Result is null || probe.Result is null)
        {
            spent = device.Turns.Spent;
            Assert.True(turn(), "it waits for nothing");
            turns++;
            most = Math.Max(most, device.Turns.Spent - spent);
            workTurns += device.Turns.Spent > spent ? 1 : 0;
            if (probe.Result is not null)
                probeTurns = Math.Min(probeTurns, turns);
        }
        Assert.Equal((0, 0), (request.Result, probe.Result));
        if (takesManyTurns)
            Assert.True(probeTurns < turns,
                $"the short one was answered after {probeTurns} turns, and the long one after {turns}, {workTurns} of them with work");
        return most;
    }

    private static long MostPerTurn(TestOverlay overlay, TestRequest request, bool takesManyTurns = true) =>
        MostPerTurn(overlay.Device, () =>
    {
        var isAnything = overlay.World.PendingCount > 0;
        overlay.World.Turn();
        return isAnything;
    }, request, takesManyTurns);

    [Fact]
    public void Read_ahead_over_many_runs()
    {
        using var overlay = Overlay();
        Alternate(overlay, ChunkState.Data);
        Assert.InRange(MostPerTurn(overlay, new TestRequest { Operation = BlockOperation.Cache, ByteLength = DeviceBytes - 512 }), 1,
            MostUnits);
    }

    [Fact]
    public void Extents_over_many_runs_are_all_told()
    {
        using var overlay = Overlay();
        Alternate(overlay, ChunkState.Zero);
        using var request = new TestRequest { Operation = BlockOperation.Extents, ByteLength = DeviceBytes - 512, ExtentCount = 20000 };
        unsafe
        {
            request.Buffer = (nint)System.Runtime.InteropServices.NativeMemory.AlignedAlloc(20000 * 16, 4096);
        }
        Assert.InRange(MostPerTurn(overlay, request), 1, MostUnits);
        Assert.Equal(20000, request.ExtentCount);
    }

    [Fact]
    public void A_read_of_zeroes()
    {
        using var overlay = Overlay();
        using var request = new TestRequest { Operation = BlockOperation.Read, ByteLength = DeviceBytes - 512 };
        Assert.InRange(MostPerTurn(overlay, request), 1, MostUnits);
        Assert.Equal(-1, request.Content.IndexOfAnyExcept((byte)0));
    }

    [Theory]
    [InlineData(nameof(BlockOperation.Read))]
    [InlineData(nameof(BlockOperation.Write))]
    [InlineData(nameof(BlockOperation.CopyUp))]
    [InlineData(nameof(BlockOperation.Discard))]
    [InlineData(nameof(BlockOperation.WriteZeroes))]
    public void A_request_over_many_runs(string name)
    {
        var operation = Enum.Parse<BlockOperation>(name);
        using var overlay = Overlay();
        Alternate(overlay, ChunkState.Zero);
        using var request = new TestRequest { Operation = operation, ByteLength = DeviceBytes - 1024 };
        if (operation == BlockOperation.Write)
            request.Content.Fill(7);
        // A map page is zeroed in one go, a run of memory is written in one operation.
        var isOneStep = operation is BlockOperation.Discard or BlockOperation.WriteZeroes;
        Assert.InRange(MostPerTurn(overlay, request, takesManyTurns: operation != BlockOperation.Write), 1,
            MostUnits + (isOneStep ? ChunkMap.ChunksPerPage : 0));
    }

    [Theory]
    [InlineData(nameof(BlockOperation.Read))]
    [InlineData(nameof(BlockOperation.Write))]
    [InlineData(nameof(BlockOperation.WriteZeroes))]
    public void A_request_of_a_snapshot_store_over_many_runs(string name)
    {
        var operation = Enum.Parse<BlockOperation>(name);
        using var store = new TestStore(DeviceBytes, 512);
        var (device, content) = (store.Device, new byte[512]);
        for (var at = 0L; at < DeviceBytes / 8; at += 1024)
            Assert.Equal(0, store.Write(at, content));
        using var request = new TestRequest { Operation = operation, ByteLength = DeviceBytes - 512 };
        Assert.InRange(MostPerTurn(device, () =>
        {
            store.Turn();
            return true;
        }, request, takesManyTurns: false), 1, MostUnits * 16);
    }

    [Fact]
    public void The_walk_over_what_a_reset_left_behind()
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Write(0, new byte[DeviceBytes - 512]));
        var (device, window) = (overlay.Device, 0);
        // Windows of a sector: as many as there are extents.
        var reclaimer = new Reclaimer(device, new Fragments(overlay.DataDisk), 0);
        var spent = device.Turns.Spent;
        reclaimer.Start();
        var most = device.Turns.Spent - spent;
        while (!reclaimer.IsDone)
        {
            Assert.True(overlay.World.PendingCount > 0);
            spent = device.Turns.Spent;
            overlay.World.Turn();
            most = Math.Max(most, device.Turns.Spent - spent);
            window++;
        }
        Assert.InRange(most, 1, MostUnits);
        Assert.True(window > Sectors / 128);
    }

    [Fact]
    public void Requests_that_wait_for_the_same_map_page()
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Write(0, new byte[4096]));
        Assert.Equal(0, overlay.Close());
        overlay.Open();
        var requests = Enumerable.Range(0, 2000).Select(_ => new TestRequest { Operation = BlockOperation.Read, ByteLength = 4096 })
            .ToList();
        requests.ForEach(request => request.SubmitTo(overlay.Device));
        var most = MostInATurn(() => overlay.World.PendingCount == 0, overlay.World.Turn, () => overlay.Device.Turns.Spent);
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        Assert.InRange(most, 1, MostUnits);
        requests.ForEach(request => request.Dispose());
    }

    [Fact]
    public void Requests_that_wait_for_one_of_the_few_loads_of_map_pages()
    {
        const int pages = 100;
        const long pageBytes = ChunkMap.ChunksPerPage * 512L;
        using var overlay = new TestOverlay(new Random(1), new OverlayShape(pages * pageBytes, 9, true, 0));
        for (var page = 0L; page < pages; page++)
            Assert.Equal(0, overlay.Write(page * pageBytes, new byte[512]));
        Assert.Equal(0, overlay.Close());
        overlay.Open();
        overlay.Read(0, 1);
        for (var chunk = 0L; chunk < ChunkMap.ChunksPerPage; chunk += 2)
            overlay.Store.Map.Set(new ChunkIndex(chunk), 1, ChunkState.Data);
        var hints = Enumerable.Range(0, 8).Select(_ => new TestRequest { Operation = BlockOperation.Cache, ByteLength = pageBytes })
            .ToList();
        hints.ForEach(hint => hint.SubmitTo(overlay.Device));
        var requests = Enumerable.Range(0, 2000)
            .Select(i =>
            new TestRequest { Operation = BlockOperation.Read, ByteOffset = (1 + (i % (pages - 1))) * pageBytes, ByteLength = 512 })
            .ToList();
        requests.ForEach(request => request.SubmitTo(overlay.Device));
        var most = MostInATurn(() => !requests.Exists(request => request.Result is null), () =>
        {
            Assert.True(overlay.World.PendingCount > 0, "they wait for nothing");
            overlay.World.Turn();
        }, () => overlay.MapDisk.Looks);
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        Assert.InRange(most, 1, TurnWork.UnitsPerTurn / TurnWork.UnitsPerCall);
        requests.ForEach(request => request.Dispose());
    }

    [Fact]
    public void Requests_that_wait_for_one_of_the_few_loads_of_areas()
    {
        const int chunks = 4096;
        using var store = new StoreOnSimulatedDisk(chunks * 512, 512, areaCacheBytes: 32 * 4096);
        for (var chunk = 0; chunk < chunks; chunk += 2)
            Assert.Equal(0, store.Write(chunk * 512, new byte[512]));
        Assert.Equal(0, store.Flush());
        // The hints are to keep the turns busy, not to wait for what nobody has looked at.
        store.Read(512, 512);
        var hints = Enumerable.Range(0, 50).Select(_ => new TestRequest { Operation = BlockOperation.Cache, ByteLength = chunks * 512 })
            .ToList();
        hints.ForEach(hint => hint.SubmitTo(store.Device));
        var requests = Enumerable.Range(0, chunks / 2)
            .Select(i => new TestRequest { Operation = BlockOperation.Read, ByteOffset = i * 37 % (chunks / 2) * 1024, ByteLength = 512 })
            .ToList();
        requests.ForEach(request => request.SubmitTo(store.Device));
        var most = MostInATurn(() => !requests.Exists(request => request.Result is null), store.Turn, () => store.Store.Cache.Misses);
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        Assert.InRange(most, 1, 200);
        // Everything comes to an end, so that the store can be closed.
        while (hints.Exists(hint => hint.Result is null))
            store.Turn();
        requests.ForEach(request => request.Dispose());
    }

    [Fact]
    public void Requests_that_wait_for_one_range()
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Write(0, new byte[8192]));
        var requests = Enumerable.Range(0, 3000)
            .Select(i => new TestRequest { Operation = BlockOperation.Write, ByteOffset = i % 16 * 512, ByteLength = 512 }).ToList();
        var first = new TestRequest { Operation = BlockOperation.Discard, ByteLength = 8192 };
        first.SubmitTo(overlay.Device);
        requests.ForEach(request => request.SubmitTo(overlay.Device));
        Assert.Null(first.Result);
        var most = MostInATurn(() => overlay.World.PendingCount == 0, overlay.World.Turn, () => overlay.Device.Turns.Spent);
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        Assert.InRange(most, 1, MostUnits);
        requests.ForEach(request => request.Dispose());
    }

    [Fact]
    public void Searches_for_who_is_in_the_way_are_bounded_however_ranges_lie()
    {
        const long place = DeviceBytes / 2;
        using var overlay = Overlay();
        Alternate(overlay, ChunkState.Data);
        var requests = new List<TestRequest>();
        void Submit(BlockOperation operation, long start, long end)
        {
            requests.Add(new TestRequest { Operation = operation, ByteOffset = start, ByteLength = end - start });
            requests[^1].SubmitTo(overlay.Device);
        }

        // Long, so that all after it wait. Those that come before the readers don't touch them, those that come after do, and between any
        // two of one kind lies one of the other.
        Submit(BlockOperation.Read, 0, place);
        for (var at = 0L; at < place; at += 1024)
            Submit(BlockOperation.Write, at, at + 1);
        Submit(BlockOperation.Discard, place, place + 512);
        var readers = requests.Count;
        for (var i = 0; i < 200; i++)
            Submit(BlockOperation.Read, place, place + 512);
        for (var at = 512L; at < place; at += 1024)
            Submit(BlockOperation.WriteZeroes, at, place + 512);
        var most = MostInATurn(() => requests[readers + 199].Result is not null, overlay.World.Turn, () => overlay.Device.LockVisits);
        Assert.Null(requests[0].Result);
        Assert.InRange(most, 5000, 8 * MostUnits);
        requests.ForEach(request => request.Dispose());
    }

    [Fact]
    public void Requests_that_were_held_are_let_in_bit_by_bit()
    {
        using var overlay = Overlay();
        overlay.Read(0, 1);
        overlay.Device.Hold();
        var requests = Enumerable.Range(0, 3000).Select(_ => new TestRequest { Operation = BlockOperation.Read, ByteLength = 4096 })
            .ToList();
        var order = new List<TestRequest>();
        foreach (var request in requests)
        {
            request.Completed = _ => order.Add(request);
            request.SubmitTo(overlay.Device);
        }
        Assert.Equal(0, overlay.Device.InFlight);
        var spent = overlay.Device.Turns.Spent;
        overlay.Device.Release();
        var most = overlay.Device.Turns.Spent - spent;
        // Who comes now comes last.
        Assert.False(overlay.Device.IsIdle);
        requests.Add(new TestRequest { Operation = BlockOperation.Read, ByteLength = 4096 });
        requests[^1].Completed = _ => order.Add(requests[^1]);
        requests[^1].SubmitTo(overlay.Device);
        while (!overlay.Device.IsIdle)
        {
            spent = overlay.Device.Turns.Spent;
            Assert.True(overlay.World.PendingCount > 0, "it waits for nothing");
            overlay.World.Turn();
            most = Math.Max(most, overlay.Device.Turns.Spent - spent);
        }
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        Assert.Equal(requests, order);
        Assert.InRange(most, 1, MostUnits);
        requests.ForEach(request => request.Dispose());
    }

    [Fact]
    public void Who_waits_for_a_range_does_not_wait_for_what_is_long()
    {
        using var overlay = Overlay();
        Alternate(overlay, ChunkState.Data);
        var hints = Enumerable.Range(0, 3).Select(_ => new TestRequest { Operation = BlockOperation.Cache, ByteLength = DeviceBytes - 512 })
            .ToList();
        hints.ForEach(hint => hint.SubmitTo(overlay.Device));
        // Parts of one chunk that the overlay doesn't hold: each changes the whole of it.
        var writes = Enumerable.Range(0, 4)
            .Select(i => new TestRequest { Operation = BlockOperation.Write, ByteOffset = 512 + (i * 128), ByteLength = 128 }).ToList();
        writes.ForEach(write => write.SubmitTo(overlay.Device));
        var turns = 0;
        for (; writes.Exists(write => write.Result is null); turns++)
            overlay.World.Turn();
        Assert.All(hints, hint => Assert.Null(hint.Result));
        Assert.InRange(turns, 1, 40);
        while (hints.Exists(hint => hint.Result is null))
            overlay.World.Turn();
        writes.ForEach(write => write.Dispose());
    }

    [Fact]
    public void A_flush_of_many_map_pages_starts_some_writes_a_turn()
    {
        const int pages = 100;
        using var overlay = new TestOverlay(new Random(1), new OverlayShape(pages * 15616L * 512, 9, true, 0));
        for (var page = 0L; page < pages; page++)
            Assert.Equal(0, overlay.Write(page * 15616 * 512, new byte[512]));
        var flush = new TestRequest { Operation = BlockOperation.Flush };
        flush.SubmitTo(overlay.Device);
        var before = overlay.MapDisk.Writes;
        var most = MostInATurn(() => flush.Result is not null, overlay.World.Turn, () => overlay.MapDisk.Writes);
        Assert.Equal((0, pages), (flush.Result, overlay.MapDisk.Writes - before));
        Assert.InRange(most, 1, 64);
        overlay.CutPower();
        overlay.Open();
        for (var page = 0L; page < pages; page++)
            Assert.Equal(ChunkState.Data, StateOf(overlay, page * 15616));
    }

    /// <summary>Turns the world until something is over; returns by how much a count has risen in one turn at most.</summary>
    private static long MostInATurn(Func<bool> isOver, Action turn, Func<long> count)
    {
        var most = 0L;
        while (!isOver())
        {
            var before = count();
            turn();
            most = Math.Max(most, count() - before);
        }
        return most;
    }

    private static ChunkState StateOf(TestOverlay overlay, long chunk)
    {
        overlay.Read(chunk * 512, 1);
        return overlay.Store.Map.StateOf(new ChunkIndex(chunk));
    }

    /// <summary>A blob whose every sector is an extent of its own.</summary>
    private sealed class Fragments(IBlob blob) : IBlob
    {
        public string Name => blob.Name;

        public Action<LincowError>? Report { get; set; }

        public int AlignmentBytes => 1;

        public void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
        {
            runs.Clear(byteOffset);
            for (var end = byteOffset + 512; end <= byteEnd && runs.TryAdd(end, end / 512 % 2 == 0); end += 512)
            {
            }
            blob.NextTurn(operation);
        }

        public void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation) => throw new NotSupportedException();

        public void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation) => throw new NotSupportedException();

        public void Flush(BlobOperation operation) => throw new NotSupportedException();

        public void Yield(BlobOperation operation) => throw new NotSupportedException();

        public void NextTurn(BlobOperation operation) => throw new NotSupportedException();

        public void Delay(int milliseconds, BlobOperation operation) => throw new NotSupportedException();

        public void PunchHole(long byteOffset, long byteLength, BlobOperation operation) => throw new NotSupportedException();

        public void Reserve(long byteOffset, long byteLength, BlobOperation operation) => throw new NotSupportedException();

        public void CancelReads()
        {
        }

        public void WillNeed(long byteOffset, long byteLength)
        {
        }

        public void Turn()
        {
        }

        public void Dispose()
        {
        }
    }
}
