using System.Diagnostics;

namespace Lincow.Tests.Serving.Frontends.VhostUser;

/// <summary>
/// The guest, and the front end, are strangers. A queue that breaks the rules stops, with a sentence; the connection's other queues and
/// other connections go on; memory comes back.
/// </summary>
public unsafe class VhostHostileTests
{
    private const uint In = 0, Out = 1;

    /// <summary>What a guest does to a descriptor table, and the sentence that it gets.</summary>
    public static TheoryData<string, string> Breaches => new()
    {
        { "address outside", "outside of the guest's memory" },
        { "address wraps", "outside of the guest's memory" },
        { "length beyond the region", "outside of the guest's memory" },
        { "no length", "has no length" },
        { "read after write", "to read follows one to write" },
        { "loop", "goes round in circles" },
        { "next beyond the table", "goes on at" },
        { "head beyond the ring", "begins at descriptor" },
        { "index jumps", "driver's index went" },
        { "header too short", "bytes for its header" },
        { "no status", "bytes for its header" },
        { "indirect without agreement", "not agreed on" },
    };

    public static TheoryData<string, string> IndirectBreaches => new()
    {
        { "table outside", "an indirect table leads to" },
        { "table of no descriptors", "which are not descriptors" },
        { "table in a table", "has an indirect descriptor" },
        { "table loops", "goes round in circles" },
        { "table goes on beyond", "goes on at" },
        { "table and next", "or goes on" },
        { "endless table", "more than 1024 descriptors" },
    };

    [Theory]
    [MemberData(nameof(Breaches))]
    public void A_ring_that_breaks_the_rules_stops_and_another_goes_on(string breach, string sentence) =>
        Break(new RingKind(Entries: 16, Queues: 2), sentence, guest => BreakSplit(guest, breach));

    [Theory]
    [MemberData(nameof(IndirectBreaches))]
    public void An_indirect_table_that_breaks_the_rules_stops_its_queue_alone(string breach, string sentence) =>
        Break(new RingKind(IsIndirect: true, Entries: 16, Queues: 2), sentence, guest => BreakIndirect(guest, breach));

    [Theory]
    [InlineData("endless", "longer than its ring")]
    [InlineData("address outside", "outside of the guest's memory")]
    [InlineData("table outside", "an indirect table leads to")]
    public void A_packed_ring_that_breaks_the_rules_stops_alone(string breach, string sentence) =>
        Break(new RingKind(IsPacked: true, IsIndirect: true, Entries: 16, Queues: 2), sentence, guest =>
        {
            var at = guest.Rings[0].Table;
            for (var i = 0; i < 16; i++, at += 16)
            {
                (*(ulong*)at, *(uint*)(at + 8)) = (breach == "endless" ? VhostGuest.GuestBase : 1, 16);
                *(ushort*)(at + 14) = (ushort)(1 << 7 | (breach == "endless" ? 1 : breach == "table outside" ? 4 : 0));
            }
            guest.KickAlways(0);
        });

