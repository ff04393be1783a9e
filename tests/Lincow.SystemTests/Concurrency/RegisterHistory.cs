namespace Lincow.SystemTests.Concurrency;

/// <summary>
/// The history of one register, and whether it is linearizable: whether every operation can have happened at one moment between its call
/// and its answer, with each read giving what was written last. Each value is written once, which makes that easy to decide (Gibbons and
/// Korach, "Testing shared memories", 1997). A value's write and the reads that gave it are a cluster. Its zone goes from the first answer
/// to the last call among them. If that is forward in time, the register surely held the value throughout, so two such zones can't overlap;
/// if it is backward, all of the cluster fits into any one moment of it, and only a forward zone of another value that encloses it leaves
/// none.
/// </summary>
internal sealed class RegisterHistory
{
    public const long Never = long.MaxValue, BeforeAll = long.MinValue;

    private readonly Dictionary<long, Cluster> _clusters = [];
    private readonly List<(long Value, long Called, long Answered)> _reads = [];

    public RegisterHistory(long firstValue) => Write(firstValue, BeforeAll, BeforeAll);

    /// <param name="value">Never written before.</param>
    /// <param name="called">When it was sent.</param>
    /// <param name="answered">When its answer came; Never for a write that failed or lost its connection: it may have happened at any time
    /// since, or not.</param>
    public void Write(long value, long called, long answered) => _clusters.Add(value, new Cluster(value, called, answered));

    public void Read(long value, long called, long answered) => _reads.Add((value, called, answered));

    /// <summary>Null, or what can't have been.</summary>
    public string? Judge()
    {
        foreach (var (value, called, answered) in _reads)
        {
            if (!_clusters.TryGetValue(value, out var cluster))
                return $"a read gave {value}, which nobody wrote";
            if (answered < cluster.WriteCalled)
                return $"a read gave {value} before its write was sent";
            cluster.Add(called, answered);
        }
        // What was never answered nor read needn't have happened.
        var seen = _clusters.Values.Where(cluster => cluster.FirstAnswer != Never).ToList();
        var forward = seen.Where(cluster => cluster.FirstAnswer < cluster.LastCall).OrderBy(cluster => cluster.FirstAnswer).ToList();
        for (var i = 1; i < forward.Count; i++)
        {
            if (forward[i].FirstAnswer < forward[i - 1].LastCall)
                return $"{forward[i - 1]} and {forward[i]} were both there at once";
        }
        foreach (var inner in seen.Where(cluster => cluster.FirstAnswer >= cluster.LastCall))
        {
            // Forward zones don't overlap, so only the last one that begins before this one can enclose it.
            var outer = forward.FindLast(zone => zone.FirstAnswer < inner.LastCall);
            if (outer is not null && inner.FirstAnswer < outer.LastCall)
                return $"{inner} has no moment beside {outer}";
        }
        return null;
    }

    private sealed class Cluster(long value, long writeCalled, long writeAnswered)
    {
        public long WriteCalled { get; } = writeCalled;

        public long FirstAnswer { get; private set; } = writeAnswered;

        public long LastCall { get; private set; } = writeCalled;

        public void Add(long called, long answered) =>
            (FirstAnswer, LastCall) = (Math.Min(FirstAnswer, answered), Math.Max(LastCall, called));

        public override string ToString() => $"value {value} (first answer {FirstAnswer}, last call {LastCall})";
    }
}
