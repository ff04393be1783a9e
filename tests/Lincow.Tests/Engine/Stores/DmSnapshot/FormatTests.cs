using Lincow.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Stores.DmSnapshot;

/// <summary>Where the kernel has things (drivers/md/dm-snap-persistent.c), against numbers worked out by hand.</summary>
public class FormatTests
{
    [Fact]
    public void A_header_is_as_the_kernel_writes_it()
    {
        var sector = new byte[512];
        Array.Fill(sector, (byte)0xee);
        new SnapshotHeader(IsValid: true, 13).Encode(sector);
        Assert.Equal("536e4170" + "01000000" + "01000000" + "10000000", Convert.ToHexStringLower(sector.AsSpan(0, 16)));
        Assert.Equal(-1, sector.AsSpan(16).IndexOfAnyExcept((byte)0));
        Assert.Equal(new SnapshotHeader(true, 13), SnapshotHeader.Decode(sector, out var problem));
        Assert.Null(problem);
        new SnapshotHeader(IsValid: false, 9).Encode(sector);
        Assert.Equal("536e4170" + "00000000" + "01000000" + "01000000", Convert.ToHexStringLower(sector.AsSpan(0, 16)));
        Assert.Equal(new SnapshotHeader(false, 9), SnapshotHeader.Decode(sector, out _));
    }

    [Theory]
    [InlineData(0, 1, "magic")]
    [InlineData(8, 2, "version")]
    [InlineData(8, 0, "version")]
    [InlineData(12, 0, "chunk size")]
    [InlineData(12, 3, "chunk size")]
    [InlineData(15, 4, "chunk size")]
    public void A_header_that_the_kernel_would_not_take_is_refused(int at, byte value, string reason)
    {
        var sector = new byte[512];
        new SnapshotHeader(IsValid: true, 12).Encode(sector);
        if (at >= 12)
            sector.AsSpan(12, 4).Clear();
        sector[at] = value;
        Assert.Null(SnapshotHeader.Decode(sector, out var problem));
        Assert.Contains(reason, problem, StringComparison.Ordinal);
    }

    [Fact]
    public void An_entry_is_two_little_endian_numbers()
    {
        var area = new byte[512];
        new ExceptionEntry(0x0102030405060708, 0x1112131415161718).Write(area, 2);
        Assert.Equal("0807060504030201" + "1817161514131211", Convert.ToHexStringLower(area.AsSpan(32, 16)));
        Assert.Equal(new ExceptionEntry(0x0102030405060708, 0x1112131415161718), ExceptionEntry.Read(area, 2));
    }

    [Theory]
    // Chunk size, entries of an area, chunks of areas 1 and 2, data chunks E-1, E, 2E-1 and 2E.
    [InlineData(512, 32, 34, 67, 33, 35, 66, 68)]
    [InlineData(4096, 256, 258, 515, 257, 259, 514, 516)]
    [InlineData(8192, 512, 514, 1027, 513, 515, 1026, 1028)]
    [InlineData(1 << 20, 65536, 65538, 131075, 65537, 65539, 131074, 131076)]
    public void Areas_and_data_lie_where_they_should(int chunk, int entries, long area1, long area2, long last0, long first1, long last1,
        long first2)
    {
        var layout = new SnapshotLayout(System.Numerics.BitOperations.Log2((uint)chunk));
        Assert.Equal((chunk, entries), (layout.ChunkBytes, layout.EntriesPerArea));
        Assert.Equal((1, area1, area2), (layout.AreaChunk(0), layout.AreaChunk(1), layout.AreaChunk(2)));
        Assert.Equal((chunk, area1 * chunk), (layout.AreaOffset(0), layout.AreaOffset(1)));
        Assert.Equal((2, last0, first1, last1, first2),
            (layout.ChunkOfData(0), layout.ChunkOfData(entries - 1), layout.ChunkOfData(entries), layout.ChunkOfData(2 * entries - 1),
                layout.ChunkOfData(2L * entries)));
        Assert.Equal((0, 0, 1, entries - 1),
            (layout.AreaOf(0), layout.AreaOf(entries - 1), layout.AreaOf(entries), layout.IndexInArea(2L * entries - 1)));
        Assert.All([0UL, 1UL, (ulong)area1, (ulong)area2], number => Assert.True(layout.IsMetadata(number)));
        Assert.All([2UL, (ulong)last0, (ulong)first1, (ulong)last1, (ulong)first2], number => Assert.False(layout.IsMetadata(number)));
    }

    [Fact]
    public void Every_chunk_is_the_header_an_area_or_the_next_data_chunk()
    {
        var layout = new SnapshotLayout(9);
        var (areas, data) = (0L, 0L);
        for (var chunk = 1L; chunk < 5000; chunk++)
        {
            Assert.Equal(data, layout.DataNumberFrom(chunk));
            if (layout.IsMetadata((ulong)chunk))
                Assert.Equal(chunk, layout.AreaChunk(areas++));
            else
                Assert.Equal(chunk, layout.ChunkOfData(data++));
        }
        Assert.Equal(5000 / 33 + 1, areas);
    }

    [Theory]
    // One MiB of chunks of 4 KiB: 256 of them, less header and area. The kernel fills as many (tests/samples/dm-snapshot/c8-po-overflow).
    [InlineData(12, 1 << 20, 254)]
    [InlineData(12, 0, 0)]
    [InlineData(12, 2 * 4096, 0)]
    [InlineData(12, 3 * 4096, 1)]
    [InlineData(12, 3 * 4096 + 4095, 1)]
    // The 32nd entry would fill area 0, and area 1 (chunk 34) has to be there to end the list.
    [InlineData(9, 33 * 512, 31)]
    [InlineData(9, 34 * 512, 31)]
    [InlineData(9, 35 * 512, 32)]
    [InlineData(9, 36 * 512, 33)]
    [InlineData(9, 67 * 512, 63)]
    [InlineData(9, 68 * 512, 64)]
    public void A_store_keeps_so_many_chunks(int shift, long bytes, long capacity) =>
        Assert.Equal(capacity, new SnapshotLayout(shift).Capacity(bytes));

    [Theory]
    [InlineData(9)]
    [InlineData(10)]
    [InlineData(12)]
    [InlineData(20)]
    public void A_store_of_the_size_that_create_gives_it_keeps_every_chunk_of_the_device(int shift)
    {
        var layout = new SnapshotLayout(shift);
        for (var chunks = 1L; chunks < 3000; chunks++)
            Assert.True(layout.Capacity(layout.StoreBytesFor(chunks)) >= chunks, $"{chunks} chunks");
        Assert.True(layout.Capacity(layout.StoreBytesFor(1L << 30)) >= 1L << 30);
    }
}
