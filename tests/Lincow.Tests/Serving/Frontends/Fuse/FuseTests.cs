using System.Runtime.InteropServices;
using Lincow.Linux;
using Lincow.Serving.Frontends.Fuse;

namespace Lincow.Tests.Serving.Frontends.Fuse;

/// <summary>What the kernel gets from lincow's side of /dev/fuse.</summary>
public unsafe class FuseTests
{
    [Theory]
    [InlineData("0\n", 1)]
    [InlineData("0-1\n", 2)]
    [InlineData("0-3,8,10-11\n", 7)]
    public void Each_processor_that_there_may_be_is_counted(string list, int count) => Assert.Equal(count, FuseRing.CountProcessors(list));

    [Fact]
    public void Structures_have_the_kernels_sizes()
    {
        Assert.Equal((40, 16, 64, 64),
            (sizeof(FuseRequestHeader), sizeof(FuseReplyHeader), sizeof(FuseInitRequest), sizeof(FuseInitReply)));
        Assert.Equal((40, 32, 24, 88),
            (sizeof(FuseTransferRequest), sizeof(FuseFallocateRequest), sizeof(FuseSeekRequest), sizeof(FuseSetAttributesRequest)));
        Assert.Equal((104, 288, 16, 80),
            (sizeof(FuseAttributesReply), sizeof(FuseStatxReply), sizeof(FuseOpenReply), sizeof(FuseStatFsReply)));
        Assert.Equal(304, sizeof(LoopConfiguration));
    }

    [Theory]
    [InlineData("uring")]
    [InlineData("posix")]
    public void Content_of_any_alignment_is_the_devices(string loop)
    {
        const int seed = 11;
        var random = new Random(seed);
        using var connection = new FuseTestConnection(loop);
        var model = connection.OriginContent.ToArray();
        for (var i = 0; i < 400; i++)
        {
            var offset = random.Next(FuseTestConnection.DeviceBytes);
            var length = random.Next(1, Math.Min(100_000, FuseTestConnection.DeviceBytes - offset + 1));
            switch (random.Next(4))
            {
                case 0:
                    var content = new byte[length];
                    random.NextBytes(content);
                    var (error, body) = connection.Write(offset, content);
                    Assert.Equal((0, (ulong)length), (error, MemoryMarshal.Read<ulong>(body)));
                    content.CopyTo(model, offset);
                    break;
                case 1:
                    var mode = random.Next(2) == 0 ? FuseAbi.FallocatePunchHole : FuseAbi.FallocateZeroRange;
                    Assert.Equal(0, connection.Fallocate((ulong)offset, (ulong)length, mode | FuseAbi.FallocateKeepSize));
                    model.AsSpan(offset, length).Clear();
                    break;
                default:
                    var read = connection.Read(offset, length);
                    Assert.Equal(0, read.Error);
                    Assert.True(read.Body.AsSpan().SequenceEqual(model.AsSpan(offset, length)),
                        $"seed {seed}, step {i}: {length} bytes at {offset} differ");
                    break;
            }
        }
        Assert.Equal(0, connection.Ask(FuseOpcode.Fsync, new byte[16]).Error);
        Assert.Empty(connection.Log);
    }

    [Fact]
    public void Many_requests_in_flight_are_each_answered_once()
    {
        using var connection = new FuseTestConnection("uring");
        for (var round = 0; round < 20; round++)
        {
            var asked = new Dictionary<ulong, int>();
            for (var i = 0; i < 100; i++)
                asked.Add(connection.Send(FuseOpcode.Read, FuseTestConnection.Transfer((ulong)i * 512, 512)), i * 512);
            while (asked.Count > 0)
            {
                var (error, unique, body) = connection.Receive();
                Assert.True(asked.Remove(unique, out var offset));
                Assert.Equal(0, error);
                Assert.True(body.AsSpan().SequenceEqual(connection.OriginContent.AsSpan(offset, 512)));
            }
        }
    }

    [Theory]
    [InlineData("uring")]
    [InlineData("posix")]
    public void A_reply_that_is_not_taken_is_an_error_for_whoever_asked(string loop)
    {
        using var connection = new FuseTestConnection(loop, replyRoomBytes: 16_384);
        // Replies that nobody takes for a while fill the socket; all of them come, the late ones as errors, and none twice.
        var asked = new HashSet<ulong>();
        for (var i = 0; i < 200; i++)
            asked.Add(connection.Send(FuseOpcode.Read, FuseTestConnection.Transfer((ulong)i * 512, 512)));
        connection.AwaitLog();
        var failed = 0;
        while (asked.Count > 0)
        {
            var (error, unique, body) = connection.Receive();
            Assert.True(asked.Remove(unique));
            Assert.Contains((error, body.Length), new[] { (0, 512), (-Errno.IO, 0) });
            failed += error == 0 ? 0 : 1;
        }
        Assert.InRange(failed, 1, 199);
        // The socket has no room for so long a packet, ever.
        Assert.Equal((-Errno.IO, 0), Length(connection.Read(0, 200_000)));
        Assert.Equal((0, 512), Length(connection.Read(0, 512)));
        Assert.Single(connection.Log);

        static (int Error, int Bytes) Length((int Error, byte[] Body) reply) => (reply.Error, reply.Body.Length);
    }

