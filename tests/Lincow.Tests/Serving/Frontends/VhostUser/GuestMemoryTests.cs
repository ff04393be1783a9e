using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Lincow.Linux;
using Lincow.Serving.Frontends.VhostUser;

namespace Lincow.Tests.Serving.Frontends.VhostUser;

/// <summary>What a guest's memory may be, and how it changes while requests are made.</summary>
public sealed unsafe partial class GuestMemoryTests
{
    private const uint Out = 1;
    private const ulong Page = 1 << 20;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Every_region_is_found_whatever_was_found_before_and_whatever_went(int seed)
    {
        var random = new Random(seed);
        var descriptor = DescriptorSocket.TryCreateMemory("guest", 64 << 20);
        var memory = new GuestMemory();
        var there = new List<ulong>();
        for (var step = 0; step < 2000; step++)
        {
            var kind = random.Next(8);
            if (kind == 0)
            {
                memory.Clear();
                there.Clear();
            }
            else if (kind < 3 && there.Count > 0)
            {
                var gone = there[random.Next(there.Count)];
                _ = memory.FindGuest(gone, 1, out _);
                memory.Remove(gone, Page, gone + Page);
                there.Remove(gone);
                Assert.Equal(0, memory.FindGuest(gone, 1, out _));
                Assert.Equal(0, memory.FindUser(gone + Page, 1));
            }
            else if (there.Count < 12 && (ulong)random.Next(64) * 2 * Page is var start && !there.Contains(start))
            {
                memory.Add(start, Page, start + Page, start / 2, descriptor);
                there.Add(start);
            }
            if (there.Count > 0)
                Assert.NotEqual(0, memory.FindGuest(there[random.Next(there.Count)] + 5, 1, out _));
            foreach (var start in there)
            {
                Assert.True(memory.FindGuest(start + Page - 1, 100, out var found) != 0
                    && found == 1, $"seed {seed}, step {step}: the region at {start:x} was not found");
                Assert.NotEqual(0, memory.FindUser(start + Page, Page));
                Assert.Equal(0, memory.FindGuest(start + Page, 1, out _));
            }
            if (there.Count == 0)
                Assert.Equal(0, memory.FindGuest(0, 1, out _));
        }
        memory.Clear();
        DescriptorSocket.Close(descriptor);
    }

