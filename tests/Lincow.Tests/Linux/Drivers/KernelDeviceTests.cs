using Lincow.Linux;

namespace Lincow.Tests.Linux.Drivers;

/// <summary>
/// What is said to the kernel's NBD client and to ublk, as far as a kernel without them can tell. A guest tests the rest (tests/guest).
/// </summary>
public unsafe class KernelDeviceTests
{
    private const uint ReadDirection = 2, BothDirections = 3;

    [Fact]
    public void Ublk_structures_and_commands_are_the_kernel_s()
    {
        Assert.Equal((32, 64, 64, 16, 24),
            (sizeof(UblkControlCommand), sizeof(UblkDeviceInfo), sizeof(UblkParameters), sizeof(UblkQueueCommand), sizeof(UblkDescriptor)));
        Assert.Equal((Command(ReadDirection, 32, 0x02), Command(BothDirections, 32, 0x04), Command(BothDirections, 32, 0x05)),
            (UblkAbi.GetInfo, UblkAbi.AddDevice, UblkAbi.DeleteDevice));
        Assert.Equal((Command(BothDirections, 32, 0x06), Command(BothDirections, 32, 0x07), Command(BothDirections, 32, 0x08)),
            (UblkAbi.StartDevice, UblkAbi.StopDevice, UblkAbi.SetParameters));
        Assert.Equal((Command(BothDirections, 32, 0x10), Command(BothDirections, 32, 0x11), Command(ReadDirection, 32, 0x13)),
            (UblkAbi.StartRecovery, UblkAbi.EndRecovery, UblkAbi.GetFeatures));
        Assert.Equal((Command(BothDirections, 16, 0x20), Command(BothDirections, 16, 0x21)), (UblkAbi.Fetch, UblkAbi.CommitAndFetch));
        // A write with FUA, and zeroes that stay allocated, of 16 sectors at sector 3.
        var write = new UblkDescriptor { OperationAndFlags = 1 | 1 << 13, Sectors = 16, StartSector = 3 };
        Assert.Equal((UblkOperation.Write, true, false, 1536L, 8192L),
            (write.Operation, write.IsForceUnitAccess, write.IsNoUnmap, write.ByteOffset, write.ByteLength));
        Assert.True(new UblkDescriptor { OperationAndFlags = 5 | 1 << 15 } is
        {
            Operation: UblkOperation.WriteZeroes,
            IsForceUnitAccess: false, IsNoUnmap: true
        });
    }

    // _IOR and _IOWR('u', number, a structure of this size).
    private static uint Command(uint direction, uint size, uint number) => direction << 30 | size << 16 | 'u' << 8 | number;

    [Theory]
    [InlineData(4096, 12, 12)]
    [InlineData(65536, 12, 16)]
    [InlineData(1 << 26, 12, 20)]
    public void A_ublk_device_works_in_chunks_and_never_claims_sectors_larger_than_a_page(int grain, int physicalShift, int grainShift)
    {
        var parameters = UblkBlockDevice.Parameters(new UblkShape(1L << 40, grain, 1L << 50, CanDiscard: true, IsReadOnly: false,
            CanRecover: true));
        Assert.Equal((9, physicalShift, grainShift, grainShift),
            (parameters.LogicalShift, parameters.PhysicalShift, parameters.MinimalShift, parameters.OptimalShift));
        Assert.Equal((1UL << 31, 1u << grainShift, 1u << 22, 1u << 22),
            (parameters.DeviceSectors, parameters.DiscardGranularity, parameters.MaxDiscardSectors, parameters.MaxZeroSectors));
        Assert.Equal(UblkAbi.VolatileCache | UblkAbi.ForceUnitAccess, parameters.Attributes);
        var other = UblkBlockDevice.Parameters(new UblkShape(1L << 20, grain, 1 << 20, CanDiscard: false, IsReadOnly: true,
            CanRecover: true));
        Assert.Equal((0u, 2048u, UblkAbi.ReadOnly), (other.MaxDiscardSectors, other.MaxZeroSectors, other.Attributes & UblkAbi.ReadOnly));
    }

    [Theory]
    [InlineData(512, 9, 12)]
    [InlineData(2048, 11, 12)]
    [InlineData(4096, 12, 12)]
    public void A_ublk_device_has_the_sectors_that_it_shall_have(int sectorBytes, int logicalShift, int physicalShift)
    {
        var parameters = UblkBlockDevice.Parameters(new UblkShape(1L << 40, 4096, 1L << 50, CanDiscard: true, IsReadOnly: false,
            CanRecover: true, sectorBytes));
        Assert.Equal((logicalShift, physicalShift, 1UL << 31),
            (parameters.LogicalShift, parameters.PhysicalShift, parameters.DeviceSectors));
    }

