namespace Lincow.Stores.DmSnapshot;

/// <summary>What a store does when it is full.</summary>
internal enum WhenFull
{
    /// <summary>As PO: the write fails for lack of space, everything else goes on.</summary>
    FailWrites,

    /// <summary>
    /// As P: the store is given up for good (valid = 0 in its header), and every request fails. N does so without a header.
    /// </summary>
    Invalidate,
}

/// <summary>How a snapshot store is used.</summary>
/// <param name="AreaCacheBytes">What areas in memory may take.</param>
/// <param name="WhenFull">What happens when the store is full.</param>
/// <param name="IsCommitUnfinished">As its header says, and goes on saying.</param>
internal readonly record struct SnapshotOptions(long AreaCacheBytes, WhenFull WhenFull, bool IsCommitUnfinished = false)
{
    public static SnapshotOptions Of(OverlayOptions options, bool isCommitUnfinished = false) =>
        new(options.AreaCacheBytes, options.GiveUpWhenFull ? WhenFull.Invalidate : WhenFull.FailWrites, isCommitUnfinished);
}
