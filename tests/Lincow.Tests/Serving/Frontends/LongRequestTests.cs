using Lincow.Linux;
using Lincow.Requests;
using Lincow.Serving.Frontends.Fuse;
using Lincow.Serving.Frontends.Nbd;
using Lincow.Serving.Frontends.VhostUser;
using Lincow.Tests.Linux.Loops;
using Lincow.Tests.Serving.Frontends.Fuse;
using Lincow.Tests.Serving.Frontends.Ublk;
using Lincow.Tests.Serving.Frontends.VhostUser;

namespace Lincow.Tests.Serving.Frontends;

/// <summary>Requests at every limit of a number that carries their length, through each front end, to a device of 2^60 bytes.</summary>
public class LongRequestTests
{
    private const long Last = HugeDevice.Bytes, GiB = 1L << 30;

    /// <summary>Offsets and lengths: around the ends of int and uint, and up to the device's last byte.</summary>
    public static TheoryData<long, long> Ranges => new()
    {
        { 0, 512 },
        { 0, 2 * GiB - 512 },
        { 0, 2 * GiB },
        { 4096, 2 * GiB + 512 },
        { 0, 4 * GiB - 512 },
        { 0, 4 * GiB },
        { 512, 4 * GiB + 512 },
        { 0, uint.MaxValue * 512L },
        { Last - 512, 512 },
        { Last - 2 * GiB, 2 * GiB },
        { Last - uint.MaxValue * 512L, uint.MaxValue * 512L },
    };

    [Theory]
    [MemberData(nameof(Ranges))]
    public void Ublk_answers_long_discards_and_zeroes_without_an_error(long offset, long length)
    {
        var queue = new UblkTestQueue();
        Assert.Equal(0, queue.Ask(UblkOperation.Discard, (ulong)offset / 512, (uint)(length / 512)));
        Assert.Equal(0, queue.Ask(UblkOperation.WriteZeroes, (ulong)offset / 512, (uint)(length / 512)));
        Assert.Equal(-Errno.IO, queue.Ask(UblkOperation.Discard, (ulong)(Last - length) / 512 + 1, (uint)(length / 512)));
        Assert.Equal(-Errno.IO, queue.Ask(UblkOperation.WriteZeroes, ulong.MaxValue >> 9, (uint)(length / 512)));
        queue.End();
        Assert.Equal([(BlockOperation.Discard, offset, length, BlockFlags.None),
            (BlockOperation.WriteZeroes, offset, length, BlockFlags.None)], queue.Device.Asked);
        Assert.Empty(queue.Log);
    }

    [Fact]
    public void Ublk_answers_data_with_its_length_and_a_flush_with_none()
    {
        const int most = UblkBlockDevice.MaxTransferBytes;
        var queue = new UblkTestQueue();
        Assert.Equal(most, queue.Ask(UblkOperation.Read, (Last - most) / 512, most / 512));
        Assert.Equal(512, queue.Ask(UblkOperation.Write, Last / 512 - 1, 1));
        Assert.Equal(0, queue.Ask(UblkOperation.Flush, 0, 0));
        Assert.Equal(-Errno.IO, queue.Ask(UblkOperation.Read, 0, most / 512 + 1));
        Assert.Equal(-Errno.IO, queue.Ask(UblkOperation.Write, 0, uint.MaxValue));
        Assert.Equal(-Errno.IO, queue.Ask(UblkOperation.Write, Last / 512, 1));
        Assert.Equal(-Errno.NotSupported, queue.Ask((UblkOperation)4, 0, 1));
        queue.End();
    }

    [Theory]
    [InlineData(1L << 50, true, 1u << 22)]
    [InlineData(1L << 20, true, 1u << 11)]
    [InlineData(1L << 50, false, 0u)]
    public void Ublk_offers_what_one_request_of_the_kernel_can_carry(long maxZeroBytes, bool canDiscard, uint sectors)
    {
        var parameters = UblkBlockDevice.Parameters(new UblkShape(Last, 4096, maxZeroBytes, canDiscard, IsReadOnly: false,
            CanRecover: true));
        Assert.Equal((sectors, (ulong)Last / 512), (parameters.MaxDiscardSectors, parameters.DeviceSectors));
    }

    [Theory]
    [MemberData(nameof(Ranges))]
    public void A_FUSE_file_takes_long_discards_and_zeroes(long offset, long length)
    {
        HugeDevice? device = null;
        using (var connection = new FuseTestConnection("posix", device: loop => device = new HugeDevice(loop)))
        {
            Assert.Equal(0, connection.Fallocate((ulong)offset, (ulong)length, FuseAbi.FallocatePunchHole | FuseAbi.FallocateKeepSize));
            Assert.Equal(0, connection.Fallocate((ulong)offset, (ulong)length, FuseAbi.FallocateZeroRange | FuseAbi.FallocateKeepSize));
            // As far as the file goes, and not at all.
            Assert.Equal(0, connection.Fallocate((ulong)(Last - 512), ulong.MaxValue,
                FuseAbi.FallocatePunchHole | FuseAbi.FallocateKeepSize));
            Assert.Equal(-Errno.NoSpace, connection.Fallocate((ulong)(Last - length + 512), (ulong)length, FuseAbi.FallocateZeroRange));
            Assert.Equal((0, 512), (connection.Read(Last - 512, 4096).Error, connection.Read(Last - 512, 4096).Body.Length));
            Assert.Equal((0, Last), connection.Seek(offset, FuseAbi.SeekHole) is var (error, end)
                && end == offset ? (error, Last) : (error, end));
            Assert.Equal(0, connection.Write(Last - 512, new byte[512]).Error);
            Assert.Equal(-Errno.NoSpace, connection.Write(Last, new byte[512]).Error);
            Assert.Equal((ulong)Last, connection.Body<FuseAttributesReply>(FuseOpcode.GetAttributes, new byte[16]).Size);
        }
        // A hole in a file is zeroes, to the byte.
        Assert.Equal([(BlockOperation.WriteZeroes, offset, length, BlockFlags.None),
            (BlockOperation.WriteZeroes, offset, length, BlockFlags.NoHole),
            (BlockOperation.WriteZeroes, Last - 512, 512, BlockFlags.None)], device!.Asked[..3]);
    }

