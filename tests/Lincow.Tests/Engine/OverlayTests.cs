using System.Collections.Concurrent;
using Lincow.Linux;

namespace Lincow.Tests.Engine;

/// <summary>The library's face, as a program sees it: from any thread, with nothing but public members.</summary>
[Collection(nameof(Overlay))]
public sealed class OverlayTests : IDisposable
{
    private const int DeviceBytes = 8 << 20;

    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-f").FullName;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>
    /// Each thread has a lane of its own in the array, of odd bounds, so that neighbours share chunks and nobody's answer is open.
    /// </summary>
    [Theory]
    [InlineData("linear", 4096)]
    [InlineData("linear", 64 << 10)]
    [InlineData("linear", 4 << 20)]
    [InlineData("snapshot", 4096)]
    public async Task Many_threads_see_what_an_array_of_bytes_would_hold(string store, int chunkBytes)
    {
        const int Lanes = 4, LaneBytes = DeviceBytes / Lanes - 77;
        var seed = Environment.TickCount;
        var model = await MakeAsync(store, chunkBytes);
        await using (var overlay = await Overlay.OpenAsync(At("work"), cancellation: Stop))
        {
            var lanes = Enumerable.Range(0, Lanes).Select(lane => Task.Run(async () =>
            {
                var random = new Random(seed + lane);
                for (var step = 0; step < 60; step++)
                    await StepAsync(overlay, model, random, lane * LaneBytes, LaneBytes);
            }, Stop));
            await Task.WhenAll(lanes);
            await RequireAsync(overlay, model, $"seed {seed}");
        }
        await using var again = await Overlay.OpenAsync(At("work"), new OverlayOptions { ReadOnly = true }, Stop);
        await RequireAsync(again, model, $"opened again, seed {seed}");
    }

    [Fact]
    public async Task What_was_flushed_is_seen_by_who_looks_from_outside_and_after_a_new_opening()
    {
        await MakeAsync("linear", 4096);
        await using (var overlay = await Overlay.OpenAsync(At("work"), cancellation: Stop))
        {
            await overlay.WriteAsync(8192, new byte[4096], Stop);
            await overlay.FlushAsync(Stop);
            Assert.Equal(1, (await Overlay.DescribeAsync(At("work"), cancellation: Stop)).Chunks.Data);
            Assert.Contains(await Overlay.MapAsync(At("work"), cancellation: Stop).ToListAsync(Stop),
                range => range is { Start: 8192, Length: 4096, Depth: 0 });
            var error = await Assert.ThrowsAsync<LincowException>(() => Overlay.OpenAsync(At("work"), cancellation: Stop));
            Assert.Equal(LincowErrorCode.OverlayInUse, error.Error.Code);
        }
        await using var again = await Overlay.OpenAsync(At("work"), cancellation: Stop);
        var content = new byte[4096];
        await again.ReadAsync(8192, content, Stop);
        Assert.Equal(new byte[4096], content);
    }

    [Fact]
    public async Task Extents_cover_the_range_and_say_where_its_content_is()
    {
        await MakeAsync("linear", 4096);
        await using var overlay = await Overlay.OpenAsync(At("work"), cancellation: Stop);
        await overlay.WriteAsync(4096, new byte[8192], Stop);
        await overlay.WriteZeroesAsync(12288, 4096, Stop);
        await overlay.DiscardAsync(16384, 4096, Stop);
        Assert.Equal(
            [
                new OverlayExtent(0, 4096, ExtentKind.Origin),
                new OverlayExtent(4096, 8192, ExtentKind.Data),
                new OverlayExtent(12288, 8192, ExtentKind.Zero),
                new OverlayExtent(20480, DeviceBytes / 2 - 20480, ExtentKind.Origin),
                new OverlayExtent(DeviceBytes / 2, DeviceBytes / 2, ExtentKind.OriginHole),
            ], await overlay.ExtentsAsync(Stop).ToListAsync(Stop));
        Assert.Equal([new OverlayExtent(5000, 10, ExtentKind.Data)], await overlay.ExtentsAsync(5000, 10, Stop).ToListAsync(Stop));
    }

    [Fact]
    public async Task A_reset_takes_an_open_overlay_back_to_its_origin()
    {
        var model = await MakeAsync("linear", 4096);
        await using (var overlay = await Overlay.OpenAsync(At("work"), cancellation: Stop))
        {
            await overlay.WriteAsync(0, new byte[100_000], Stop);
            await overlay.ResetAsync();
            await RequireAsync(overlay, model, "after the reset");
        }
        Assert.True(await Overlay.ResetAsync(At("work"), cancellation: Stop));
    }

