using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Device;

namespace Lincow.Tests.Engine.Layers;

/// <summary>Overlays below overlays: a stack shows what an array of bytes shows that was written in the same order.</summary>
public class FrozenLayersTests
{
    [Fact]
    public void A_stack_of_any_depth_and_shape_reads_like_an_array()
    {
        var seeds = Environment.GetEnvironmentVariable("LINCOW_SEED") is { Length: > 0 } seed ? [int.Parse(seed)] : Enumerable.Range(0, 60);
        foreach (var one in seeds)
        {
            // Every depth from 1 to 64 has its turn, the ends of that first.
            var depth = one switch { 0 => 1, 1 => 64, _ => 1 + (one * 37 % 64) };
            try
            {
                CompareOne(one, depth);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"LINCOW_SEED={one} (depth {depth}): {e.Message}", e);
            }
        }
    }

    private static void CompareOne(int seed, int depth)
    {
        using var stack = new TestStack(seed);
        while (stack.Depth < depth)
            stack.Grow();
        var index = stack.NewIndex();
        var longer = stack.Content.Length + (stack.Random.Next(3) * 4096L);
        var device = stack.OpenDevice(index, longer, stack.Random.Next(9, 15));
        var content = new byte[longer];
        stack.Content.CopyTo(content, 0);
        // Several at once, so that some wait for pages that others have made.
        var reads = Enumerable.Range(0, 40).Select(_ =>
        {
            var from = stack.Random.NextInt64(longer);
            return new TestRequest
            {
                Operation = BlockOperation.Read,
                ByteOffset = from,
                ByteLength = Math.Min(longer - from, stack.Random.Next(1, 70_000))
            };
        }).ToList();
        reads.ForEach(read => read.SubmitTo(device));
        while (reads.Exists(read => read.Result is null))
        {
            Assert.True(stack.World.PendingCount > 0, "they wait for nothing");
            stack.World.Turn();
        }
        foreach (var read in reads)
        {
            Assert.Equal(0, read.Result);
            Assert.True(read.Content.SequenceEqual(content.AsSpan((int)read.ByteOffset, (int)read.ByteLength)),
                $"bytes from {read.ByteOffset} on differ");
            read.Dispose();
        }
        CompareExtents(stack, device, content);
        // What is written on top hides what is below it, and another device over the same layers doesn't notice.
        for (var i = 0; i < 20; i++)
            stack.Change(device, content);
        Assert.Equal(content, stack.Read(device, 0, content.Length));
        var other = stack.OpenDevice(index);
        Assert.Equal(stack.Content, stack.Read(other, 0, stack.Content.Length));
        Assert.Empty(stack.Reports);
    }

    private static unsafe void CompareExtents(TestStack stack, CowDevice device, byte[] content)
    {
        const int room = 8192;
        var records = new BlockExtent[room];
        fixed (BlockExtent* buffer = records)
        {
            var request = new TestRequest
            {
                Operation = BlockOperation.Extents,
                ByteLength = content.Length,
                Buffer = (nint)buffer,
                ExtentCount = room
            };
            Assert.Equal(0, stack.Run(device, request));
            var cursor = 0;
            foreach (var extent in records.AsSpan(0, request.ExtentCount))
            {
                var bytes = content.AsSpan(cursor, (int)extent.ByteLength);
                Assert.True(extent.Source == RunSource.Origin || bytes.IndexOfAnyExcept((byte)0) < 0, $"byte {cursor}: said to be zeroes");
                cursor += (int)extent.ByteLength;
            }
            Assert.Equal(content.Length, cursor);
        }
    }

    [Fact]
    public void Depth_costs_no_look_at_a_layer_once_the_index_is_there()
    {
        using var stack = new TestStack(7);
        // Separate maps, so that reading data isn't reading a map.
        while (stack.Depth < 64)
            stack.Grow(128 << 10, 12, isSeparate: true);
        var index = stack.NewIndex();
        var device = stack.OpenDevice(index);
        stack.Read(device, 0, stack.Content.Length);
        var looks = Looks();
        stack.Read(device, 0, stack.Content.Length);
        // Nor when a second device stands on the same layers.
        stack.Read(stack.OpenDevice(index), 0, stack.Content.Length);
        Assert.Equal(looks, Looks());
        Assert.InRange(index.PageBytes, 1, SharedIndex.GranulesPerPage);

        int Looks() => Enumerable.Range(0, 64).Sum(layer => stack.MapOf(layer).Looks);
    }

    [Fact]
    public void A_page_that_no_layer_wrote_takes_no_memory()
    {
        using var stack = new TestStack(8);
        stack.Grow(64 << 20, 9, operations: 0);
        stack.Grow(64 << 20, 9, operations: 0);
        var index = stack.NewIndex();
        var device = stack.OpenDevice(index);
        for (var page = 0L; page < index.PageCount; page++)
        {
            stack.Read(device, page * SharedIndex.GranulesPerPage * 512, 512);
            Assert.True(index.IsLoaded(page));
        }
        Assert.Equal(0, index.PageBytes);
    }

    [Fact]
    public void A_damaged_layer_is_an_error_where_no_nearer_one_holds_the_bytes()
    {
        using var stack = new TestStack(9);
        stack.Grow(128 << 10, 12);
        var deepest = stack.MapOf(0);
        stack.Grow(128 << 10, 12, operations: 0);
        var top = stack.NewIndex();
        // Sectors that no write ever made, in both slots.
        deepest.CopyIn(LinearStore.PageOffset(0, 0), Enumerable.Repeat((byte)0x5a, MapFormat.PairBytes).ToArray());
        var device = stack.OpenDevice(top);
        using var read = new TestRequest { Operation = BlockOperation.Read, ByteOffset = 0, ByteLength = 4096 };
        Assert.Equal(-Errno.IO, stack.Run(device, read));
        Assert.Contains("unusable", Assert.Single(stack.Reports), StringComparison.Ordinal);
        // What is written on top needs nothing of it, if it is whole chunks.
        using var write = new TestRequest { Operation = BlockOperation.Write, ByteOffset = 0, ByteLength = 4096 };
        Assert.Equal(0, stack.Run(device, write));
        Assert.Equal(write.Content.ToArray(), stack.Read(device, 0, 4096));
    }

    [Fact]
    public void A_map_that_cannot_be_read_is_read_again_by_the_next_request()
    {
        using var stack = new TestStack(10);
        stack.Grow(128 << 10, 12);
        var device = stack.OpenDevice(stack.NewIndex());
        stack.MapOf(0).Fault = (_, offset) => offset >= LinearStore.PageOffset(0, 0) && offset < LinearStore.PageOffset(1, 0) ? -Errno.IO
            : 0;
        using var read = new TestRequest { Operation = BlockOperation.Read, ByteOffset = 0, ByteLength = 512 };
        Assert.Equal(-Errno.IO, stack.Run(device, read));
        stack.MapOf(0).Fault = (_, _) => 0;
        Assert.Equal(stack.Content.AsSpan(0, 512).ToArray(), stack.Read(device, 0, 512));
    }

    [Fact]
    public async Task Threads_that_make_one_page_at_once_share_the_first()
    {
        var index = new SharedIndex([new Geometry(SharedIndex.GranulesPerPage * 512L * 8, 9)]);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(one => Task.Run(() =>
        {
            for (var page = 0L; page < index.PageCount; page++)
            {
                Assert.True(SharedIndex.TryBegin(out var made));
                SharedIndex.Granules(made)[(int)page] = 1;
                index.Publish(page, made);
                Assert.True(index.TryRunAt(page * SharedIndex.GranulesPerPage * 512, long.MaxValue, out _, out var length));
                Assert.InRange(length, 512, SharedIndex.GranulesPerPage * 512);
            }
        })));
        Assert.Equal(index.PageCount * SharedIndex.GranulesPerPage, index.PageBytes);
        Assert.True(index.TryJoin());
        Assert.False(index.Leave());
        Assert.True(index.Leave());
        Assert.False(index.TryJoin());
    }
}
