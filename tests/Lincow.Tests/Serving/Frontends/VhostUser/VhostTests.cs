using System.Buffers.Binary;
using System.Text;
using Lincow.Operations;

namespace Lincow.Tests.Serving.Frontends.VhostUser;

/// <summary>What a well-behaved guest gets, from either kind of ring on either loop.</summary>
public unsafe class VhostTests
{
    private const int ChunkSectors = 8;

    private const uint In = 0, Out = 1, Flush = 4, GetId = 8, Discard = 11, WriteZeroes = 13;

    public static TheoryData<string, bool, bool, bool> Kinds
    {
        get
        {
            var data = new TheoryData<string, bool, bool, bool>();
            foreach (var loop in (string[])["io_uring", "posix"])
            {
                for (var bits = 0; bits < 8; bits++)
                    data.Add(loop, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_guest_s_disk_is_an_array_of_bytes(string loop, bool isPacked, bool hasEventIndex, bool isIndirect)
    {
        using var server = new VhostTestServer(loop);
        using var guest = new VhostGuest(new RingKind(isPacked, hasEventIndex, isIndirect, Queues: 3));
        guest.Connect(server.Connect());
        var seed = Environment.TickCount;
        var random = new Random(seed);
        var model = server.OriginContent;
        for (var round = 0; round < 150; round++)
            Round(guest, model, random, $"seed {seed}, round {round}, {loop}, {guest.Kind}");
        Assert.Equal("", server.Messages);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Nothing_is_allocated_for_a_request(string loop, bool isPacked, bool hasEventIndex, bool isIndirect)
    {
        using var server = new VhostTestServer(loop);
        using var guest = new VhostGuest(new RingKind(isPacked, hasEventIndex, isIndirect));
        guest.Connect(server.Connect());
        Load(guest, 3000);
        var before = server.AllocatedBytes();
        Load(guest, 3000);
        // The question itself is an allocation.
        var question = server.AllocatedBytes();
        var cost = server.AllocatedBytes() - question;
        Assert.InRange(question - before, 0, cost + 512);
    }

    [Fact]
    public void The_configuration_says_what_the_device_is()
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        var space = Configuration(guest, 0, 60);
        Assert.Equal(VhostTestServer.DiskBytes / 512, BinaryPrimitives.ReadInt64LittleEndian(space));
        Assert.Equal((126, 512, 3), (BinaryPrimitives.ReadInt32LittleEndian(space.AsSpan(12)),
            BinaryPrimitives.ReadInt32LittleEndian(space.AsSpan(20)), space[24]));
        Assert.Equal(8, BinaryPrimitives.ReadInt32LittleEndian(space.AsSpan(44)));
        Assert.Equal(space[34..36], Configuration(guest, 34, 2));
        Assert.All(Configuration(guest, 60, 196), value => Assert.Equal(0, value));
        // Beyond the largest configuration there is: an empty answer.
        Assert.Empty(guest.Call(24, [.. Word(250), .. Word(10), .. Word(0), .. new byte[10]], reply: true));
        guest.FreeAll();
        var id = guest.Submit(GetId, 0, null, 20);
        Assert.Equal(0, guest.Await(0).Result!.Value);
        Assert.Equal("a disk with a long n", Encoding.ASCII.GetString(guest.Data(id)));
    }

    [Fact]
    public void A_guest_without_writeback_gets_every_write_flushed()
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        Assert.Equal(1, Configuration(guest, 32, 1)[0]);
        guest.Acknowledged(25, [32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        Assert.Equal(0, Configuration(guest, 32, 1)[0]);
        Assert.Equal(0, guest.Do(Out, 0, new byte[4096]));
        // Anything else of the configuration is not the guest's to change.
        Assert.Equal(1UL, guest.Ask(25, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
        Assert.Equal(1UL, guest.Ask(25, [32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]));
    }

    [Fact]
    public void A_read_only_device_shows_its_origin_and_takes_no_change()
    {
        using var server = new VhostTestServer("io_uring", isReadOnly: true);
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        Assert.Equal(1UL << 5, guest.Features & (1UL << 5 | 1UL << 13 | 1UL << 14));
        Assert.Equal(1, guest.Do(Out, 0, new byte[512]));
        Assert.Equal(1, guest.Do(WriteZeroes, 0, ZeroRange(0, 8, 0)));
        Assert.Equal(1, guest.Do(Discard, 0, ZeroRange(0, 8, 0)));
        Assert.Equal(0, guest.Do(Flush, 0, []));
        Assert.Equal(server.OriginContent[..65536], guest.ReadDisk(0, 65536, pieces: 5));
    }

    [Fact]
    public void A_store_that_knows_no_zeroes_offers_no_discard_and_writes_them()
    {
        using var server = new VhostTestServer("io_uring", store: "snapshot");
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        Assert.Equal(1UL << 14, guest.Features & (1UL << 5 | 1UL << 13 | 1UL << 14));
        Assert.Equal(2, guest.Do(Discard, 0, ZeroRange(0, 8, 0)));
        Assert.Equal(0, guest.Do(WriteZeroes, 0, ZeroRange(9, 16, 1)));
        server.OriginContent.AsSpan(9 * 512, 16 * 512).Clear();
        Assert.Equal(server.OriginContent[..65536], guest.ReadDisk(0, 65536));
    }

    [Fact]
    public void Requests_that_break_the_device_s_rules_fail_and_the_queue_goes_on()
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        const ulong sectors = VhostTestServer.DiskBytes / 512;
        Assert.Equal(1, guest.Do(In, sectors, null, 512));
        Assert.Equal(1, guest.Do(In, sectors - 1, null, 1024));
        Assert.Equal(1, guest.Do(Out, ulong.MaxValue, new byte[512]));
        Assert.Equal(1, guest.Do(Out, ulong.MaxValue / 512, new byte[512]));
        Assert.Equal(1, guest.Do(Out, 0, new byte[100]));
        Assert.Equal(1, guest.Do(Discard, 0, ZeroRange(sectors - 1, 2, 0)));
        Assert.Equal(1, guest.Do(WriteZeroes, 0, [.. ZeroRange(0, 8, 0), .. ZeroRange(ulong.MaxValue, uint.MaxValue, 0)]));
        Assert.Equal(1, guest.Do(Discard, 0, new byte[15]));
        Assert.Equal(1, guest.Do(Discard, 0, []));
        Assert.Equal(1, guest.Do(Discard, 0, new byte[17 * 16]));
        Assert.Equal(2, guest.Do(Discard, 0, ZeroRange(0, 8, 1)));
        Assert.Equal(2, guest.Do(WriteZeroes, 0, ZeroRange(0, 8, 2)));
        Assert.Equal(2, guest.Do(99, 0, new byte[512]));
        Assert.Equal(server.OriginContent, guest.ReadDisk(0, VhostTestServer.DiskBytes));
        Assert.Equal("", server.Messages);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_queue_goes_on_where_it_was_stopped_and_in_memory_that_has_moved(bool isPacked)
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind(isPacked, Entries: 16, HasInflight: true));
        guest.Connect(server.Connect());
        for (var round = 0; round < 40; round++)
        {
            guest.FreeAll();
            var content = new byte[4096];
            content.AsSpan().Fill((byte)(round + 1));
            var write = guest.Submit(Out, 8, content);
            if (round % 4 == 1)
                guest.ShareMemory();
            if (round % 4 == 2)
                guest.StartQueue(0, guest.StopQueue(0));
            if (round % 4 == 3)
            {
                guest.Acknowledged(38, [.. VhostGuest.Number(0), .. VhostGuest.Region(VhostGuest.SecondBase, VhostGuest.RegionBytes)]);
                Assert.Equal(1UL, guest.Ask(38, [.. VhostGuest.Number(0),
                    .. VhostGuest.Region(VhostGuest.SecondBase, VhostGuest.RegionBytes)]));
                guest.ShareMemory();
            }
            Assert.Same(write, guest.Await(0));
            Assert.Equal(0, write.Result!.Value);
            Assert.Equal(content, guest.ReadDisk(8, 4096));
        }
    }

    /// <summary>User-mode Linux says 0 of a new packed ring, where the wrap counter should be.</summary>
    [Fact]
    public void A_new_packed_ring_may_begin_at_0()
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind(IsPacked: true, HasEventIndex: true, Entries: 4, PackedBase: 0));
        guest.Connect(server.Connect());
        for (var round = 0; round < 8; round++)
        {
            Assert.Equal(server.OriginContent[..4096], guest.ReadDisk(0, 4096));
            // Every place in the ring, with either value of the counter.
            guest.StartQueue(0, guest.StopQueue(0));
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void The_end_of_the_server_finishes_what_is_in_flight(string loop, bool isPacked, bool hasEventIndex, bool isIndirect)
    {
        using var server = new VhostTestServer(loop);
        using var guest = new VhostGuest(new RingKind(isPacked, hasEventIndex, isIndirect, HasInflight: true));
        guest.Connect(server.Connect());
        for (var life = 0; life < 10; life++)
        {
            guest.FreeAll();
            for (var i = 0; i < 10; i++)
                guest.Submit(Out, (ulong)(i * 64), new byte[32768], pieces: 3);
            server.EndSessions();
            Assert.True(guest.IsClosed());
            // What was given back is done; what was not taken is there for the successor.
            while (guest.TryTake(0) is { } done)
                Assert.Equal(0, done.Result!.Value);
            guest.Connect(server.Connect());
            while (guest.Pending > 0)
                Assert.Equal(0, guest.Await(0).Result!.Value);
        }
        Assert.Equal("", server.Messages);
    }

    internal static byte[] ZeroRange(ulong sector, uint count, uint flags)
    {
        var range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), count);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), flags);
        return range;
    }

    /// <summary>A few requests at once, on ranges that don't overlap, in several queues.</summary>
    private static void Round(VhostGuest guest, byte[] model, Random random, string context)
    {
        guest.FreeAll();
        var reads = new List<(GuestRequest Request, int Pieces, byte[] Expected)>();
        var slices = random.Next(1, 12);
        var slice = VhostTestServer.DiskBytes / 512 / slices;
        for (var i = 0; i < slices; i++)
        {
            var queue = random.Next(guest.Kind.Queues);
            var start = i * slice + random.Next(slice / 2);
            var count = 1 + random.Next(Math.Min(slice / 2, 128));
            if (random.Next(2) == 0)
                (start, count) = ((start + ChunkSectors - 1) / ChunkSectors * ChunkSectors,
                    (count + ChunkSectors - 1) / ChunkSectors * ChunkSectors);
            count = Math.Min(count, ((i + 1) * slice) - start);
            var (at, length) = (start * 512, count * 512);
            var pieces = random.Next(1, 7);
            var kick = random.Next(3) > 0;
            switch (random.Next(8))
            {
                case < 3:
                    reads.Add((guest.Submit(In, (ulong)start, null, length, pieces, queue, kick), pieces,
                        model.AsSpan(at, length).ToArray()));
                    break;
                case < 6:
                    var data = new byte[length];
                    random.NextBytes(data);
                    guest.Submit(Out, (ulong)start, data, 0, pieces, queue, kick);
                    data.CopyTo(model, at);
                    break;
                case 6:
                    // Of chunks in part, a discard may leave what was there.
                    var isWhole = start % ChunkSectors == 0 && count % ChunkSectors == 0;
                    guest.Submit(isWhole && random.Next(2) == 0 ? Discard
                        : WriteZeroes, 0, ZeroRange((ulong)start, (uint)count, 0), 0, pieces, queue, kick);
                    model.AsSpan(at, length).Clear();
                    break;
                default:
                    guest.Submit(Flush, 0, [], 0, 1, queue, kick);
                    break;
            }
        }
        for (var queue = 0; queue < guest.Kind.Queues; queue++)
            guest.Kick(queue);
        for (var queue = 0; queue < guest.Kind.Queues; queue++)
        {
            while (guest.HasPending(queue))
                Assert.True(guest.Await(queue).Result == 0, $"{context}: a request failed");
        }
        foreach (var (request, pieces, expected) in reads)
            Assert.True(expected.AsSpan().SequenceEqual(guest.Data(request, pieces)),
                $"{context}: a read of {request.DataBytes} bytes shows something else");
    }

    private static void Load(VhostGuest guest, int count)
    {
        var data = new byte[16384];
        for (var i = 0; i < count; i += 8)
        {
            guest.FreeAll();
            for (var j = 0; j < 8; j++)
                guest.Submit(j % 2 == 0 ? Out : In, (ulong)(j * 64), j % 2 == 0 ? data : null, 16384, 1 + (j & 2));
            while (guest.Pending > 0)
                guest.Await(0);
        }
    }

    private static byte[] Configuration(VhostGuest guest, uint offset, uint count)
    {
        var reply = guest.Call(24, [.. VhostGuest.Number(offset | (ulong)count << 32), 0, 0, 0, 0, .. new byte[count]], reply: true);
        Assert.Equal((int)count + 12, reply.Length);
        return reply[12..];
    }

    private static byte[] Word(uint value) => VhostGuest.Number(value)[..4];
}
