using Lincow.SystemTests.Harness;
using Lincow.Tests.Serving.Frontends.VhostUser;

namespace Lincow.SystemTests.VhostUser;

/// <summary>
/// A guest's requests outlive their server: what kill -9 leaves in flight is done by the next one, each once; what was answered stays.
/// </summary>
public class VhostKillTests
{
    private const uint In = 0, Out = 1, Flush = 4, Discard = 11;
    private const int Lives = 8, Slots = 12, SlotSectors = 256;

    public static TheoryData<bool, bool, bool> Kinds
    {
        get
        {
            var data = new TheoryData<bool, bool, bool>();
            for (var bits = 0; bits < 8; bits++)
                data.Add((bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Requests_in_flight_outlive_kill_9(bool isPacked, bool hasEventIndex, bool isIndirect)
    {
        var seed = Seeds.Pick(11);
        var random = new Random(seed);
        using var scratch = new Scratch();
        var model = File.ReadAllBytes(scratch.Random("origin.img", Slots * SlotSectors * 512, seed));
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch["origin.img"]);
        using var guest = new VhostGuest(new RingKind(isPacked, hasEventIndex, isIndirect, Queues: 2, HasInflight: true));
        var unfinished = 0;
        for (var life = 0; life < Lives; life++)
        {
            var socket = scratch.NewSocket();
            using var server = LincowServer.Start([scratch["o.cow"], "--vhost-user", socket]);
            Assert.Equal("vhost-user:" + socket, server.Uri);
            guest.Connect(VhostGuest.ConnectTo(socket));
            // Without a write cache, so that what is answered is there. The next server knows it from the record.
            if (life == 0)
                guest.Acknowledged(25, [32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
            Finish(guest, reads: [], $"seed {seed}, life {life}");
            var reads = Load(guest, model, random);
            Thread.Sleep(random.Next(3));
            server.Kill();
            unfinished += Count(guest, reads);
            using var next = LincowServer.Start([scratch["o.cow"], "--vhost-user", socket]);
            guest.Connect(VhostGuest.ConnectTo(socket));
            Finish(guest, reads, $"seed {seed}, life {life}");
            guest.FreeAll();
            Assert.True(guest.ReadDisk(0, model.Length, pieces: 7, queue: 1).AsSpan().SequenceEqual(model),
                $"seed {seed}, life {life}: the disk shows something else");
            next.Stop();
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {unfinished} requests were in flight");
        Assert.True(unfinished > Lives, $"seed {seed}: only {unfinished} requests were in flight when their server died");
        Cli.Check(scratch["o.cow"]);
    }

    /// <summary>What the guest last did before the kill, and whether it may go on.</summary>
    [Theory]
    [InlineData("first write of a chunk", false)]
    [InlineData("first write of a chunk, flushed", true)]
    [InlineData("write of a chunk that the overlay holds", true)]
    [InlineData("discard", false)]
    [InlineData("write of a transient overlay, flushed", false)]
    [InlineData("read of a transient overlay", true)]
    public void A_guest_whose_writes_were_lost_is_not_shown_older_content(string last, bool goesOn)
    {
        using var scratch = new Scratch();
        var content = File.ReadAllBytes(scratch.Random("origin.img", 1 << 20));
        var isTransient = last.Contains("transient", StringComparison.Ordinal);
        if (!isTransient)
            Cli.Ok("create", scratch["o.cow"], "--origin", scratch["origin.img"]);
        var socket = scratch.NewSocket();
        string[] served = [.. isTransient ? new[] { "--origin", scratch["origin.img"] } : [scratch["o.cow"]], "--vhost-user", socket];
        using var guest = new VhostGuest(new RingKind(HasInflight: true));
        var server = LincowServer.Start(served);
        try
        {
            guest.Connect(VhostGuest.ConnectTo(socket));
            if (!isTransient)
            {
                Write(16, 1);
                // A clean end flushes.
                server.Stop();
                server = LincowServer.Start(served);
                guest.Connect(VhostGuest.ConnectTo(socket));
            }
            if (last.Contains("holds", StringComparison.Ordinal))
                Write(16, 2);
            else if (last == "discard")
                Assert.Equal(0, guest.Do(Discard, 0, [.. VhostGuest.Number(16), 8, 0, 0, 0, 0, 0, 0, 0]));
            else if (!last.StartsWith("read", StringComparison.Ordinal))
                Write(64, 3);
            if (last.EndsWith("flushed", StringComparison.Ordinal))
                Assert.Equal(0, guest.Do(Flush, 0, []));
            server.Kill();
            server.Dispose();
            server = LincowServer.Start(served);
            if (goesOn)
            {
                guest.Connect(VhostGuest.ConnectTo(socket));
                Assert.Equal(content, guest.ReadDisk(0, content.Length, pieces: 3));
            }
            else
            {
                Assert.ThrowsAny<Xunit.Sdk.XunitException>(() => guest.Connect(VhostGuest.ConnectTo(socket)));
                AssertSays(server, "restart it");
                guest.Hang();
                using var restarted = new VhostGuest(new RingKind(HasInflight: true));
                restarted.Connect(VhostGuest.ConnectTo(socket));
                Assert.Equal(0, restarted.Do(Flush, 0, []));
            }
            server.Stop();
        }
        finally
        {
            server.Dispose();
        }

        void Write(int sector, byte value)
        {
            var data = new byte[8192];
            data.AsSpan().Fill(value);
            Assert.Equal(0, guest.Do(Out, (ulong)sector, data));
            data.CopyTo(content, sector * 512);
        }
    }

    [Fact]
    public void A_front_end_that_takes_its_memory_back_does_not_end_the_server()
    {
        using var scratch = new Scratch();
        var content = File.ReadAllBytes(scratch.Random("origin.img", 1 << 20));
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch["origin.img"]);
        var socket = scratch.NewSocket();
        using var server = LincowServer.Start([scratch["o.cow"], "--vhost-user", socket, "--nbd", "unix:" + scratch.NewSocket()],
            readyLines: 2);
        for (var left = 0; left <= 4; left++)
        {
            using var guest = new VhostGuest(new RingKind(IsPacked: left % 2 == 1));
            guest.Connect(VhostGuest.ConnectTo(socket));
            for (var i = 0; i < 8; i++)
                guest.Submit(i % 2 == 0 ? In : Out, (ulong)(1024 + i * 32), i % 2 == 0 ? null
                    : new byte[16384], 16384, 1 + i / 4, kick: false);
            guest.Shrink(left * 16384);
            guest.KickAlways(0);
            Assert.True(guest.IsClosed());
        }
        using var sound = new VhostGuest(new RingKind());
        sound.Connect(VhostGuest.ConnectTo(socket));
        Assert.Equal(content[..65536], sound.ReadDisk(0, 65536));
        AssertSays(server, "has become shorter");
        Tool.Ok("nbdinfo", server.Uris.Single(uri => uri.StartsWith("nbd", StringComparison.Ordinal)));
        server.Stop();
    }

    [Fact]
    public void The_socket_is_its_owner_s_and_the_next_front_end_waits_for_the_first()
    {
        using var scratch = new Scratch();
        Cli.Ok("create", scratch["o.cow"], "--origin", scratch.Random("origin.img", 1 << 20));
        var socket = scratch.NewSocket();
        using var server = LincowServer.Start([scratch["o.cow"], "--vhost-user", socket]);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(socket));
        var first = new VhostGuest(new RingKind());
        first.Connect(VhostGuest.ConnectTo(socket));
        var waiting = VhostGuest.ConnectTo(socket);
        Assert.Equal(0, first.Do(Flush, 0, []));
        first.Dispose();
        using var second = new VhostGuest(new RingKind());
        second.Connect(waiting);
        Assert.Equal(0, second.Do(Out, 0, new byte[4096]));
        server.Stop();
        Assert.True(second.IsClosed());
        Assert.False(File.Exists(socket));
        Assert.Contains("2 sockets for 1 exports",
            Cli.Misused("serve", scratch["o.cow"], "--vhost-user", scratch["a"], "--vhost-user", scratch["b"]));
        File.WriteAllText(scratch["file"], "");
        Assert.Contains("--vhost-user", Cli.Fails("serve", scratch["o.cow"], "--vhost-user", scratch["file"]));
    }

    private static void AssertSays(LincowServer server, string sentence) =>
        Assert.True(SpinWait.SpinUntil(() => server.Errors.Contains(sentence, StringComparison.Ordinal), 5000),
            $"'{sentence}' expected: {server.Errors}");

    /// <summary>Writes and reads of slots of their own, in both queues; the model is as it will be.</summary>
    private static List<(GuestRequest Request, int Pieces, byte[] Expected)> Load(VhostGuest guest, byte[] model, Random random)
    {
        guest.FreeAll();
        var reads = new List<(GuestRequest, int, byte[])>();
        for (var slot = 0; slot < Slots; slot++)
        {
            var start = slot * SlotSectors + random.Next(SlotSectors / 2);
            var bytes = (1 + random.Next(SlotSectors / 2)) * 512;
            var pieces = random.Next(1, 4);
            var queue = slot % 2;
            if (random.Next(3) == 0)
            {
                reads.Add((guest.Submit(In, (ulong)start, null, bytes, pieces, queue, kick: false), pieces,
                    model.AsSpan(start * 512, bytes).ToArray()));
                continue;
            }
            var data = new byte[bytes];
            random.NextBytes(data);
            guest.Submit(Out, (ulong)start, data, 0, pieces, queue, kick: false);
            data.CopyTo(model, start * 512);
        }
        guest.Submit(Flush, 0, [], 0, 1, 0, kick: false);
        guest.Kick(0);
        guest.Kick(1);
        return reads;
    }

    /// <summary>What nobody has answered, after what was answered has been looked at.</summary>
    private static int Count(VhostGuest guest, List<(GuestRequest Request, int Pieces, byte[] Expected)> reads)
    {
        for (var queue = 0; queue < 2; queue++)
        {
            while (guest.TryTake(queue) is { } done)
                Look(guest, done, reads, "before the kill");
        }
        return guest.Pending;
    }

    private static void Finish(VhostGuest guest, List<(GuestRequest Request, int Pieces, byte[] Expected)> reads, string context)
    {
        for (var queue = 0; queue < 2; queue++)
        {
            while (guest.HasPending(queue))
                Look(guest, guest.Await(queue), reads, context);
        }
    }

    private static void Look(VhostGuest guest, GuestRequest done, List<(GuestRequest Request, int Pieces, byte[] Expected)> reads,
        string context)
    {
        Assert.True(done.Result == 0, $"{context}: a request failed with {done.Result}");
        foreach (var (request, pieces, expected) in reads)
        {
            if (request == done)
                Assert.True(expected.AsSpan().SequenceEqual(guest.Data(request, pieces)), $"{context}: a read shows something else");
        }
    }
}
