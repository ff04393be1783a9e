using System.Text.Json.Serialization;

namespace Lincow.Serving.Control;

/// <summary>What a process that serves overlays writes down about itself in the run directory.</summary>
/// <param name="Pid">The process.</param>
/// <param name="StartTime">When it was started, in the kernel's ticks (/proc/PID/stat, field 22): a process number alone comes round again.</param>
/// <param name="Command">serve, run or attach.</param>
/// <param name="Since">When it began to serve.</param>
/// <param name="Exports">What it serves.</param>
public sealed record ServingRecord(int Pid, long StartTime, string Command, DateTimeOffset Since, IReadOnlyList<ServedExport> Exports)
{
    /// <summary>The name of its files in the run directory, without an ending.</summary>
    [JsonIgnore]
    public string Id => $"{Pid}-{StartTime}";
}

/// <summary>One device that is served.</summary>
public sealed record ServedExport
{
    public required string Name { get; init; }

    /// <summary>The overlay's path; null for a transient one.</summary>
    public string? Overlay { get; init; }

    /// <summary>The overlay's map, where it was named.</summary>
    public string? Map { get; init; }

    /// <summary>For a transient overlay: its origin.</summary>
    public string? Origin { get; init; }

    public long SizeBytes { get; init; }

    public bool ReadOnly { get; init; }

    /// <summary>Where NBD clients connect.</summary>
    public IReadOnlyList<string> Uris { get; init; } = [];

    /// <summary>The way by which it is attached to this machine; null when it isn't.</summary>
    public string? Via { get; init; }

    /// <summary>The block device.</summary>
    public string? Device { get; init; }

    /// <summary>What the kernel knows the block device by, whatever its number: nobody else's is taken for it.</summary>
    public string? Identity { get; init; }

    /// <summary>The file whose content is the device.</summary>
    public string? File { get; init; }

    /// <summary>The symbolic link to the block device.</summary>
    public string? Link { get; init; }
}

/// <summary>What a device has been asked for since it is served (bytes and counts), and how it is.</summary>
public sealed record ExportCounters(
    long Requests, long Reads, long Writes, long Discards, long Flushes, long Rounds, long BytesRead, long BytesWritten, long BytesDiscarded, int InFlight, string? FailedBecause,
    string? DmStatus = null, AreaCacheCounters? AreaCache = null);

/// <summary>For a dm-snapshot store: the areas of its list in memory.</summary>
/// <param name="Areas">Areas at most.</param>
/// <param name="Hits">Look-ups that found their area.</param>
/// <param name="Misses">Look-ups that had to read it.</param>
public sealed record AreaCacheCounters(int Areas, long Hits, long Misses);

/// <summary>A line to the control socket.</summary>
/// <param name="Verb">status, reset or detach.</param>
/// <param name="Export">The export's index in the record, for reset.</param>
/// <param name="WaitSeconds">For detach: how long those who hold the device may take to let go of it.</param>
/// <param name="Force">For reset: also after a commit that was cut off, and although somebody uses the device.</param>
public sealed record ControlRequest(string Verb, int Export = 0, double WaitSeconds = 0, bool Force = false)
{
    public const string Status = "status", Reset = "reset", Detach = "detach";
}

/// <summary>The line that comes back.</summary>
/// <param name="Error">What went wrong, a sentence; null when nothing did.</param>
/// <param name="Counters">For status: of each export, in the record's order.</param>
/// <param name="Holder">For reset, with an error: who uses the device, so that nothing was done.</param>
/// <param name="Clients">For reset: NBD clients that are connected, and may remember what was before.</param>
public sealed record ControlReply(string? Error, IReadOnlyList<ExportCounters>? Counters = null, string? Holder = null, int Clients = 0);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ServingRecord))]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlReply))]
internal sealed partial class ControlJson : JsonSerializerContext;