    [Theory]
    [MemberData(nameof(Ranges))]
    public void A_guest_s_disk_takes_long_discards_and_zeroes(long offset, long length)
    {
        HugeDevice? device = null;
        using (var server = new VhostTestServer("posix", device: loop => device = new HugeDevice(loop, chunkShift: 26)))
        {
            using var guest = new VhostGuest(new RingKind());
            guest.Connect(server.Connect());
            var (sector, sectors) = ((ulong)offset / 512, (uint)(length / 512));
            Assert.Equal(0, guest.Do(11, 0, VhostTests.ZeroRange(sector, sectors, 0)));
            Assert.Equal(0, guest.Do(13, 0, VhostTests.ZeroRange(sector, sectors, 1)));
            Assert.Equal(1, guest.Do(11, 0, VhostTests.ZeroRange((ulong)Last / 512 - sectors + 1, sectors, 0)));
            Assert.Equal(1, guest.Do(13, 0, VhostTests.ZeroRange(ulong.MaxValue, sectors, 0)));
            Assert.Equal(new byte[512], guest.ReadDisk(Last / 512 - 1, 512));
            Assert.Equal(1, guest.Do(0, Last / 512, null, 512));
            Assert.Equal("", server.Messages);
        }
        Assert.Equal([(BlockOperation.Discard, offset, length, BlockFlags.None),
            (BlockOperation.WriteZeroes, offset, length, BlockFlags.None), (BlockOperation.Read, Last - 512, 512, BlockFlags.None)],
            device!.Asked);
    }

    [Fact]
    public void Chunks_of_64_MiB_make_sizes_that_are_powers_of_two_for_a_guest()
    {
        var config = new VhostConfig(new HugeDevice(new PosixLoop(), chunkShift: 26)).Space;
        Assert.Equal((1 << 15, 1 << 17), (BitConverter.ToUInt16(config[26..]), BitConverter.ToInt32(config[28..])));
        Assert.Equal((Last / 512, uint.MaxValue), (BitConverter.ToInt64(config), BitConverter.ToUInt32(config[36..])));
    }

    [Theory]
    [InlineData(512, 3, 128)]
    [InlineData(2048, 1, 32)]
    [InlineData(4096, 0, 16)]
    public void A_guest_is_told_of_large_sectors_and_counts_in_them(int sectorBytes, int physicalPower, int optimalSectors)
    {
        var config = new VhostConfig(new HugeDevice(new PosixLoop(), chunkShift: 16) { SectorBytes = sectorBytes }).Space;
        Assert.Equal((Last / 512, sectorBytes), (BitConverter.ToInt64(config), BitConverter.ToInt32(config[20..])));
        Assert.Equal((physicalPower, optimalSectors), (config[24], BitConverter.ToInt32(config[28..])));
        // Discards are in units of 512 bytes, whatever a sector is.
        Assert.Equal(128, BitConverter.ToInt32(config[44..]));
    }

    [Theory]
    [MemberData(nameof(Ranges))]
    public void NBD_judges_long_requests_by_their_64_bits(long offset, long length)
    {
        var (thread, loop) = TestLoop.Start("posix");
        var device = new HugeDevice(loop);
        foreach (var command in (NbdCommand[])[NbdCommand.Trim, NbdCommand.WriteZeroes, NbdCommand.Cache, NbdCommand.BlockStatus])
        {
            Assert.Equal(0u, Judge(command, (ulong)offset, (ulong)length, out var asked));
            Assert.Equal((offset, length), asked);
            var error = command == NbdCommand.WriteZeroes ? NbdError.NoSpace : NbdError.Invalid;
            Assert.Equal(error, Judge(command, (ulong)(Last - length) + 1, (ulong)length, out _));
            Assert.Equal(error, Judge(command, (ulong)offset, ulong.MaxValue, out _));
            Assert.Equal(error, Judge(command, ulong.MaxValue - (ulong)length + 1, (ulong)length, out _));
            Assert.Equal(error, Judge(command, (ulong)offset, (ulong)length | 1UL << 63, out _));
        }
        Assert.Equal(length > NbdProtocol.MaxPayloadBytes ? NbdError.Overflow
            : 0, Judge(NbdCommand.Read, (ulong)offset, (ulong)length, out _));
        loop.Invoke(loop.Stop);
        thread.Join();

        uint Judge(NbdCommand command, ulong from, ulong count, out (long, long) asked)
        {
            var request = new NbdRequest { Command = command, WireOffset = from };
            var error = NbdValidation.Check(request, count, hasPayload: false, extended: true, device, hasContexts: true);
            if (error == 0)
                NbdValidation.Translate(request, (long)count, device);
            asked = (request.ByteOffset, request.ByteLength);
            return error;
        }
    }
}