    [Fact]
    public async Task Operations_work_by_their_names_and_say_how_far_they_are()
    {
        await MakeAsync("linear", 4096);
        await using (var overlay = await Overlay.OpenAsync(At("work"), cancellation: Stop))
            await overlay.WriteAsync(4096, new byte[8192], Stop);
        var stages = new ConcurrentBag<string>();
        var progress = new Told(report => stages.Add(report.Stage));
        Assert.False((await Overlay.CheckAsync(At("work"), progress: progress, cancellation: Stop)).IsDamaged);
        var converted = await Overlay.ConvertAsync(new ConvertOptions { Source = At("work"), Destination = At("other"), To = "snapshot" },
            progress, Stop);
        Assert.Equal(8192, converted.VerifiedBytes);
        Assert.Equal(2, (await Overlay.CommitAsync(At("work"), progress: progress, cancellation: Stop)).Chunks);
        Assert.Equal(["chunks", "copying", "map pages", "reading back"], stages.Distinct().Order(StringComparer.Ordinal));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            Overlay.CheckAsync(At("work"), cancellation: new CancellationToken(canceled: true)));
    }

    [Fact]
    public async Task Wrong_ranges_and_wrong_uses_are_refused_with_the_exceptions_that_a_file_would_throw()
    {
        await MakeAsync("linear", 4096);
        var overlay = await Overlay.OpenAsync(At("work"), new OverlayOptions { ReadOnly = true }, Stop);
        var buffer = new byte[10];
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>("offset", () => overlay.ReadAsync(-1, buffer, Stop).AsTask());
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>("offset", () => overlay.ReadAsync(long.MaxValue, buffer, Stop).AsTask());
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>("buffer", () => overlay.ReadAsync(DeviceBytes - 9, buffer, Stop).AsTask());
        Assert.Throws<ArgumentOutOfRangeException>("length", () => overlay.ExtentsAsync(10, -1, Stop));
        await Assert.ThrowsAsync<NotSupportedException>(() => overlay.WriteAsync(0, buffer, Stop).AsTask());
        await Assert.ThrowsAsync<NotSupportedException>(() => overlay.WriteZeroesAsync(0, 10, Stop).AsTask());
        await Assert.ThrowsAsync<NotSupportedException>(() => overlay.DiscardAsync(0, 10, Stop).AsTask());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
            await overlay.ReadAsync(0, buffer, new CancellationToken(canceled: true)));
        await overlay.ReadAsync(DeviceBytes, Memory<byte>.Empty, Stop);
        await overlay.DisposeAsync();
        await overlay.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => overlay.ReadAsync(0, buffer, Stop).AsTask());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => overlay.FlushAsync(Stop).AsTask());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => overlay.ResetAsync());
        await Assert.ThrowsAsync<LincowException>(() => Overlay.OpenAsync(At("nothing"), cancellation: Stop));
        await using var snapshot = await Overlay.OpenAsync(new OverlayOptions { Origin = At("origin"), Store = "snapshot" }, Stop);
        Assert.False(snapshot.CanDiscard);
        await Assert.ThrowsAsync<NotSupportedException>(() => snapshot.DiscardAsync(0, 10, Stop).AsTask());
    }

    [Fact]
    public async Task What_cannot_be_read_is_an_IOException_with_its_number()
    {
        using var origin = new GateOrigin(DeviceBytes);
        await using var overlay = await Overlay.OpenAsync(new OverlayOptions { UserOrigin = origin }, Stop);
        origin.Close();
        var read = overlay.ReadAsync(4096, new byte[100], Stop).AsTask();
        (await origin.NextAsync()).SetException(new IOException("no"));
        var error = await Assert.ThrowsAsync<OverlayIOException>(() => read);
        Assert.Equal(Errno.IO, error.Errno);
        Assert.Contains("bytes 4096 to 4196 can't be read", error.Message);
    }

    [Fact]
    public async Task A_cancelled_read_ends_at_once_and_leaves_its_memory_alone()
    {
        using var origin = new GateOrigin(DeviceBytes);
        await using var overlay = await Overlay.OpenAsync(new OverlayOptions { UserOrigin = origin }, Stop);
        origin.Close();
        var content = new byte[4096];
        using var cancelled = new CancellationTokenSource();
        var read = overlay.ReadAsync(0, content, cancelled.Token).AsTask();
        var gate = await origin.NextAsync();
        await cancelled.CancelAsync();
        var error = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read);
        Assert.Equal(cancelled.Token, error.CancellationToken);
        gate.SetResult();
        // The device has had the content by the time that this second read ends: it waited for the same loop.
        var second = overlay.ReadAsync(0, new byte[4096], Stop).AsTask();
        (await origin.NextAsync()).SetResult();
        await second;
        Assert.Equal(new byte[4096], content);
    }

    [Fact]
    public async Task A_write_that_was_cancelled_before_it_began_changes_nothing_and_the_overlay_goes_on()
    {
        using var origin = new GateOrigin(DeviceBytes);
        await using var overlay = await Overlay.OpenAsync(new OverlayOptions { UserOrigin = origin }, Stop);
        origin.Close();
        using var cancelled = new CancellationTokenSource();
        // Holds the chunk, so that the second write waits.
        var first = overlay.WriteAsync(10, new byte[10], Stop).AsTask();
        var gate = await origin.NextAsync();
        var second = overlay.WriteAsync(100, new byte[10], cancelled.Token).AsTask();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second);
        gate.SetResult();
        await first;
        await overlay.FlushAsync(Stop);
        var content = new byte[4096];
        await overlay.ReadAsync(0, content, Stop);
        Assert.Equal(new byte[10], content[10..20]);
        Assert.Equal(GateOrigin.Filling, content[20]);
    }

    [Fact]
    public async Task Disposing_waits_for_what_is_in_flight_and_ends_reads_that_would_wait_for_ever()
    {
        using var origin = new GateOrigin(DeviceBytes);
        var overlay = await Overlay.OpenAsync(new OverlayOptions { UserOrigin = origin }, Stop);
        origin.Close();
        var reads = Enumerable.Range(0, 20).Select(i => overlay.ReadAsync(i * 4096, new byte[4096], Stop).AsTask()).ToList();
        await origin.NextAsync();
        await overlay.DisposeAsync();
        foreach (var read in reads)
            await Assert.ThrowsAsync<OverlayIOException>(() => read);
    }

    [Fact]
    public async Task Writes_in_flight_when_it_is_disposed_of_are_kept()
    {
        await MakeAsync("linear", 4096);
        var overlay = await Overlay.OpenAsync(At("work"), cancellation: Stop);
        var content = new byte[3 << 20];
        content.AsSpan().Fill(9);
        var write = overlay.WriteAsync(123, content, Stop).AsTask();
        await overlay.DisposeAsync();
        await write;
        await using var again = await Overlay.OpenAsync(At("work"), cancellation: Stop);
        var seen = new byte[content.Length];
        await again.ReadAsync(123, seen, Stop);
        Assert.Equal(content, seen);
    }

    [Fact]
    public async Task Many_calls_at_once_wait_for_their_part_of_a_bounded_memory()
    {
        const int Calls = 200, Bytes = 1 << 20;
        using var origin = new GateOrigin((long)Calls * Bytes);
        await using var overlay = await Overlay.OpenAsync(new OverlayOptions { UserOrigin = origin, ChunkBytes = 64 << 10 }, Stop);
        origin.Close();
        var buffer = new byte[Bytes];
        var reads = Enumerable.Range(0, Calls).Select(i => overlay.ReadAsync((long)i * Bytes, buffer, Stop).AsTask()).ToList();
        var first = await origin.NextAsync();
        Assert.InRange(overlay.BufferBytes, 1, 64 << 20);
        origin.Open();
        first.SetResult();
        await Task.WhenAll(reads);
        Assert.Equal(0, overlay.BufferBytes);
    }

    [Fact]
    public async Task A_steady_load_allocates_nothing()
    {
        await MakeAsync("linear", 4096);
        await using var overlay = await Overlay.OpenAsync(At("work"), cancellation: Stop);
        var buffer = new byte[4096];
        Read(100);
        var loopBefore = overlay.Loop.Invoke(GC.GetAllocatedBytesForCurrentThread);
        Assert.Equal(0, Read(2000));
        // What asking itself takes is no more than that.
        Assert.InRange(overlay.Loop.Invoke(GC.GetAllocatedBytesForCurrentThread) - loopBefore, 0, 1000);

        long Read(int count)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < count; i++)
            {
#pragma warning disable CA2012 // Awaited here, without a state machine that would allocate.
                var read = overlay.ReadAsync(0, buffer, CancellationToken.None).GetAwaiter();
#pragma warning restore CA2012
                while (!read.IsCompleted)
                    Thread.Yield();
                read.GetResult();
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    [Fact]
    public async Task Overlays_on_the_same_disk_share_threads_which_end_with_them()
    {
        var overlays = new List<Overlay>();
        for (var i = 0; i < 3 * Environment.ProcessorCount; i++)
            overlays.Add(await Overlay.OpenAsync(new OverlayOptions { Origin = "zero:1M" }, Stop));
        await Task.WhenAll(overlays.Select(overlay => overlay.WriteAsync(0, new byte[4096], Stop).AsTask()));
        foreach (var overlay in overlays)
            await overlay.DisposeAsync();
    }

    internal static async Task StepAsync(Overlay overlay, byte[] model, Random random, int start, int laneBytes)
    {
        var length = random.Next(3) switch
        {
            0 => random.Next(1, 100),
            1 => random.Next(1, 20_000),
            _ => random.Next(1, laneBytes),
        };
        var offset = start + random.Next(laneBytes - length + 1);
        switch (random.Next(8))
        {
            case < 3:
                var content = new byte[length];
                random.NextBytes(content);
                await overlay.WriteAsync(offset, content, Stop);
                content.CopyTo(model, offset);
                break;
            case 3:
                await overlay.WriteZeroesAsync(offset, length, Stop);
                model.AsSpan(offset, length).Clear();
                break;
            case 4:
                await overlay.FlushAsync(Stop);
                break;
            default:
                var seen = new byte[length];
                await overlay.ReadAsync(offset, seen, Stop);
                Assert.True(seen.AsSpan().SequenceEqual(model.AsSpan(offset, length)), $"bytes {offset} to {offset + length}");
                break;
        }
    }

    private static async Task RequireAsync(Overlay overlay, byte[] model, string what)
    {
        var seen = new byte[model.Length];
        await overlay.ReadAsync(0, seen, Stop);
        Assert.True(seen.AsSpan().SequenceEqual(model), $"{what}: byte {seen.AsSpan().CommonPrefixLength(model)} differs");
    }

    /// <summary>A lie that nothing shows: a switch is all that helps.</summary>
    [Fact]
    public async Task Holes_are_read_where_nobody_believes_in_them()
    {
        await using (var deceived = await Overlay.OpenAsync(new OverlayOptions { UserOrigin = new Denying() }, Stop))
            Assert.Equal(0, await FirstByteAsync(deceived));
        await using var careful = await Overlay.OpenAsync(new OverlayOptions { UserOrigin = new Denying(), IgnoreHoles = true }, Stop);
        Assert.Equal(7, await FirstByteAsync(careful));

        static async Task<byte> FirstByteAsync(Overlay overlay)
        {
            var buffer = new byte[4096];
            await overlay.ReadAsync(1 << 20, buffer, Stop);
            return buffer[0];
        }
    }

    /// <summary>An overlay "work" over an origin whose second half is a hole; what it holds.</summary>
    private async Task<byte[]> MakeAsync(string store, int chunkBytes)
    {
        var content = new byte[DeviceBytes];
        new Random(1).NextBytes(content.AsSpan(0, DeviceBytes / 2));
        await using (var origin = File.Create(At("origin")))
        {
            await origin.WriteAsync(content.AsMemory(0, DeviceBytes / 2), Stop);
            origin.SetLength(DeviceBytes);
        }
        var made = await Overlay.CreateAsync(new CreateOptions
        {
            Overlay = At("work"),
            Origin = At("origin"),
            Store = store,
            ChunkBytes = chunkBytes,
        }, Stop);
        Assert.Equal(DeviceBytes, made.Size);
        return content;
    }

    private string At(string name) => Path.Combine(_directory, name);

    private sealed class Told(Action<OperationProgress> tell) : IProgress<OperationProgress>
    {
        public void Report(OperationProgress value) => tell(value);
    }

    /// <summary>Holds sevens, and says that it holds nothing.</summary>
    private sealed class Denying : UserOrigin
    {
        public override string Name => "denying";

        public override long SizeBytes => DeviceBytes;

        public override bool IsQuick => true;

        public override void Read(long byteOffset, Span<byte> target) => target.Fill(7);

        public override bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
        {
            (dataStart, dataEnd) = (0, 0);
            return false;
        }
    }
}
