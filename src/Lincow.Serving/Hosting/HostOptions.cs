using Lincow.Operations;

namespace Lincow.Serving.Hosting;

/// <summary>How a <see cref="Host"/> serves.</summary>
public sealed record HostOptions
{
    /// <summary>What it serves for, as <c>lincow status</c> shows it: serve, run, attach, or a program's own word.</summary>
    public string Command { get; init; } = "serve";

    /// <summary>
    /// Takes sentences for people: damage, failures, what clients did wrong. Called from any thread, and must not wait. By default they are
    /// dropped.
    /// </summary>
    public Action<string> Log { get; init; } = static _ => { };

    /// <summary>
    /// Puts errors into words, for <see cref="Log"/> and for those who ask over the control socket: with advice in a program's own terms.
    /// By default it is the error's neutral sentence.
    /// </summary>
    public Func<LincowError, string> Describe { get; init; } = static error => error.Message;

    /// <summary>
    /// What stopping, and removing an export, may take whatever stands still: by default 30 s, which is longer than a disk takes over a bad
    /// sector and shorter than service managers wait.
    /// </summary>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(DefaultStopSeconds);

    /// <summary>What happens after an exception on a loop.</summary>
    public LoopFaultPolicy LoopFaults { get; init; } = LoopFaultPolicy.OthersGoOn;

    /// <summary>
    /// Whether other processes of this user find the host: by a record in the run directory and a control socket
    /// (<see cref="Control.RunDirectory"/>), from the first listener on. <c>lincow status</c> and <c>lincow reset</c> look there.
    /// </summary>
    public bool IsRegistered { get; init; } = true;

    /// <summary>
    /// Whether a kernel's device that waits for its server doesn't keep an overlay from being opened: for whoever goes on with the device.
    /// </summary>
    internal bool TakesOverDevices { get; init; }

    /// <summary>The default of <see cref="StopTimeout"/>, in seconds.</summary>
    internal const int DefaultStopSeconds = 30;

    internal void Report(LincowError error) => Log(Describe(error));
}

/// <summary>
/// What happens after an exception on a loop, which is an error of lincow itself. Its exports are lost in any case, as after kill -9: half
/// a turn's state can't be trusted, what is on disk can.
/// </summary>
public enum LoopFaultPolicy
{
    /// <summary>
    /// Exports on other loops are served on. Where there are none, the process ends, so that whoever watches it starts it again.
    /// </summary>
    OthersGoOn,

    /// <summary>The process ends: for devices of the kernel's, which wait for a new server.</summary>
    ProcessEnds,
}

/// <summary>What is served as one export.</summary>
public sealed record ExportOptions
{
    /// <summary>The overlay, and how it is opened.</summary>
    public required OverlayOptions Overlay { get; init; }

    /// <summary>The export's name; null for the overlay's file name without its ending, or the origin's for a transient overlay.</summary>
    public string? Name { get; init; }
}

/// <summary>An origin that is served for writing, with snapshots that keep what it was (dm's snapshot-origin).</summary>
public sealed record LiveOriginOptions
{
    /// <summary>The origin's path: a file or a block device that nobody else uses.</summary>
    public required string Origin { get; init; }

    /// <summary>The export's name; null for the origin's file name without its ending.</summary>
    public string? Name { get; init; }

    /// <summary>Its snapshots, opened with <see cref="OverlayOptions.OriginIsLive"/>; at least one.</summary>
    public required IReadOnlyList<ExportOptions> Snapshots { get; init; }
}
