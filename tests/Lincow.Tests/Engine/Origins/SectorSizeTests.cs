using System.Buffers.Binary;
using Lincow.Origins;

namespace Lincow.Tests.Engine.Origins;

/// <summary>What an image's first bytes say of its sectors.</summary>
public class SectorSizeTests
{
    [Theory]
    [InlineData(512)]
    [InlineData(1024)]
    [InlineData(2048)]
    [InlineData(4096)]
    public void A_partition_table_lies_in_the_second_sector(int sectorBytes)
    {
        var head = new byte[8192];
        Table(sectorBytes).CopyTo(head, sectorBytes);
        Assert.Equal(sectorBytes, SectorSize.OfImage(head));
        // A whole header is needed, and no more.
        Assert.Equal(sectorBytes, SectorSize.OfImage(head.AsSpan(0, sectorBytes + 92)));
        Assert.Equal(512, SectorSize.OfImage(head.AsSpan(0, sectorBytes + 91)));
        // What lies where the usual one would be counts first: behind it there may be anything.
        Table(512).CopyTo(head, 512);
        Assert.Equal(512, SectorSize.OfImage(head));
    }

    [Fact]
    public void What_only_looks_like_a_table_is_none()
    {
        var head = new byte[8192];
        Assert.Equal(512, SectorSize.OfImage(head));
        Assert.Equal(512, SectorSize.OfImage([]));
        "EFI PART"u8.CopyTo(head.AsSpan(4096));
        Assert.Equal(512, SectorSize.OfImage(head));
        Table(4096).CopyTo(head, 4096);
        // The copy at the disk's end says that it lies elsewhere; and a header isn't longer than its sector.
        BinaryPrimitives.WriteInt64LittleEndian(head.AsSpan(4096 + 24), 2);
        Assert.Equal(512, SectorSize.OfImage(head));
        Table(4096).CopyTo(head, 4096);
        BinaryPrimitives.WriteInt32LittleEndian(head.AsSpan(4096 + 12), 4097);
        Assert.Equal(512, SectorSize.OfImage(head));
    }

    [Theory]
    [InlineData(512, true)]
    [InlineData(4096, true)]
    [InlineData(0, false)]
    [InlineData(256, false)]
    [InlineData(520, false)]
    [InlineData(8192, false)]
    [InlineData((1L << 32) + 512, false)]
    public void Sectors_are_powers_of_two_up_to_a_page(long bytes, bool canBe) => Assert.Equal(canBe, SectorSize.CanBe(bytes));

    private static byte[] Table(int sectorBytes)
    {
        var header = new byte[92];
        "EFI PART"u8.CopyTo(header);
        BinaryPrimitives.WriteInt32LittleEndian(header.AsSpan(12), Math.Min(92, sectorBytes));
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(24), 1);
        return header;
    }
}