    [Theory]
    [InlineData("io_uring", false, false)]
    [InlineData("io_uring", true, true)]
    [InlineData("posix", false, true)]
    public void Memory_grows_shrinks_and_is_replaced_amid_requests(string loop, bool isPacked, bool hasInflight)
    {
        using var server = new VhostTestServer(loop);
        using var guest = new VhostGuest(new RingKind(isPacked, Entries: 64, HasInflight: hasInflight, Queues: 2));
        guest.Connect(server.Connect());
        byte[] first = VhostGuest.Region(VhostGuest.GuestBase, 0),
            second = VhostGuest.Region(VhostGuest.SecondBase, VhostGuest.RegionBytes);
        for (var round = 0; round < 24; round++)
        {
            guest.FreeAll();
            var sector = (ulong)(round % 8 * 64);
            var content = new byte[4096];
            content.AsSpan().Fill((byte)(round + 1));
            // Fills the first region, so that the data lies in the second.
            guest.Allocate(VhostGuest.RegionBytes / 2);
            guest.Allocate(VhostGuest.RegionBytes / 2);
            var requests = new List<GuestRequest>();
            for (var i = 0; i < 8; i++)
                requests.Add(guest.Submit(Out, sector + (ulong)i * 8, content));
            Assert.True(requests[^1].Data >= VhostGuest.SecondBase);
            if (round % 4 == 0)
                Await(requests);
            // Requests are in flight in the other rounds, or are taken when the memory is there again.
            switch (round % 4)
            {
                case 0:
                    guest.Acknowledged(5, [1, 0, 0, 0, 0, 0, 0, 0, .. first], guest.Descriptor);
                    Assert.Equal(content, guest.ReadDisk(sector, 4096));
                    guest.Acknowledged(37, [.. VhostGuest.Number(0), .. second], guest.Descriptor);
                    break;
                case 1:
                    guest.ShareMemory();
                    break;
                case 2:
                    // The rings go, and come back.
                    guest.Acknowledged(38, [.. VhostGuest.Number(0), .. first]);
                    guest.Acknowledged(37, [.. VhostGuest.Number(0), .. first], guest.Descriptor);
                    break;
                default:
                    guest.Acknowledged(5, [2, 0, 0, 0, 0, 0, 0, 0, .. second, .. first], guest.Descriptor, guest.Descriptor);
                    break;
            }
            Await(requests);
            guest.FreeAll();
            Assert.Equal(content, guest.ReadDisk(sector, 4096));
            Assert.Equal(content, guest.ReadDisk(sector + 8, 4096, queue: 1));
        }

        void Await(List<GuestRequest> requests)
        {
            while (guest.HasPending(0))
                _ = guest.Await(0);
            Assert.All(requests, request => Assert.Equal((byte)0, request.Result));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Memory_on_a_disk_is_refused_by_name_and_memory_of_tmpfs_is_taken(bool isInflight)
    {
        using var server = new VhostTestServer("posix");
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        var directory = Directory.GetCurrentDirectory();
        if (new DriveInfo(directory).DriveFormat == "tmpfs")
            Assert.Skip($"{directory} is on tmpfs, and there has to be a disk");
        Assert.Equal(1UL, Share(Path.Combine(directory, $"memory-{Guid.NewGuid():N}")));
        Assert.Contains("is not a file in memory. Share memory of a memfd, tmpfs or hugetlbfs", server.Messages);
        if (new DriveInfo("/dev/shm").DriveFormat == "tmpfs")
            Assert.Equal(0UL, Share($"/dev/shm/lincow-{Guid.NewGuid():N}"));
        Assert.Equal(server.OriginContent[..4096], guest.ReadDisk(0, 4096));

        ulong Share(string path)
        {
            using var file = LinuxFile.CreateNew(path);
            File.Delete(path);
            file.SetLength(VhostGuest.RegionBytes);
            if (!isInflight)
                return guest.Ask(37, [.. VhostGuest.Number(0), .. VhostGuest.Number(0x10_0000_0000), .. VhostGuest.Number(4096),
                    .. VhostGuest.Number(0x1000), .. VhostGuest.Number(0)], file.Descriptor);
            _ = guest.StopQueue(0);
            var result = guest.Ask(32, [.. VhostGuest.Number(VhostGuest.RegionBytes), .. VhostGuest.Number(0), 1, 0, 64, 0],
                file.Descriptor);
            guest.StartQueue(0, guest.Rings[0].Base);
            return result;
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_queue_that_was_stopped_for_its_mistake_goes_on_behind_what_it_had_taken(bool isPacked)
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind(isPacked));
        guest.Connect(server.Connect());
        for (var i = 0; i < 5; i++)
            Assert.Equal(server.OriginContent[..4096], guest.ReadDisk(0, 4096));
        var before = guest.StopQueue(0);
        guest.StartQueue(0, before);
        // A request without a place for its status: it is taken, and can't be answered.
        Assert.True(guest.Rings[0].Add([new Piece(guest.Allocate(16), 16, false)]) >= 0);
        guest.KickAlways(0);
        Assert.True(SpinWait.SpinUntil(() => server.Messages.Contains("queue 0 was stopped", StringComparison.Ordinal), 10_000));
        Assert.Equal((before & 0x7fff) + 1, guest.StopQueue(0) & 0x7fff);
    }

    /// <summary>A front end may start a queue at once that its guest broke, while requests of the ring before are in flight.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Requests_of_a_ring_that_was_stopped_are_not_given_to_its_successor(bool isPacked)
    {
        const int count = 10;
        HugeDevice? device = null;
        IoLoop? loop = null;
        using var server = new VhostTestServer("posix", device: on => device = new HugeDevice(loop = on) { Held = [] });
        using var guest = new VhostGuest(new RingKind(isPacked));
        guest.Connect(server.Connect());
        for (var i = 0; i < count; i++)
            guest.Submit(Out, (ulong)i * 8, new byte[4096], kick: false);
        guest.Rings[0].Add([new Piece(guest.Allocate(16), 16, false)]);
        guest.KickAlways(0);
        Assert.True(SpinWait.SpinUntil(() => server.Messages.Contains("queue 0 was stopped", StringComparison.Ordinal), 10_000));
        // Without GET_VRING_BASE, which waits for what is in flight.
        guest.RestartWithoutStop(0);
        loop!.Invoke(() =>
        {
            Assert.Equal(count, device!.Held!.Count);
            device.Held.ForEach(completion => completion.Complete(0));
            device.Held = null;
        });
        Assert.Null(guest.TryTake(0));
    }

    /// <summary>Whoever closes a socket that lingers waits for its peer. The loop may not.</summary>
    [Fact]
    public void Descriptors_that_can_not_be_closed_at_once_hold_up_nobody()
    {
        using var server = new VhostTestServer("io_uring");
        using var guest = new VhostGuest(new RingKind());
        guest.Connect(server.Connect());
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var client = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        client.Connect(listener.LocalEndpoint);
        using var peer = listener.AcceptSocket();
        client.Blocking = false;
        // More than the peer, which doesn't read, has room for.
        while (client.Send(new byte[1 << 16], 0, 1 << 16, SocketFlags.None, out _) > 0)
        {
        }
        client.LingerState = new LingerOption(true, 30);
        guest.Acknowledged(13, VhostGuest.Number(0), client.Handle.ToInt32());
        _ = Close(client.Handle.ToInt32());
        var clock = Stopwatch.StartNew();
        guest.StartQueue(0, guest.StopQueue(0));
        Assert.Equal(server.OriginContent[..4096], guest.ReadDisk(0, 4096));
        Assert.InRange(clock.ElapsedMilliseconds, 0, 10_000);
        peer.Dispose();
        client.SafeHandle.SetHandleAsInvalid();
    }

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}
