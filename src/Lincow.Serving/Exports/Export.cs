using Lincow.Device;
using Lincow.Linux;
using Lincow.Operations;

namespace Lincow.Serving.Exports;

/// <summary>
/// A device that is served under a name, on the loop that owns it. Front ends read it from any thread; what it is doesn't change. A host
/// makes them (<see cref="Hosting.Host.AddAsync(Hosting.ExportOptions, CancellationToken)"/>).
/// </summary>
public sealed class Export
{
    internal const string Fault = "an error of lincow itself ended it; start the server again";

    private volatile bool _isEnding;

    internal Export(string name, BlockDevice device, IoLoop loop, string description = "", int alignmentBytes = 1) =>
        (Name, Device, Loop, Description, AlignmentBytes) = (name, device, loop, description, alignmentBytes);

    /// <summary>Tells it from every other export that its host has, or ever had.</summary>
    public int Id { get; internal init; }

    /// <summary>The name by which clients ask for it. No other export of its host has it at the same time.</summary>
    public string Name { get; }

    /// <summary>What it is, for people.</summary>
    public string Description { get; }

    /// <summary>The overlay's absolute path; null for a transient one and for a live origin.</summary>
    public string? Overlay { get; internal init; }

    /// <summary>The absolute path of the overlay's separate map, where it was named.</summary>
    public string? Map { get; internal init; }

    /// <summary>For a transient overlay: its origin, as it was named.</summary>
    public string? Origin { get; internal init; }

    /// <summary>For a live origin: its absolute path.</summary>
    public string? LiveOrigin { get; internal init; }

    /// <summary>The device's size in bytes.</summary>
    public long SizeBytes => Device.SizeBytes;

    /// <summary>Whether writes are refused.</summary>
    public bool IsReadOnly => Device.IsReadOnly;

    /// <summary>Requests that the device has had since it was opened.</summary>
    public long RequestCount => Device.RequestCount;

    /// <summary>An error of lincow's own ended its loop: it answers nobody any more.</summary>
    public bool IsLost => Loop.IsAbandoned;

    /// <summary>What it has been asked for, and how it is, as of a moment ago. Never waits, whatever stands still.</summary>
    public ExportCounters Counters
    {
        get
        {
            // Its loop may be counting meanwhile. Nothing here touches a file.
            var (counters, rounds, inFlight, failedBecause) = Device switch
            {
                CowDevice device => (device.Counters, device.RoundCount, device.InFlight, Session?.FailedBecause),
                OriginDevice device => (device.Counters, 0, device.InFlight, device.FailedBecause),
                _ => (new DeviceCounters(), 0, 0, null),
            };
            return new ExportCounters(RequestCount, counters.Reads, counters.Writes, counters.Discards, counters.Flushes, rounds,
                counters.BytesRead, counters.BytesWritten, counters.BytesDiscarded, inFlight, IsLost ? Fault : failedBecause,
                Session?.DmStatus, Session?.AreaCache is { } cache ? new AreaCacheCounters(cache.Areas, cache.Hits, cache.Misses) : null,
                counters.ReadErrors, counters.WriteErrors, counters.FlushErrors, counters.RoomErrors,
                counters.FullSince is > 0 and var since ? new DateTimeOffset(since, TimeSpan.Zero).ToLocalTime() : null,
                (Device as CowDevice)?.WaitingForRoom ?? 0);
        }
    }

    internal BlockDevice Device { get; }

    internal IoLoop Loop { get; }

    /// <summary>What direct I/O asks of a buffer's address; 1 through the page cache.</summary>
    internal int AlignmentBytes { get; }

    /// <summary>The open overlay; null for a live origin and in tests of front ends.</summary>
    internal OverlaySession? Session { get; init; }

    /// <summary>Tells this opening of the device from any other.</summary>
    internal ulong Instance { get; } = (ulong)Random.Shared.NextInt64() | 1;

    /// <summary>How often others have the attached device's file open, on the loop's thread; null where it isn't attached.</summary>
    internal Func<int>? OpenCount { get; set; }

    /// <summary>No client is let in any more, for ever.</summary>
    internal bool IsEnding
    {
        get => _isEnding;
        set => _isEnding = value;
    }

    /// <summary>What it is called in a sentence.</summary>
    internal string Subject => Overlay ?? LiveOrigin ?? Name;
}
