namespace Lincow.Serving.Exports;

/// <summary>What a device has been asked for since it is served, and how it is.</summary>
/// <param name="Requests">All requests.</param>
/// <param name="Reads">Reads.</param>
/// <param name="Writes">Writes.</param>
/// <param name="Discards">Discards and zeroings.</param>
/// <param name="Flushes">Flushes.</param>
/// <param name="Rounds">Flush rounds; flushes that come together share one.</param>
/// <param name="BytesRead">Bytes of reads.</param>
/// <param name="BytesWritten">Bytes of writes.</param>
/// <param name="BytesDiscarded">Bytes of discards and zeroings.</param>
/// <param name="InFlight">Requests that have not ended.</param>
/// <param name="FailedBecause">Why every request is answered with an error, a sentence; null while it is well.</param>
/// <param name="DmStatus">For a dm-snapshot store: what dmsetup status shows after the target's name.</param>
/// <param name="AreaCache">For a dm-snapshot store: its cache.</param>
/// <param name="ReadErrors">Reads that ended with an error.</param>
/// <param name="WriteErrors">Writes, zeroings and discards that ended with an error.</param>
/// <param name="FlushErrors">Flushes that ended with an error.</param>
/// <param name="RefusedForRoom">Requests among these that ended with an error because there was no room.</param>
/// <param name="FullSince">Since when there has been no room, as far as is known; null while there is.</param>
/// <param name="WaitingForRoom">Requests that wait until there is room.</param>
public sealed record ExportCounters(
    long Requests, long Reads, long Writes, long Discards, long Flushes, long Rounds, long BytesRead, long BytesWritten,
    long BytesDiscarded, int InFlight, string? FailedBecause, string? DmStatus = null, AreaCacheCounters? AreaCache = null,
    long ReadErrors = 0, long WriteErrors = 0, long FlushErrors = 0, long RefusedForRoom = 0, DateTimeOffset? FullSince = null,
    int WaitingForRoom = 0);

/// <summary>For a dm-snapshot store: the areas of its list in memory.</summary>
/// <param name="Areas">Areas at most.</param>
/// <param name="Hits">Look-ups that found their area.</param>
/// <param name="Misses">Look-ups that had to read it.</param>
public sealed record AreaCacheCounters(int Areas, long Hits, long Misses);