    [Fact]
    public void Nothing_lies_behind_the_end()
    {
        using var connection = new FuseTestConnection("uring");
        const int size = FuseTestConnection.DeviceBytes;
        Assert.Equal((0, 10), (connection.Read(size - 10, 100).Error, connection.Read(size - 10, 100).Body.Length));
        Assert.Empty(connection.Read(size, 100).Body);
        Assert.Empty(connection.Ask(FuseOpcode.Read, FuseTestConnection.Transfer(ulong.MaxValue - 5, 100)).Body);
        Assert.Equal(10UL, MemoryMarshal.Read<ulong>(connection.Write(size - 10, new byte[100]).Body));
        Assert.Equal(-Errno.NoSpace, connection.Write(size, [1]).Error);
        Assert.Equal(-Errno.NoSpace, connection.Ask(FuseOpcode.Write, FuseTestConnection.Transfer(ulong.MaxValue, 1, [1])).Error);
        Assert.Equal(0, connection.Fallocate(size - 10, ulong.MaxValue, FuseAbi.FallocatePunchHole | FuseAbi.FallocateKeepSize));
        Assert.Equal(-Errno.NoSpace, connection.Fallocate(size - 10, 100, FuseAbi.FallocateZeroRange));
        Assert.Equal(-Errno.NotSupported, connection.Fallocate(0, 4096, 0));
        Assert.Equal(-Errno.Invalid, connection.Ask(FuseOpcode.Read, FuseTestConnection.Transfer(0, uint.MaxValue)).Error);
    }

    [Fact]
    public void Holes_are_found_and_data_is_found()
    {
        using var connection = new FuseTestConnection("uring");
        const int size = FuseTestConnection.DeviceBytes, half = size / 2;
        Assert.Equal((0, 0L), connection.Seek(0, FuseAbi.SeekData));
        Assert.Equal((0, (long)half), connection.Seek(5, FuseAbi.SeekHole));
        Assert.Equal((-Errno.NoSuchAddress, 0L), connection.Seek(half, FuseAbi.SeekData));
        connection.Write(half + 40_960, new byte[4096]);
        Assert.Equal((0, half + 40_960L), connection.Seek(half + 1, FuseAbi.SeekData));
        Assert.Equal((0, half + 45_056L), connection.Seek(half + 40_961, FuseAbi.SeekHole));
        connection.Fallocate(4096, 8192, FuseAbi.FallocatePunchHole);
        Assert.Equal((0, 4096L), connection.Seek(0, FuseAbi.SeekHole));
        Assert.Equal((0, 12_288L), connection.Seek(4096, FuseAbi.SeekData));
        Assert.Equal(-Errno.NoSuchAddress, connection.Seek(size, FuseAbi.SeekHole).Error);
        Assert.Equal(-Errno.Invalid, connection.Seek(0, 7).Error);
    }

    [Fact]
    public void A_read_only_device_refuses_changes()
    {
        using var connection = new FuseTestConnection("uring", isReadOnly: true);
        Assert.Equal(-Errno.ReadOnlyFileSystem, connection.Write(0, [1]).Error);
        Assert.Equal(-Errno.ReadOnlyFileSystem, connection.Fallocate(0, 4096, FuseAbi.FallocatePunchHole));
        Assert.Equal(0x8100u, connection.Body<FuseAttributesReply>(FuseOpcode.GetAttributes, new byte[16]).Mode);
        Assert.Equal(0, connection.Read(0, 512).Error);
    }

