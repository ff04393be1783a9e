namespace Lincow.Tests.Engine;

public class GeometryTests
{
    [Theory]
    [InlineData(512, 9, 1)]
    [InlineData(4096 * 10 + 512, 12, 11)]
    public void The_last_chunk_may_be_short(long deviceBytes, int chunkShift, long chunkCount)
    {
        var geometry = new Geometry(deviceBytes, chunkShift);
        Assert.Equal(chunkCount, geometry.ChunkCount);
        Assert.Equal(deviceBytes, geometry.EndOf(new ChunkIndex(chunkCount - 1)));
    }
}
