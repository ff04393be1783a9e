using Lincow.Device;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Tests.Engine.Device;

/// <summary>An origin with a sector that can't be read: what it takes with it, what heals it, what is said.</summary>
public class BadSectorTests
{
    private const int ChunkBytes = 4096, Sector = 512;

    /// <summary>In the chunk from 20480 on, its fourth.</summary>
    private const long Bad = 20480 + (3 * Sector);

    private static readonly byte[] New = [.. Enumerable.Range(0, ChunkBytes).Select(i => (byte)(i * 7 + 5))];

    private static TestOverlay Overlay()
    {
        var overlay = new TestOverlay(new Random(5), new OverlayShape(1 << 20, 12, true, 1 << 20));
        // No hole there, for nobody reads one.
        var content = new byte[ChunkBytes];
        new Random(8).NextBytes(content);
        content.CopyTo(overlay.OriginContent, 20480);
        overlay.OriginDisk.CopyIn(20480, content);
        overlay.OriginDisk.Bad = (Bad, Bad + Sector);
        return overlay;
    }

    [Fact]
    public void A_bad_sector_is_an_error_for_whoever_asks_for_it()
    {
        using var overlay = Overlay();
        Assert.Equal(-Errno.IO, overlay.TryRead(Bad, Sector));
        Assert.Equal(-Errno.IO, overlay.TryRead(20480, ChunkBytes));
        Assert.Equal(overlay.OriginContent[20480..(int)Bad], overlay.Read(20480, 3 * Sector));
        Assert.Equal(overlay.OriginContent[(int)(Bad + Sector)..24576], overlay.Read(Bad + Sector, 4 * Sector));
        Assert.Equal((2, 0, 0), (overlay.Device.Counters.ReadErrors, overlay.Device.Counters.WriteErrors,
            overlay.Device.Counters.FlushErrors));
        Assert.Contains($"data: a read of 512 bytes at device byte {Bad} failed: bytes {Bad} to {Bad + 511} of origin can't be read "
            + "(Input/output error)", overlay.Reports);
    }

    [Fact]
    public void A_write_over_it_needs_nothing_of_it_and_heals_it()
    {
        using var overlay = Overlay();
        // Exactly it; a part of its chunk around it; and a write that begins in it and ends in another chunk.
        foreach (var (start, end) in new[] { (Bad, Bad + Sector), (Bad - 100, Bad + Sector + 7), (Bad, Bad + (3 * ChunkBytes)) })
        {
            var expected = overlay.OriginContent.ToArray();
            Assert.Equal(0, overlay.Write(start, New.Concat(New).Concat(New).ToArray()[..(int)(end - start)]));
            New.Concat(New).Concat(New).ToArray()[..(int)(end - start)].CopyTo(expected, start);
            Assert.Equal(expected[16384..36864], overlay.Read(16384, 20480));
            overlay.Reset();
        }
        Assert.Equal(0, overlay.Zero(Bad - 1, Sector + 1));
        var zeroed = overlay.OriginContent.ToArray();
        zeroed.AsSpan((int)Bad - 1, Sector + 1).Clear();
        Assert.Equal(zeroed[20480..24576], overlay.Read(20480, ChunkBytes));
        overlay.Reset();
        Assert.Equal(0, overlay.Write(20480, New));
        Assert.Equal(New, overlay.Read(20480, ChunkBytes));
        Assert.Empty(overlay.Reports);
        Assert.Equal(0, overlay.Device.Counters.WriteErrors);
    }

    [Fact]
    public void A_write_beside_it_fails_and_says_why_and_changes_nothing()
    {
        using var overlay = Overlay();
        Assert.Equal(-Errno.IO, overlay.Write(Bad - Sector, New[..Sector]));
        // A byte of it is missing.
        Assert.Equal(-Errno.IO, overlay.Write(Bad, New[..(Sector - 1)]));
        Assert.Equal(overlay.OriginContent[20480..(int)Bad], overlay.Read(20480, 3 * Sector));
        Assert.Equal(2, overlay.Device.Counters.WriteErrors);
        Assert.Contains(overlay.Reports, report => report.Contains(
            "a write of 512 bytes at device byte 21504 failed, for it needs the rest of its chunk, and bytes", StringComparison.Ordinal));
        Assert.Equal(0, overlay.Write(0, New));
    }

    [Fact]
    public void A_disk_full_of_errors_does_not_fill_the_log()
    {
        using var overlay = Overlay();
        for (var i = 0; i < 1000; i++)
            Assert.Equal(-Errno.IO, overlay.TryRead(Bad, Sector));
        Assert.Equal(1000, overlay.Device.Counters.ReadErrors);
        Assert.Equal(RequestErrors.MaxTold, overlay.Reports.Count);
    }

    [Fact]
    public void A_copy_for_a_snapshot_needs_all_of_the_chunk()
    {
        using var overlay = Overlay();
        Assert.Equal(-Errno.IO, overlay.CopyUp(20480, ChunkBytes));
        Assert.Contains(overlay.Reports, report => report.Contains("a copy of 4096 bytes", StringComparison.Ordinal));
    }
}