    [Fact]
    public void Messages_that_make_no_sense_are_refused_and_the_connection_goes_on()
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind(Queues: 2));
        guest.Connect(server.Connect());
        (uint, byte[], int[])[] senseless =
        [
            (99, [], []),
            (2, VhostGuest.Number(1UL << 50), []),
            (2, VhostGuest.Number(0), []),
            (16, VhostGuest.Number(1UL << 40), []),
            (8, VhostGuest.State(200, 16), []),
            (8, VhostGuest.State(0, 16), []),
            (8, VhostGuest.State(5, 0), []),
            (8, VhostGuest.State(5, 65536), []),
            (10, VhostGuest.State(0, 5), []),
            (9, VhostGuest.Addresses(1)[..39], []),
            (12, VhostGuest.Number(5), []),
            (12, VhostGuest.Number(0x100), []),
            (13, VhostGuest.Number(0), [guest.Descriptor]),
            (12, VhostGuest.Number(63), [guest.Socket]),
            (5, [9, 0, 0, 0, 0, 0, 0, 0, .. new byte[288]], []),
            (5, [1, 0, 0, 0, 0, 0, 0, 0, .. new byte[32]], []),
            (37, [.. VhostGuest.Number(0), .. VhostGuest.Region(VhostGuest.GuestBase, 0)], [guest.Descriptor]),
            (37, [.. VhostGuest.Number(0), .. VhostGuest.Number(1UL << 40), .. VhostGuest.Number(1UL << 40), .. VhostGuest.Number(0),
                .. VhostGuest.Number(0)], [guest.Descriptor]),
            (37, [.. VhostGuest.Number(0), .. VhostGuest.Number(1UL << 40), .. VhostGuest.Number(4096), .. VhostGuest.Number(0),
                .. VhostGuest.Number(ulong.MaxValue - 100)], [guest.Descriptor]),
            (37, [.. VhostGuest.Number(0), .. VhostGuest.Number(ulong.MaxValue - 100), .. VhostGuest.Number(4096), .. VhostGuest.Number(0),
                .. VhostGuest.Number(0)], [guest.Descriptor]),
            (37, [.. VhostGuest.Number(0), .. VhostGuest.Number(1UL << 40), .. VhostGuest.Number(4096), .. VhostGuest.Number(0),
                .. VhostGuest.Number(0)], [guest.Socket]),
            (38, new byte[40], []),
            (32, [.. VhostGuest.Number(1 << 20), .. VhostGuest.Number(0), 2, 0, 64, 0], [guest.Descriptor]),
        ];
        foreach (var (request, payload, descriptors) in senseless)
            Assert.True(guest.Ask(request, payload, descriptors) == 1, $"message {request} with {payload.Length} bytes was done");
        Assert.Equal(server.OriginContent[..4096], guest.ReadDisk(0, 4096, queue: 1));
    }

    [Theory]
    [InlineData("a header of another protocol")]
    [InlineData("a payload without end")]
    [InlineData("many descriptors")]
    [InlineData("an unknown message that wants no answer")]
    public void Without_framing_the_connection_ends(string breach)
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        var bytes = new byte[12];
        (bytes[0], bytes[4]) = (99, 1);
        if (breach == "a header of another protocol")
            bytes[4] = 2;
        if (breach == "a payload without end")
            bytes[9] = 255;
        guest.SendRaw(bytes, breach == "many descriptors" ? Enumerable.Repeat(guest.Descriptor, 32 + 1).ToArray() : []);
        Assert.True(guest.IsClosed());
        Assert.Contains("the connection was closed", server.Messages);
    }

    [Theory]
    [InlineData("io_uring", false)]
    [InlineData("posix", false)]
    [InlineData("io_uring", true)]
    public void Memory_that_is_taken_back_ends_its_connection_and_nothing_else(string loop, bool isPacked)
    {
        using var server = new VhostTestServer(loop);
        using var other = new VhostGuest(new RingKind());
        other.Connect(server.Connect());
        for (var left = 0; left <= 4; left++)
        {
            using var guest = new VhostGuest(new RingKind(isPacked, HasInflight: left % 2 == 1));
            guest.Connect(server.Connect());
            for (var i = 0; i < 8; i++)
                guest.Submit(i % 2 == 0 ? In : Out, (ulong)(2048 + i * 32), i % 2 == 0 ? null
                    : new byte[16384], 16384, pieces: 1 + i / 4, kick: false);
            // The rings' pages, or the buffers' alone.
            guest.Shrink(left * 16384);
            guest.KickAlways(0);
            Assert.True(guest.IsClosed());
            Assert.Equal(server.OriginContent[..4096], other.ReadDisk(0, 4096));
        }
        Assert.Contains("has become shorter", server.Messages);
    }

    [Fact]
    public void A_guest_that_never_takes_its_answers_holds_up_nobody()
    {
        using var server = new VhostTestServer("io_uring");
        using var greedy = new VhostGuest(new RingKind(Entries: 512));
        using var other = new VhostGuest(new RingKind());
        greedy.Connect(server.Connect());
        other.Connect(server.Connect());
        // More than one queue may have in the device, and through buffers.
        for (var i = 0; i < 120; i++)
            greedy.Submit(In, 0, null, 65536, pieces: 2, kick: false);
        greedy.KickAlways(0);
        var clock = Stopwatch.StartNew();
        Assert.Equal(server.OriginContent[..4096], other.ReadDisk(0, 4096));
        Assert.InRange(clock.ElapsedMilliseconds, 0, 5000);
        while (greedy.Pending > 0)
            Assert.Equal(0, greedy.Await(0).Result!.Value);
    }

    private static void Break(RingKind kind, string sentence, Action<VhostGuest> breach)
    {
        using var server = new VhostTestServer("io_uring");
        using (var guest = new VhostGuest(kind))
        {
            guest.Connect(server.Connect());
            breach(guest);
            Assert.Equal(server.OriginContent[..8192], guest.ReadDisk(0, 8192, pieces: 3, queue: 1));
            Assert.True(SpinWait.SpinUntil(() => server.Messages.Length > 0, 5000), "no word of it");
            Assert.Contains("queue 0 was stopped", server.Messages);
            Assert.Contains(sentence, server.Messages);
            // The front end may start it again.
            _ = guest.StopQueue(0);
        }
        using var next = new VhostGuest(kind);
        next.Connect(server.Connect());
        Assert.Equal(server.OriginContent[..8192], next.ReadDisk(0, 8192));
    }

    private static void BreakSplit(VhostGuest guest, string breach)
    {
        var (table, driver) = ((nint)guest.Rings[0].Table, (nint)guest.Rings[0].Driver);
        var header = guest.Allocate(16);
        Set(table, 0, header, 16, 1, 1);
        Set(table, 1, header, 512, 2 | 1, 2);
        Set(table, 2, header, 1, 2, 0);
        ushort head = 0, index = 1;
        switch (breach)
        {
            case "address outside":
                Set(table, 1, 0x1000, 512, 2 | 1, 2);
                break;
            case "address wraps":
                Set(table, 1, ulong.MaxValue - 100, 512, 2 | 1, 2);
                break;
            case "length beyond the region":
                Set(table, 1, VhostGuest.SecondBase + VhostGuest.RegionBytes - 100, 512, 2 | 1, 2);
                break;
            case "no length":
                Set(table, 1, header, 0, 2 | 1, 2);
                break;
            case "read after write":
                Set(table, 2, header, 1, 0, 0);
                break;
            case "loop":
                Set(table, 1, header, 512, 1, 0);
                break;
            case "next beyond the table":
                Set(table, 1, header, 512, 2 | 1, 16);
                break;
            case "head beyond the ring":
                head = 16;
                break;
            case "index jumps":
                index = 17;
                break;
            case "header too short":
                Set(table, 0, header, 15, 1, 1);
                break;
            case "no status":
                Set(table, 0, header, 16, 0, 0);
                break;
            default:
                Set(table, 0, header, 16, 4, 0);
                break;
        }
        *(ushort*)(driver + 4) = head;
        *(ushort*)(driver + 2) = index;
        guest.KickAlways(0);
    }

    private static void BreakIndirect(VhostGuest guest, string breach)
    {
        var (table, driver) = ((nint)guest.Rings[0].Table, (nint)guest.Rings[0].Driver);
        var header = guest.Allocate(16);
        var entries = breach == "endless table" ? 2000u : 3u;
        var indirect = guest.Allocate((int)entries * 16);
        var inside = (nint)guest.At(indirect);
        Set(inside, 0, header, 16, 1, 1);
        Set(inside, 1, header, 512, 2 | 1, 2);
        Set(inside, 2, header, 1, 2, 0);
        Set(table, 0, indirect, entries * 16, 4, 0);
        switch (breach)
        {
            case "table outside":
                Set(table, 0, VhostGuest.GuestBase + VhostGuest.RegionBytes - 16, 48, 4, 0);
                break;
            case "table of no descriptors":
                Set(table, 0, indirect, 47, 4, 0);
                break;
            case "table in a table":
                Set(inside, 1, indirect, 48, 4, 0);
                break;
            case "table loops":
                Set(inside, 2, header, 1, 2 | 1, 1);
                break;
            case "table goes on beyond":
                Set(inside, 2, header, 1, 2 | 1, 3);
                break;
            case "table and next":
                Set(table, 0, indirect, 48, 4 | 1, 1);
                break;
            default:
                for (ushort i = 0; i < entries; i++)
                    Set(inside, i, header, 1, 1, (ushort)(i + 1));
                break;
        }
        *(ushort*)(driver + 4) = 0;
        *(ushort*)(driver + 2) = 1;
        guest.KickAlways(0);
    }

    private static void Set(nint table, int index, ulong address, uint length, ushort flags, ushort next)
    {
        var at = (byte*)table + 16 * index;
        (*(ulong*)at, *(uint*)(at + 8), *(ushort*)(at + 12), *(ushort*)(at + 14)) = (address, length, flags, next);
    }
}
