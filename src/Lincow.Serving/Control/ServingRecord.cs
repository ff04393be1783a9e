using System.Text.Json.Serialization;
using Lincow.Linux;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Control;

/// <summary>What a process that serves overlays writes down about itself in the run directory.</summary>
/// <param name="Pid">The process.</param>
/// <param name="StartTime">When it was started, in the kernel's ticks (/proc/PID/stat, field 22): a process number alone comes round
/// again.</param>
/// <param name="Command">serve, run or attach.</param>
/// <param name="Since">When it began to serve.</param>
/// <param name="Exports">What it serves.</param>
/// <param name="Host">Which of the process's hosts it is; 0 the first.</param>
/// <param name="PidNamespace">Where the process has that number, as the kernel names it; null in records of older servers.</param>
internal sealed record ServingRecord(int Pid, long StartTime, string Command, DateTimeOffset Since, IReadOnlyList<ExportRecord> Exports,
    int Host = 0, string? PidNamespace = null)
{
    /// <summary>Whether its number means something here.</summary>
    [JsonIgnore]
    public bool IsOfThisNamespace => PidNamespace is null || PidNamespace == LinuxProcess.Namespace;

    /// <summary>"process 12 (lincow)"; of a process of another pid namespace, a container's for example, also which one.</summary>
    [JsonIgnore]
    public string Process => IsOfThisNamespace ? LinuxProcess.Describe(Pid)
        : LinuxProcess.FindInNamespace(PidNamespace!, Pid) is { } here ? $"{LinuxProcess.Describe(here)}, which is {Pid} in {PidNamespace}"
        : $"process {Pid} of another pid namespace, {PidNamespace}";

    /// <summary>The name of its files in the run directory, without an ending.</summary>
    [JsonIgnore]
    public string Id => Host == 0 ? $"{Pid}-{StartTime}" : $"{Pid}-{StartTime}-{Host}";
}

/// <summary>What is written down of one device that is served.</summary>
internal sealed record ExportRecord
{
    /// <summary>
    /// What the control socket knows it by: no other of the same host has, or had, it. Null in records of older servers: its index.
    /// </summary>
    public int? Id { get; init; }

    /// <summary>The export's name.</summary>
    public required string Name { get; init; }

    /// <summary>The overlay's path; null for a transient one.</summary>
    public string? Overlay { get; init; }

    /// <summary>The overlay's map, where it was named.</summary>
    public string? Map { get; init; }

    /// <summary>For a transient overlay: its origin.</summary>
    public string? Origin { get; init; }

    /// <summary>For an origin that is itself served for writing: its path.</summary>
    public string? LiveOrigin { get; init; }

    /// <summary>What it is, for people: the overlay's path, for example.</summary>
    [JsonIgnore]
    public string Description => Overlay ?? (LiveOrigin is not null ? "live origin " + LiveOrigin : "transient over " + Origin);

    /// <summary>The device's size in bytes.</summary>
    public long SizeBytes { get; init; }

    /// <summary>The device's logical sectors in bytes; null in records of older servers.</summary>
    public int? SectorBytes { get; init; }

    /// <summary>Whether writes are refused.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>Where clients connect: NBD URIs, vhost-user:PATH.</summary>
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

/// <summary>A line to the control socket.</summary>
/// <param name="Verb">status, reset or detach.</param>
/// <param name="Export">The export's <see cref="ExportRecord.Id"/>, for reset.</param>
/// <param name="WaitSeconds">For detach: how long those who hold the device may take to let go of it.</param>
/// <param name="Force">For reset: also after a commit that was cut off, and although somebody uses the device.</param>
internal sealed record ControlRequest(string Verb, int Export = 0, double WaitSeconds = 0, bool Force = false)
{
    public const string Status = "status", Reset = "reset", Detach = "detach";
}

/// <summary>The line that comes back.</summary>
/// <param name="Error">What went wrong, a sentence; null when nothing did.</param>
/// <param name="Counters">For status: of each export, in the order of <see cref="Exports"/>.</param>
/// <param name="Holder">For reset, with an error: who uses the device, so that nothing was done.</param>
/// <param name="Clients">For reset: NBD clients that are connected, and may remember what was before.</param>
internal sealed record ControlReply(string? Error, IReadOnlyList<ExportCounters>? Counters = null, string? Holder = null, int Clients = 0)
{
    /// <summary>The error as data; null when nothing went wrong, or the server is of a version that only had sentences.</summary>
    public ErrorDocument? Problem { get; init; }

    /// <summary>A reply that says what went wrong, as data and in words; or that nothing did.</summary>
    internal static ControlReply Of(LincowError? error, Func<LincowError, string>? describe = null) => error is null
        ? new ControlReply(Error: null)
        : new ControlReply(describe?.Invoke(error) ?? error.Message) { Problem = ErrorDocument.Of(error) };

    /// <summary>For status: the exports' <see cref="ExportRecord.Id"/>.</summary>
    public IReadOnlyList<int>? Exports { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ServingRecord))]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlReply))]
internal sealed partial class ControlJson : JsonSerializerContext;
