using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Tests.Engine.Device;

/// <summary>A full file system: what is said, and what waits for room where that was asked for.</summary>
public class FullDiskTests
{
    private static readonly byte[] Chunk = [.. Enumerable.Range(0, 4096).Select(i => (byte)(i * 13 + 1))];

    private static TestOverlay Overlay(bool waits)
    {
        var overlay = new TestOverlay(new Random(5), new OverlayShape(1 << 20, 12, true, 1 << 20));
        overlay.Device.WaitsForRoom = waits;
        return overlay;
    }

    private static void Fill(TestOverlay overlay, int errno = Errno.NoSpace) =>
        overlay.DataDisk.Fault = (call, at) => call is FileCall.Write or FileCall.Reserve && at >= 65536 ? -errno : 0;

    [Theory]
    [InlineData(Errno.NoSpace)]
    [InlineData(Errno.Quota)]
    public void A_write_without_room_fails_and_the_counters_say_since_when(int errno)
    {
        using var overlay = Overlay(waits: false);
        Fill(overlay, errno);
        Assert.Equal(-errno, overlay.Write(65536, Chunk));
        Assert.Equal(0, overlay.Write(0, Chunk));
        var counters = overlay.Device.Counters;
        Assert.Equal((1, 1), (counters.WriteErrors, counters.RoomErrors));
        Assert.Equal(-errno, overlay.Write(65536, Chunk));
        Assert.NotEqual(0, counters.FullSince);
        // To what the overlay holds: that says nothing of room.
        Assert.Equal(0, overlay.Write(0, Chunk));
        Assert.NotEqual(0, counters.FullSince);
        overlay.DataDisk.Fault = (_, _) => 0;
        Assert.Equal(0, overlay.Write(65536, Chunk));
        Assert.Equal((2, 0), (counters.RoomErrors, counters.FullSince));
        Assert.Contains(overlay.Reports, report => report.Contains("there is no room for a write of 4096 bytes", StringComparison.Ordinal));
    }

    [Fact]
    public void A_write_that_waits_is_made_when_there_is_room_and_others_go_on()
    {
        using var overlay = Overlay(waits: true);
        Fill(overlay);
        using var write = new TestRequest { Operation = BlockOperation.Write, ByteOffset = 65536, ByteLength = 3 * 4096 };
        write.Content.Fill(7);
        using var reserve = new TestRequest
        {
            Operation = BlockOperation.WriteZeroes,
            Flags = BlockFlags.NoHole,
            ByteOffset = 131072,
            ByteLength = 4096
        };
        write.SubmitTo(overlay.Device);
        reserve.SubmitTo(overlay.Device);
        for (var i = 0; i < 1000; i++)
            overlay.World.Turn();
        Assert.Null(write.Result);
        Assert.Null(reserve.Result);
        Assert.NotEqual(0, overlay.Device.Counters.FullSince);
        Assert.True(overlay.Device.WaitingForRoom > 0 || overlay.World.PendingCount > 0);
        Assert.Equal(0, overlay.Write(0, Chunk));
        Assert.Equal(Chunk, overlay.Read(0, 4096));
        Assert.Equal(0, overlay.Flush());
        overlay.DataDisk.Fault = (_, _) => 0;
        while (write.Result is null || reserve.Result is null)
            overlay.World.Turn();
        Assert.Equal((0, 0), (write.Result, reserve.Result));
        Assert.Equal(Enumerable.Repeat((byte)7, 3 * 4096), overlay.Read(65536, 3 * 4096));
        Assert.Equal((0, 0, 0), (overlay.Device.WaitingForRoom, overlay.Device.Counters.FullSince, overlay.Device.Counters.WriteErrors));
    }

    [Fact]
    public void Whoever_wants_an_end_gets_it()
    {
        using var overlay = Overlay(waits: true);
        Fill(overlay);
        using var write = new TestRequest { Operation = BlockOperation.Write, ByteOffset = 65536, ByteLength = 4096 };
        write.Content.Fill(7);
        write.SubmitTo(overlay.Device);
        while (overlay.Device.WaitingForRoom == 0)
            overlay.World.Turn();
        overlay.Device.WaitsForRoom = false;
        while (write.Result is null)
            overlay.World.Turn();
        Assert.Equal(-Errno.NoSpace, write.Result);
        Assert.Equal(-Errno.NoSpace, overlay.Write(65536, Chunk));
        Assert.Equal(0, overlay.Device.WaitingForRoom);
    }

    [Fact]
    public void A_flush_without_room_for_the_map_waits_as_well()
    {
        using var overlay = Overlay(waits: true);
        Assert.Equal(0, overlay.Write(65536, Chunk));
        var left = 5;
        overlay.MapDisk.Fault = (call, _) => call == FileCall.Write && left-- > 0 ? -Errno.NoSpace : 0;
        Assert.Equal(0, overlay.Flush());
        overlay.CutPower();
        overlay.Open();
        Assert.Equal(Chunk, overlay.Read(65536, 4096));
    }
}
