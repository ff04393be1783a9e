using Lincow.Linux;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Tests.Serving.Frontends.Nbd;

/// <summary>The memory that connections share: nobody's silence, and no number of strangers, holds up others.</summary>
public class NbdMemoryTests
{
    private const int DeviceBytes = 8 << 20;
    private const long SmallBudget = 176L << 20;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(200_000)]
    public void Writes_whose_payload_never_comes_hold_up_nobody(int sent)
    {
        using var server = new NbdTestServer("io_uring", bytes: DeviceBytes, memoryBytes: SmallBudget);
        using var crowd = new Crowd(server, 40, isTrusted: false, client =>
            client.Send([.. client.Header(NbdCommand.Write, 0, DeviceBytes), .. new byte[sent]]));
        AssertServed(server, isTrusted: false);
        AssertServed(server, isTrusted: true);
        Assert.InRange(server.ChargedBytes(), 0, SmallBudget);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Replies_that_nobody_takes_hold_up_nobody(bool isTrusted)
    {
        using var server = new NbdTestServer("io_uring", bytes: DeviceBytes, memoryBytes: SmallBudget, patienceMilliseconds: 200);
        using var crowd = new Crowd(server, 40, isTrusted, client =>
        {
            for (var i = 0; i < 8; i++)
                client.Send(client.Header(NbdCommand.Read, 0, 2 << 20));
        });
        AssertServed(server, isTrusted);
        Assert.InRange(server.ChargedBytes(), 0, SmallBudget);
        Assert.InRange(server.RentedBytes(), 0, SmallBudget);
    }

    [Fact]
    public void Replies_of_block_status_are_within_the_budget()
    {
        using var server = new NbdTestServer("io_uring", bytes: DeviceBytes, memoryBytes: SmallBudget);
        using (var writer = server.Connect())
        {
            for (ulong chunk = 0; chunk < 1024; chunk += 2)
                Assert.Equal(0u, writer.Write(chunk * 4096, new byte[4096]));
        }
        using var crowd = new Crowd(server, 30, isTrusted: true, client =>
        {
            for (var i = 0; i < NbdProtocol.MaxRequestsInFlight; i++)
                client.Send(client.Header(NbdCommand.BlockStatus, 0, DeviceBytes));
        }, contexts: true);
        using var other = server.Connect(structured: true, contexts: true);
        Assert.Equal(1024UL, (ulong)other.BlockStatus(0, 4 << 20, 0)[NbdProtocol.OverlayContextId].Count);
        Assert.InRange(server.ChargedBytes(), 32 << 20, SmallBudget);
        Assert.InRange(server.RentedBytes(), 32 << 20, SmallBudget);
    }

    [Theory]
    [InlineData("io_uring", 0)]
    [InlineData("posix", 0)]
    [InlineData("io_uring", 1)]
    [InlineData("io_uring", 2)]
    public void Without_memory_a_request_is_ENOMEM_and_the_connection_lives(string loop, int mode)
    {
        using var server = new NbdTestServer(loop);
        using var client = server.Connect(structured: mode == 1, extended: mode == 2, contexts: mode > 0);
        var content = new byte[300_000];
        new Random(2).NextBytes(content);
        server.RefuseMemory(fromBytes: 1);
        Assert.Equal(12u, client.ReadError(0, 4096));
        Assert.Equal(12u, client.Write(0, content));
        if (mode > 0)
            Assert.Equal(12u, client.Command(NbdCommand.BlockStatus, 0, 65536));
        Assert.Equal(12u, client.Write(4096 + 100, content[..50]));
        // The request has its buffer, the copy-up has none.
        server.RefuseMemory(fromBytes: 0);
        Assert.Equal(server.OriginContent, client.Read(0, server.OriginContent.Length));
        Assert.Equal(0u, client.Write(12_345, content));
        Assert.Equal(content, client.Read(12_345, content.Length));
    }

    [Fact]
    public void Whoever_is_slow_is_cut_off_while_others_wait_and_only_then()
    {
        using var loop = new PosixLoop();
        var memory = new NbdMemory(loop, SmallBudget, patienceMilliseconds: 100);
        var (slow, steady, waiting) = (new Member(true), new Member(true), new Member(true));
        foreach (var member in new[] { slow, steady, waiting })
            Assert.True(memory.TryJoin(member, 4096));
        Assert.True(memory.TryCharge(slow, 20 << 20));
        Assert.True(memory.TryCharge(steady, 60 << 20));
        slow.Replies.Await();
        steady.Replies.Await();
        RunFor(loop, 300, () => steady.Replies.Move(1 << 20));
        Assert.False(slow.IsCut);
        Assert.False(memory.TryCharge(waiting, 40 << 20));
        RunUntil(loop, () => slow.IsCut, () => steady.Replies.Move(1 << 20));
        Assert.False(steady.IsCut);
        memory.Leave(slow);
        memory.Leave(steady);
        RunUntil(loop, () => waiting.HeldBytes > 0);
    }

    [Fact]
    public void A_trickle_is_slow_and_an_honest_slow_client_is_not()
    {
        var (trickle, honest) = (new NbdFlow(), new NbdFlow());
        trickle.Await();
        honest.Await();
        Thread.Sleep(50);
        trickle.Move(5);
        honest.Move(20_000);
        Assert.True(trickle.IsTooSlow(1 << 20, 10, 300_000));
        Assert.False(honest.IsTooSlow(1 << 20, 10, 300_000));
        honest.Rest();
        Assert.False(honest.IsTooSlow(1 << 20, 0, 300_000));
    }

    [Fact]
    public void Strangers_leave_half_of_what_is_common_to_others()
    {
        using var loop = new PosixLoop();
        var memory = new NbdMemory(loop);
        for (var i = 0; i < 200; i++)
        {
            var stranger = new Member(false);
            Assert.True(memory.TryJoin(stranger, 4096));
            while (memory.TryCharge(stranger, 1 << 20) && stranger.HeldBytes < 64 << 20)
            {
            }
        }
        for (var i = 0; i < 4; i++)
        {
            var friend = new Member(true);
            Assert.True(memory.TryJoin(friend, 4096));
            Assert.True(memory.TryCharge(friend, 64 << 20));
        }
        Assert.InRange(memory.ChargedBytes, 0, NbdMemory.BudgetBytes);
    }

    [Fact]
    public void Whatever_is_charged_stays_within_the_budget_and_everybody_who_waits_is_served()
    {
        const int seed = 5;
        var random = new Random(seed);
        using var loop = new PosixLoop();
        var memory = new NbdMemory(loop, SmallBudget);
        var members = Enumerable.Range(0, 60).Select(i => new Member(i % 3 == 0)).ToList();
        foreach (var member in members)
            Assert.True(memory.TryJoin(member, 16 << 10));
        for (var step = 0; step < 50_000; step++)
        {
            var member = members[random.Next(members.Count)];
            var wanted = 1L << random.Next(9, 27);
            if (member.WantedBytes > 0)
            {
                if (random.Next(50) == 0)
                    memory.StopWaiting(member);
            }
            else if (random.Next(2) == 0 && (member.HeldBytes == 0 || member.HeldBytes + wanted <= 64 << 20))
            {
                _ = memory.TryCharge(member, Math.Min(wanted, 64 << 20));
            }
            else if (member.HeldBytes > 0)
            {
                memory.Discharge(member, random.Next(2) == 0 ? member.HeldBytes : 1 + random.NextInt64(member.HeldBytes));
            }
            if (step % 7 == 0)
                loop.CompleteSoon(new Nothing(), 0);
            if (step % 7 == 0)
                loop.RunOnce();
            Assert.InRange(memory.ChargedBytes, 0, SmallBudget);
        }
        for (var rounds = 0; members.Any(member => member.WantedBytes > 0 || member.HeldBytes > 0); rounds++)
        {
            Assert.True(rounds < 1000, $"seed {seed}: somebody waits for ever");
            foreach (var member in members.Where(member => member.WantedBytes == 0))
                memory.Discharge(member, member.HeldBytes);
            loop.CompleteSoon(new Nothing(), 0);
            loop.RunOnce();
        }
        members.ForEach(memory.Leave);
        Assert.Equal(0, memory.ChargedBytes);
    }

    [Fact]
    public void The_first_in_line_is_served_first()
    {
        using var loop = new PosixLoop();
        var memory = new NbdMemory(loop, SmallBudget);
        var members = Enumerable.Range(0, 6).Select(_ => new Member(true)).ToList();
        members.ForEach(member => Assert.True(memory.TryJoin(member, 4096)));
        // The first two have all that is common and the turn.
        Assert.True(memory.TryCharge(members[0], 30 << 20));
        Assert.True(memory.TryCharge(members[1], 64 << 20));
        for (var i = 2; i < 6; i++)
            Assert.False(memory.TryCharge(members[i], 64 << 20));
        for (var i = 2; i < 6; i++)
        {
            memory.Leave(members[i - 1]);
            RunUntil(loop, () => members[i].HeldBytes > 0);
            Assert.All(members[(i + 1)..], later => Assert.Equal(0, later.HeldBytes));
        }
    }

    private static void AssertServed(NbdTestServer server, bool isTrusted)
    {
        using var client = server.Connect(isTrusted: isTrusted);
        client.Patience = 10_000;
        var content = new byte[1 << 20];
        new Random(1).NextBytes(content);
        Assert.Equal(0u, client.Write(4096, content));
        Assert.Equal(content, client.Read(4096, content.Length));
    }

    private static void RunUntil(PosixLoop loop, Func<bool> isDone, Action? each = null)
    {
        var end = Environment.TickCount64 + 10_000;
        while (!isDone())
        {
            Assert.True(Environment.TickCount64 < end, "it never happened");
            RunFor(loop, 10, each ?? (() => { }));
        }
    }

    private static void RunFor(PosixLoop loop, int milliseconds, Action each)
    {
        for (var end = Environment.TickCount64 + milliseconds; Environment.TickCount64 < end; each())
        {
            loop.Delay(5, new Nothing());
            loop.RunOnce();
        }
    }

    private sealed class Nothing : IoCompletion
    {
        public override void Complete(int result)
        {
        }
    }

    private sealed class Member(bool isTrusted) : NbdMember(isTrusted)
    {
        public bool IsCut { get; private set; }

        public override void MemoryCame()
        {
        }

        public override void CutOff() => IsCut = true;
    }

    /// <summary>Clients that ask and then do nothing.</summary>
    private sealed class Crowd : IDisposable
    {
        private readonly List<NbdTestClient> _clients = [];

        public Crowd(NbdTestServer server, int count, bool isTrusted, Action<NbdTestClient> ask, bool contexts = false)
        {
            for (var i = 0; i < count; i++)
            {
                _clients.Add(server.Connect(structured: contexts, contexts: contexts, isTrusted: isTrusted));
                ask(_clients[^1]);
            }
        }

        public void Dispose() => _clients.ForEach(client => client.Dispose());
    }
}
