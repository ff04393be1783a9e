using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Engine.Device;

/// <summary>
/// What trims and zeroings of parts of chunks cost, and what is there afterwards. Chunks of 64 KiB, half of them in the origin.
/// </summary>
public class TrimTests
{
    private const int Chunk = 64 << 10, OriginBytes = 8 * Chunk;

    private int _originReads;

    /// <summary>An origin of data, with a hole in the second half of its last chunk and beyond its end.</summary>
    private TestOverlay Overlay()
    {
        var overlay = new TestOverlay(new Random(9), new OverlayShape(2 * OriginBytes, 16, true, OriginBytes));
        new Random(10).NextBytes(overlay.OriginContent.AsSpan(0, OriginBytes - (Chunk / 2)));
        overlay.OriginContent.AsSpan(OriginBytes - (Chunk / 2)).Clear();
        overlay.OriginDisk.CopyIn(0, overlay.OriginContent.AsSpan(0, OriginBytes - (Chunk / 2)));
        overlay.OriginDisk.Punch(OriginBytes - (Chunk / 2), Chunk / 2);
        overlay.OriginDisk.Settle();
        overlay.OriginDisk.Fault = (call, _) => call == FileCall.Read ? _originReads++ * 0 : 0;
        Assert.Equal(overlay.OriginContent[^1..], overlay.Read((2 * OriginBytes) - 1, 1));
        return overlay;
    }

    private static ChunkState[] States(TestOverlay overlay) =>
        [.. Enumerable.Range(0, 16).Select(chunk => overlay.Store.Map.StateOf(new ChunkIndex(chunk)))];

    [Theory]
    [InlineData(0, 512)]
    [InlineData(100, 3)]
    [InlineData(Chunk - 512, 1024)]
    [InlineData(512, Chunk - 512)]
    public void A_trim_of_parts_of_the_origins_chunks_costs_nothing_and_changes_nothing(long offset, int length)
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Zero(offset, length, BlockOperation.Discard));
        Assert.Equal((0, 0, 0), (_originReads, overlay.DataDisk.Writes, overlay.Store.Map.DirtyCount));
        Assert.Equal(overlay.OriginContent, overlay.Read(0, 2 * OriginBytes));
    }

    [Fact]
    public void Of_a_long_trim_the_whole_chunks_are_zeroes_and_the_parts_at_its_ends_are_the_origins()
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Zero(512, (3 * Chunk) + 1024, BlockOperation.Discard));
        Assert.Equal((0, 0), (_originReads, overlay.DataDisk.Writes));
        Assert.Equal([ChunkState.Origin, ChunkState.Zero, ChunkState.Zero, ChunkState.Origin], States(overlay)[..4]);
        overlay.OriginContent.AsSpan(Chunk, 2 * Chunk).Clear();
        Assert.Equal(overlay.OriginContent, overlay.Read(0, 2 * OriginBytes));
        // To the device's end is whole.
        Assert.Equal(0, overlay.Zero((15 * Chunk) - 512, Chunk + 512, BlockOperation.Discard));
        Assert.Equal([ChunkState.Origin, ChunkState.Zero], States(overlay)[14..]);
    }

    [Fact]
    public void A_part_of_what_the_overlay_holds_is_zeroes_after_a_trim_for_good()
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Write(0, Enumerable.Repeat((byte)7, Chunk).ToArray()));
        Assert.Equal(0, overlay.Zero(4096, 4096, BlockOperation.Discard));
        Assert.Equal(0, overlay.Flush());
        overlay.CutPower();
        overlay.Open();
        Assert.Equal(new byte[4096], overlay.Read(4096, 4096));
        Assert.Equal(7, overlay.Read(4095, 1)[0]);
        Assert.Equal(7, overlay.Read(8192, 1)[0]);
        // A trimmed chunk stays zero, whatever else is trimmed of it.
        Assert.Equal(0, overlay.Zero(0, Chunk, BlockOperation.Discard));
        Assert.Equal(0, overlay.Zero(512, 512, BlockOperation.Discard));
        Assert.Equal(new byte[Chunk], overlay.Read(0, Chunk));
    }

    [Theory]
    [InlineData(OriginBytes - (Chunk / 2), 512)]
    [InlineData(OriginBytes - (Chunk / 2), (Chunk / 2) + 512)]
    [InlineData(OriginBytes + 512, 2 * Chunk)]
    public void Zeroes_over_a_hole_of_the_origin_fetch_nothing(long offset, int length)
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Zero(offset, length));
        Assert.Equal(0, overlay.Zero(offset, length, flags: BlockFlags.ForceUnitAccess));
        Assert.Equal((0, 0), (_originReads, overlay.DataDisk.Writes));
        Assert.Equal(overlay.OriginContent, overlay.Read(0, 2 * OriginBytes));
    }

    [Theory]
    [InlineData(OriginBytes - (Chunk / 2), 512)]
    [InlineData(OriginBytes + 512, Chunk)]
    [InlineData((2 * OriginBytes) - Chunk, Chunk - 512)]
    public void Zeroes_that_keep_their_space_take_it_in_a_hole_and_in_what_is_zero(long offset, int length)
    {
        foreach (var isZero in new[] { false, true })
        {
            using var overlay = Overlay();
            if (isZero)
                Assert.Equal(0, overlay.Zero(0, 2 * OriginBytes, BlockOperation.Discard));
            Assert.Equal(0, overlay.Zero(offset, length, flags: BlockFlags.NoHole | BlockFlags.ForceUnitAccess));
            overlay.CutPower();
            overlay.Open();
            Assert.Equal(isZero ? new byte[2 * OriginBytes] : overlay.OriginContent, overlay.Read(0, 2 * OriginBytes));
            for (var chunk = offset / Chunk; chunk * Chunk < offset + length; chunk++)
                Assert.Equal(ChunkState.Data, States(overlay)[chunk]);
        }
    }

    [Fact]
    public void Zeroes_that_keep_their_space_find_out_first_that_there_is_no_memory_for_states()
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Zero(0, 2 * OriginBytes, BlockOperation.Discard));
        overlay.Buffers.Refuses = bytes => bytes == 16 * MapFormat.WordsPerPage * 8;
        Assert.Equal(-Errno.NoMemory, overlay.Zero(512, 512, flags: BlockFlags.NoHole));
        Assert.Equal(0, overlay.DataDisk.Writes);
        overlay.Buffers.Refuses = null;
        Assert.Equal(0, overlay.Zero(512, 512, flags: BlockFlags.NoHole));
    }

    [Theory]
    [InlineData(0, 512)]
    [InlineData(OriginBytes - (Chunk / 2) - 512, 1024)]
    [InlineData(OriginBytes - Chunk + 512, Chunk)]
    public void Zeroes_over_data_of_the_origin_are_there(long offset, int length)
    {
        using var overlay = Overlay();
        Assert.Equal(0, overlay.Zero(offset, length, flags: BlockFlags.ForceUnitAccess));
        overlay.CutPower();
        overlay.Open();
        overlay.OriginContent.AsSpan((int)offset, length).Clear();
        Assert.Equal(overlay.OriginContent, overlay.Read(0, 2 * OriginBytes));
        Assert.Equal(ChunkState.Data, States(overlay)[offset / Chunk]);
    }
}