    [Fact]
    public void The_kernel_is_told_what_it_can_rely_on()
    {
        using var connection = new FuseTestConnection("uring");
        var init = new byte[64];
        MemoryMarshal.Cast<byte, uint>(init.AsSpan())[0] = 9;
        Assert.Equal(7u, connection.Body<FuseInitReply>(FuseOpcode.Init, init).Major);
        uint[] words = [7, 45, 131_072, uint.MaxValue, uint.MaxValue];
        var reply = connection.Body<FuseInitReply>(FuseOpcode.Init, (byte[])[.. MemoryMarshal.AsBytes(words.AsSpan()), .. new byte[44]]);
        Assert.Equal((7u, 1u << 20, (ushort)256), (reply.Major, reply.MaxWrite, reply.MaxPages));
        // No cache above the device's: neither writeback caching nor what goes with it is asked for.
        const uint writebackCache = 1 << 16, autoInvalidate = 1 << 12;
        Assert.Equal((0u, (uint)FuseAbi.AsyncDirectIo),
            (reply.Flags & (writebackCache | autoInvalidate), reply.Flags & (uint)FuseAbi.AsyncDirectIo));
        Assert.Equal(FuseAbi.OpenDirectIo | FuseAbi.OpenNoFlush | FuseAbi.OpenParallelDirectWrites,
            connection.Body<FuseOpenReply>(FuseOpcode.Open, new byte[8]).Flags);
        var attributes = connection.Body<FuseAttributesReply>(FuseOpcode.GetAttributes, new byte[16]);
        Assert.Equal((0x8180u, (ulong)FuseTestConnection.DeviceBytes, 7u, 8u),
            (attributes.Mode, attributes.Size, attributes.User, attributes.Group));
        var statx = connection.Body<FuseStatxReply>(FuseOpcode.Statx, new byte[24]);
        Assert.Equal(((ushort)0x8180, (ulong)FuseTestConnection.DeviceBytes, 7u, 8u), (statx.Mode, statx.Size, statx.User, statx.Group));
        Assert.Equal((4096u, 256UL), (connection.Body<FuseStatFsReply>(FuseOpcode.StatFs, []).BlockBytes,
            connection.Body<FuseStatFsReply>(FuseOpcode.StatFs, []).Blocks));
    }

    [Fact]
    public void The_size_can_not_be_changed()
    {
        using var connection = new FuseTestConnection("uring");
        Assert.Equal(-Errno.Perm, Resize(4096));
        Assert.Equal(0, Resize(FuseTestConnection.DeviceBytes));

        int Resize(ulong size)
        {
            var arguments = new FuseSetAttributesRequest { Valid = FuseAbi.AttributeSize, Size = size };
            return connection.Ask(FuseOpcode.SetAttributes,
                MemoryMarshal.AsBytes(new ReadOnlySpan<FuseSetAttributesRequest>(in arguments))).Error;
        }
    }

    [Fact]
    public void What_is_unknown_or_garbage_gets_an_error_and_the_next_request_its_answer()
    {
        const int seed = 5;
        var random = new Random(seed);
        using var connection = new FuseTestConnection("uring");
        uint[] known = [1, 3, 4, 14, 15, 16, 17, 18, 20, 26, 38, 43, 46, 50, 52];
        for (uint opcode = 0; opcode < 70; opcode++)
        {
            if (!known.Contains(opcode) && opcode is not (2 or 42))
                Assert.Equal(-Errno.NoSystemCall, connection.Ask((FuseOpcode)opcode, new byte[random.Next(200)]).Error);
        }
        // The length in the header is not what came.
        connection.Send(FuseOpcode.Read, new byte[40], length: 4000);
        Assert.Equal(-Errno.IO, connection.Receive().Error);
        // A write whose size is not its payload's.
        Assert.Equal(-Errno.Invalid, connection.Ask(FuseOpcode.Write, FuseTestConnection.Transfer(0, 4096, new byte[100])).Error);
        Assert.Equal(-Errno.Invalid, connection.Ask(FuseOpcode.Write, new byte[8]).Error);
        // Forgets take no reply, so the next one is the next request's.
        connection.Send(FuseOpcode.Forget, new byte[8]);
        for (var i = 0; i < 3000; i++)
        {
            var arguments = new byte[random.Next(300)];
            random.NextBytes(arguments);
            // Small numbers reach further than random ones.
            if (random.Next(2) == 0 && arguments.Length >= 24)
                arguments.AsSpan(10, 6).Clear();
            connection.Ask((FuseOpcode)known[random.Next(known.Length)], arguments);
        }
        Assert.Equal(0, connection.Read(0, 4096).Error);
        Assert.Empty(connection.Log);
    }

    [Theory]
    [InlineData("read")]
    [InlineData("write")]
    [InlineData("fsync")]
    public void A_request_allocates_nothing(string kind)
    {
        using var connection = new FuseTestConnection("uring");
        var payload = new byte[4096];
        void Run(int count)
        {
            for (var i = 0; i < count; i++)
            {
                var offset = i * 7919 % (FuseTestConnection.DeviceBytes - 4096) / 512 * 512;
                var error = kind switch
                {
                    "read" => connection.Read(offset, 4096).Error,
                    "write" => connection.Write(offset, payload).Error,
                    _ => connection.Ask(FuseOpcode.Fsync, new byte[16]).Error,
                };
                Assert.Equal(0, error);
            }
        }

        Run(2000);
        // The first call of its kind that asks for the count is counted itself.
        connection.AllocatedBytes();
        var before = connection.AllocatedBytes();
        var perQuestion = connection.AllocatedBytes() - before;
        before = connection.AllocatedBytes();
        var rented = connection.RentedBytes();
        Run(5000);
        // What the questions themselves cost, and nothing for five thousand requests.
        Assert.InRange(connection.AllocatedBytes() - before - perQuestion, 0, 2000);
        Assert.Equal(rented, connection.RentedBytes());
    }
}
