using System.Diagnostics;
using Lincow.SystemTests.Harness;

namespace Lincow.SystemTests.Trouble.Strangers;

/// <summary>Clients that misbehave after the handshake. After each, the server serves others and stops cleanly.</summary>
public class TransmissionTests
{
    private const uint Perm = 1, InvalidArgument = 22, NoSpace = 28, Overflow = 75;

    [Fact]
    public void A_wrong_request_magic_closes_the_connection() => HandshakeTests.Meet(uri =>
    {
        using var client = RawClient.Ready(uri);
        client.AssertAlive();
        client.Send(RawClient.Request(RawClient.Read, 1, 0, 512, magic: 0xdeadbeef));
        client.AssertClosed();
    });

    [Theory]
    [InlineData(8)]
    [InlineData(99)]
    [InlineData(0xffff)]
    public void An_unknown_command_is_EINVAL_and_the_connection_lives(int command) => HandshakeTests.Meet(uri =>
    {
        using var client = RawClient.Ready(uri);
        Assert.Equal(InvalidArgument, client.Ask((ushort)command, 0, 512).Error);
        client.AssertAlive();
    });

    [Fact]
    public void Unknown_command_flags_are_EINVAL_and_change_nothing() => HandshakeTests.Meet(uri =>
    {
        using var client = RawClient.Ready(uri);
        var before = client.Ask(RawClient.Read, 0, 4096).Data;
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Read, 0, 512, flags: 0x8000).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Write, 0, 512, new byte[512], flags: 0x4000).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Trim, 0, 512, flags: 2).Error);
        Assert.Equal(before, client.Ask(RawClient.Read, 0, 4096).Data);
    });

    [Fact]
    public void Requests_out_of_range_are_refused_and_the_connection_lives() => HandshakeTests.Meet(uri =>
    {
        const ulong size = ServedOverlay.DefaultBytes;
        using var client = RawClient.Ready(uri);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Read, size, 1).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Read, size - 1, 2).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Read, ulong.MaxValue, 1).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Read, ulong.MaxValue - 511, 512).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Read, 1UL << 63, 512).Error);
        Assert.Equal(NoSpace, client.Ask(RawClient.Write, size, 512, new byte[512]).Error);
        Assert.Equal(NoSpace, client.Ask(RawClient.Write, size - 511, 512, new byte[512]).Error);
        Assert.Equal(NoSpace, client.Ask(RawClient.Write, ulong.MaxValue, 1 << 20, new byte[1 << 20]).Error);
        Assert.Equal(NoSpace, client.Ask(RawClient.WriteZeroes, size, 512).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Trim, size - 511, 512).Error);
        Assert.Equal(InvalidArgument, client.Ask(RawClient.Flush, 512, 512).Error);
        client.AssertAlive();
    });

    [Fact]
    public void Requests_of_no_length_are_answered() => HandshakeTests.Meet(uri =>
    {
        using var client = RawClient.Ready(uri);
        // What the protocol leaves open must still be answered, or the client waits for ever.
        foreach (var command in new[] { RawClient.Read, RawClient.Write, RawClient.Trim, RawClient.WriteZeroes, RawClient.Flush })
            Assert.Contains(client.Ask(command, 0, 0).Error, new uint[] { 0, InvalidArgument });
        client.AssertAlive();
    });

    [Fact]
    public void A_read_of_more_than_64_MiB_is_refused_and_the_connection_lives()
    {
        using var served = new ServedOverlay(66 << 20);
        using (var client = RawClient.Ready(served.Uri))
        {
            Assert.Contains(client.Ask(RawClient.Read, 0, (64 << 20) + 1).Error, new[] { Overflow, InvalidArgument });
            client.AssertAlive();
        }
        using (var client = RawClient.Ready(served.Uri))
        {
            Assert.Contains(client.Ask(RawClient.Read, 0, uint.MaxValue).Error, new[] { Overflow, InvalidArgument });
            client.AssertAlive();
        }
        HandshakeTests.AssertServes(served.Uri);
        served.Stop();
    }

    [Theory]
    [InlineData((64u << 20) + 1)]
    [InlineData(uint.MaxValue)]
    public void A_write_of_more_than_64_MiB_closes_that_connection_alone(uint length)
    {
        using var served = new ServedOverlay(66 << 20);
        using var other = RawClient.Ready(served.Uri);
        using var client = RawClient.Ready(served.Uri);
        client.Send(RawClient.Request(RawClient.Write, 1, 0, length));
        client.AssertClosed();
        other.AssertAlive();
        served.Stop();
        Assert.Equal(0, Cli.Info(served.Overlay).Chunks.Data);
    }

    [Fact]
    public void Half_a_write_and_goodbye_changes_nothing() => HandshakeTests.Meet(uri =>
    {
        using var other = RawClient.Ready(uri);
        var before = other.Ask(RawClient.Read, 0, 1 << 20).Data;
        foreach (var sent in new[] { 0, 1, 511, 100_000, (1 << 20) - 1 })
        {
            using var client = RawClient.Ready(uri);
            client.Send([.. RawClient.Request(RawClient.Write, 1, 0, 1 << 20), .. new byte[sent]]);
        }
        Assert.Equal(before, other.Ask(RawClient.Read, 0, 1 << 20).Data);
    });

    [Fact]
    public void Half_a_request_and_silence_does_not_hold_up_another_client() => HandshakeTests.Meet(uri =>
    {
        List<RawClient> silent = [RawClient.Ready(uri), RawClient.Ready(uri), RawClient.Ready(uri)];
        silent[0].Send(RawClient.Request(RawClient.Read, 1, 0, 512)[..20]);
        silent[1].Send([.. RawClient.Request(RawClient.Write, 1, 0, 1 << 20), .. new byte[1000]]);
        silent[2].Send([.. RawClient.Request(RawClient.Write, 1, 0, 32 << 20)]);
        using var worker = RawClient.Ready(uri);
        // Also over the very range of the half write, which must not be locked by it.
        for (var i = 0; i < 100; i++)
            Assert.Equal(0u, worker.Ask(RawClient.Write, (ulong)i * 512, 512, new byte[512]).Error);
        return () => silent.ForEach(client => client.Dispose());
    });

    [Fact]
    public void Five_hundred_idle_connections_leave_room_for_one_that_works()
    {
        using var served = new ServedOverlay();
        List<RawClient> idle = [];
        try
        {
            for (var i = 0; i < 250; i++)
            {
                idle.Add(RawClient.Ready(served.Uri));
                idle.Add(new RawClient(served.Uri));
            }
            Nbd.QemuIo(served.Uri, "write -P 0x51 0 1M", "read -P 0x51 0 1M", "flush");
            idle[0].AssertAlive();
            idle[^2].AssertAlive();
            Assert.InRange(served.Server.ResidentKiB, 1, 200 << 10);
            served.Stop();
        }
        finally
        {
            idle.ForEach(client => client.Dispose());
        }
        Assert.True(Cli.Info(served.Overlay).Clean);
    }

    [Fact]
    public void A_client_that_never_reads_its_replies_costs_bounded_memory_and_nobody_else_notices()
    {
        using var served = new ServedOverlay(16 << 20);
        using var greedy = RawClient.Ready(served.Uri);
        FloodWithReads(greedy);
        using var worker = RawClient.Ready(served.Uri);
        var clock = Stopwatch.StartNew();
        for (var i = 0; i < 200; i++)
            Assert.Equal(0u, worker.Ask(RawClient.Write, (ulong)i * 4096, 4096, new byte[4096]).Error);
        Assert.True(clock.ElapsedMilliseconds < 5000, $"200 small writes took {clock.ElapsedMilliseconds} ms");
        Nbd.QemuIo(served.Uri, "write -P 9 8M 4M", "read -P 9 8M 4M");
        // 64 MiB a connection is the bound; the rest is the server itself.
        Assert.InRange(served.Server.ResidentKiB, 1, 256 << 10);
        greedy.Dispose();
        served.Stop();
        Assert.True(Cli.Info(served.Overlay).Clean);
    }

    [Fact]
    public void A_client_that_never_reads_its_replies_does_not_keep_the_server_from_stopping()
    {
        using var served = new ServedOverlay(16 << 20);
        using var greedy = RawClient.Ready(served.Uri);
        FloodWithReads(greedy);
        Nbd.QemuIo(served.Uri, "write -P 9 0 4k");
        served.Stop();
        Assert.True(Cli.Info(served.Overlay).Clean);
    }

    [Fact]
    public void Clients_that_vanish_amid_requests_leave_nothing_behind() => HandshakeTests.Meet(uri =>
    {
        const int seed = 200;
        var random = new Random(seed);
        for (var i = 0; i < 200; i++)
        {
            using var client = RawClient.Ready(uri);
            for (ulong request = 0; request < 8; request++)
            {
                var offset = (ulong)random.Next(3 << 20);
                client.Send(random.Next(3) switch
                {
                    0 => RawClient.Request(RawClient.Read, request, offset, 256 << 10),
                    1 => [.. RawClient.Request(RawClient.Write, request, offset, 8192), .. new byte[8192]],
                    _ => RawClient.Request(RawClient.Flush, request, 0, 0),
                });
            }
            client.Send(RawClient.Request(RawClient.Write, 99, 0, 64 << 10)[..random.Next(28)]);
        }
    });

    [Fact]
    public void Descriptors_and_memory_of_vanished_clients_come_back()
    {
        using var served = new ServedOverlay();
        HandshakeTests.AssertServes(served.Uri);
        var before = OpenDescriptors(served.Server.Id);
        for (var i = 0; i < 300; i++)
        {
            using var client = RawClient.Ready(served.Uri);
            client.Send(RawClient.Request(RawClient.Read, 1, 0, 1 << 20));
            client.Send(RawClient.Request(RawClient.Write, 2, 0, 1 << 20));
        }
        HandshakeTests.AssertServes(served.Uri);
        Assert.True(SpinWait.SpinUntil(() => OpenDescriptors(served.Server.Id) <= before, TimeSpan.FromSeconds(10)),
            $"{before} descriptors were open before, {OpenDescriptors(served.Server.Id)} now");
        Assert.InRange(served.Server.ResidentKiB, 1, 128 << 10);
        served.Stop();
    }

    [Fact]
    public void Requests_after_a_disconnect_are_not_answered_and_those_before_it_are() => HandshakeTests.Meet(uri =>
    {
        using var client = RawClient.Ready(uri);
        client.Send([.. RawClient.Request(RawClient.Read, 1, 0, 512), .. RawClient.Request(RawClient.Disconnect, 2, 0, 0),
            .. RawClient.Request(RawClient.Read, 3, 0, 512)]);
        client.Receive(16 + 512);
        client.AssertClosed();
    });

    [Fact]
    public void A_client_that_only_closes_its_sending_side_still_gets_its_replies() => HandshakeTests.Meet(uri =>
    {
        using var client = RawClient.Ready(uri);
        client.Send([.. RawClient.Request(RawClient.Read, 1, 0, 4096), .. RawClient.Request(RawClient.Read, 2, 0, 4096)]);
        client.EndSending();
        client.Receive(2 * (16 + 4096));
        client.AssertClosed();
    });

    [Fact]
    public void A_read_only_export_takes_in_the_payload_of_the_write_that_it_refuses()
    {
        using var served = new ServedOverlay(serve: ["--read-only"]);
        using var client = RawClient.Ready(served.Uri);
        Assert.Equal(Perm, client.Ask(RawClient.Write, 0, 1 << 20, new byte[1 << 20]).Error);
        client.AssertAlive();
        client.Dispose();
        served.Stop();
    }

    /// <summary>Asks for gigabytes and reads nothing of it.</summary>
    private static void FloodWithReads(RawClient client) =>
        Assert.True(client.Flood(RawClient.Request(RawClient.Read, 1, 0, 16 << 20)) >= 28);

    private static int OpenDescriptors(int process) => Directory.GetFiles($"/proc/{process}/fd").Length;
}