    [Fact]
    public void Netlink_messages_have_the_kernel_s_layout()
    {
        var message = new NetlinkMessage(family: 0x1234, command: 1, version: 2, sequence: 7)
            .Add(1, 0xaabbccddu)
            .Add(2, 0x1122334455667788ul)
            .Add(10, "abcd")
            .Nest(7, list => list.Nest(1, item => item.Add(1, 9u)).Nest(1, item => item.Add(1, 10u)))
            .ToArray();
        byte[] expected =
        [
            // struct nlmsghdr: length, type, request and acknowledge, sequence, no port; struct genlmsghdr: command, version.
            84, 0, 0, 0, 0x34, 0x12, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0,
            8, 0, 1, 0, 0xdd, 0xcc, 0xbb, 0xaa,
            12, 0, 2, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
            // A string with its NUL, padded.
            9, 0, 10, 0, (byte)'a', (byte)'b', (byte)'c', (byte)'d', 0, 0, 0, 0,
            // Nested, with the flag that says so.
            28, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 9, 0, 0, 0, 12, 0, 1, 0x80, 8, 0, 1, 0, 10, 0, 0, 0,
        ];
        expected[0] = (byte)expected.Length;
        Assert.Equal(expected, message);
        var attributes = NetlinkMessage.Attributes(message.AsSpan(20));
        Assert.Equal("1 2 7 10", string.Join(' ', attributes.Keys.Order()));
        Assert.Equal("abcd\0"u8.ToArray(), attributes[10]);
        Assert.Equal((byte[])[9, 0, 0, 0], NetlinkMessage.Attributes(NetlinkMessage.Attributes(attributes[7].AsSpan(0, 12))[1])[1]);
    }

    [Fact]
    public void Netlink_attributes_that_are_cut_off_are_left_out()
    {
        var whole = new NetlinkMessage(1, 1, 1, 1).Add(1, 5u).Add(2, "text").ToArray()[20..];
        for (var length = 0; length < whole.Length; length++)
            Assert.Equal(length >= 17 ? 2 : length >= 8 ? 1 : 0, NetlinkMessage.Attributes(whole.AsSpan(0, length)).Count);
        Assert.Empty(NetlinkMessage.Attributes([3, 0, 1, 0]));
        Assert.Empty(NetlinkMessage.Attributes([0, 0, 0, 0, 0, 0, 0, 0]));
        Assert.Empty(NetlinkMessage.Attributes([255, 255, 1, 0, 0]));
    }

    [Fact]
    public void The_kernel_answers_netlink_and_says_what_it_does_not_have()
    {
        using (var netlink = GenericNetlink.Open("nlctrl", 2))
        {
            // CTRL_CMD_GETFAMILY of the controller itself, whose number is fixed.
            var answer = netlink.Ask(3, message => message.Add(2, "nlctrl"));
            Assert.Equal((byte[])[16, 0], answer[1]);
            Assert.Equal("nlctrl\0"u8.ToArray(), answer[2]);
            Assert.Equal(Errno.NoEntry, Assert.Throws<LinuxException>(() =>
                netlink.Ask(3, message => message.Add(2, "no-such-family"))).Errno);
            Assert.Equal((byte[])[16, 0], netlink.Ask(3, message => message.Add(2, "nlctrl"))[1]);
        }
        Assert.Equal(Errno.NoEntry, Assert.Throws<LinuxException>(() => GenericNetlink.Open("no-such-family", 1)).Errno);
    }

    [Fact]
    public void A_driver_without_commands_refuses_them_and_the_ring_goes_on()
    {
        using var loop = new UringLoop();
        using var file = LinuxFile.Open("/dev/zero", writable: true);
        var waiter = new Waiter();
        // More than the ring has entries.
        for (var i = 0; i < 1000; i++)
        {
            loop.Command(file.Descriptor, UblkAbi.GetFeatures, 0, 0, new byte[i % (IoLoop.MaxCommandBytes + 1)], waiter);
            loop.Read(file.Descriptor, 0, 0, 0, waiter);
            while (waiter.Results.Count < 2)
                loop.RunOnce();
            Assert.Equal((-Errno.NotSupported, 0), (waiter.Results.Min(), waiter.Results.Max()));
            waiter.Results.Clear();
        }
    }

    private sealed class Waiter : IoCompletion
    {
        public List<int> Results { get; } = [];

        public override void Complete(int result) => Results.Add(result);
    }
}
