namespace Lincow.SystemTests.Concurrency;

/// <summary>The judge is right: about histories whose verdict is plain, and about random small ones, by trying every order.</summary>
public class RegisterHistoryTests
{
    private const long Never = RegisterHistory.Never;

    [Fact]
    public void A_stale_read_is_rejected()
    {
        var history = new RegisterHistory(0);
        history.Write(1, 10, 20);
        history.Read(0, 30, 40);
        Assert.NotNull(history.Judge());
    }

    [Fact]
    public void A_lost_write_is_rejected()
    {
        var history = new RegisterHistory(0);
        history.Write(1, 10, 20);
        history.Write(2, 30, 40);
        history.Read(2, 50, 60);
        history.Read(1, 70, 80);
        Assert.NotNull(history.Judge());
    }

    [Fact]
    public void A_value_that_nobody_wrote_and_one_from_the_future_are_rejected()
    {
        var foreign = new RegisterHistory(0);
        foreign.Read(7, 10, 20);
        Assert.NotNull(foreign.Judge());
        var early = new RegisterHistory(0);
        early.Read(1, 10, 20);
        early.Write(1, 30, 40);
        Assert.NotNull(early.Judge());
    }

    [Fact]
    public void Two_readers_that_see_concurrent_writes_in_opposite_orders_are_rejected()
    {
        var history = new RegisterHistory(0);
        history.Write(1, 0, 100);
        history.Write(2, 0, 100);
        history.Read(1, 10, 20);
        history.Read(2, 30, 40);
        Assert.Null(history.Judge());
        history.Read(1, 50, 60);
        Assert.NotNull(history.Judge());
    }

    [Fact]
    public void A_write_that_got_no_answer_may_have_happened_late_or_never_but_not_be_undone()
    {
        var history = new RegisterHistory(0);
        history.Write(1, 10, Never);
        history.Write(2, 10, Never);
        history.Read(0, 20, 30);
        history.Read(1, 40, 50);
        Assert.Null(history.Judge());
        history.Read(0, 60, 70);
        Assert.NotNull(history.Judge());
    }

    [Fact]
    public void The_judge_agrees_with_trying_every_order()
    {
        var (accepted, rejected) = (0, 0);
        for (var seed = 1; seed <= 20_000; seed++)
        {
            var random = new Random(seed);
            var operations = RandomOperations(random);
            var history = new RegisterHistory(0);
            foreach (var operation in operations)
            {
                if (operation.IsWrite)
                    history.Write(operation.Value, operation.Called, operation.Answered);
                else
                    history.Read(operation.Value, operation.Called, operation.Answered);
            }
            var expected = HasOrder(operations, 0);
            Assert.True(expected == history.Judge() is null,
                $"seed {seed}: {string.Join(", ", operations)}: {history.Judge() ?? "accepted"}");
            (accepted, rejected) = expected ? (accepted + 1, rejected) : (accepted, rejected + 1);
        }
        Assert.True(accepted > 2000 && rejected > 2000, $"{accepted} accepted, {rejected} rejected");
    }

    private static List<Operation> RandomOperations(Random random)
    {
        var operations = new List<Operation>();
        var (writes, reads) = (random.Next(1, 4), random.Next(1, 5));
        // No two moments are the same, as with a clock that is fine enough.
        var moments = new Queue<long>(Enumerable.Range(0, 100).Select(i => (long)i).OrderBy(_ => random.Next()));
        for (var i = 0; i < writes + reads; i++)
        {
            var (a, b) = (moments.Dequeue(), moments.Dequeue());
            // Mostly short, so that the order matters.
            var (called, answered) = random.Next(3) > 0
                ? (Math.Min(a, b), Math.Min(a, b) + random.Next(1, 20)) : (Math.Min(a, b), Math.Max(a, b));
            var isWrite = i < writes;
            operations.Add(new Operation(isWrite, isWrite ? i + 1 : random.Next(writes + 1), 1000 * called, isWrite
                && random.Next(6) == 0 ? Never : (1000 * answered) + 1 + i));
        }
        return operations;
    }

    /// <summary>Whether the operations can follow one another so: those that may be next are tried in turn.</summary>
    private static bool HasOrder(List<Operation> left, long value)
    {
        if (left.TrueForAll(operation => operation.Answered == Never))
            return true;
        var firstAnswer = left.Min(operation => operation.Answered);
        foreach (var next in left)
        {
            if (next.Called < firstAnswer && (next.IsWrite || next.Value == value)
                && HasOrder([.. left.Where(other => other != next)], next.Value))
                return true;
        }
        return false;
    }

    private sealed record Operation(bool IsWrite, long Value, long Called, long Answered);
}
