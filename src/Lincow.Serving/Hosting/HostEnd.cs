using System.Diagnostics;
using Lincow.Linux;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Hosting;

/// <summary>
/// The end of exports, each by itself, so that nobody waits for somebody else's disk: when its clients have their last answers, it is
/// flushed and closed. What hasn't ended in time is named and left as a crash would leave it.
/// </summary>
/// <param name="limit">What all of it may take.</param>
internal sealed class HostEnd(TimeSpan limit)
{
    /// <summary>What is in flight may wait for its origin this long; then it is answered with an error.</summary>
    private static readonly TimeSpan OriginPatience = TimeSpan.FromSeconds(1);

    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly List<LincowError> _failures = [];

    /// <summary>Waits until all have ended, or the time is over. Returns what went wrong.</summary>
    /// <param name="groups">Each with what ends when no client of it is connected any more.</param>
    public async Task<List<LincowError>> RunAsync(IEnumerable<(ExportGroup Group, Task IntakeEnded)> groups)
    {
        await Task.WhenAll(groups.Select(each => EndAsync(each.Group, each.IntakeEnded)));
        return _failures;
    }

    /// <summary>What is left of the time.</summary>
    public TimeSpan Left => limit - Stopwatch.GetElapsedTime(_start) is { Ticks: > 0 } left ? left : TimeSpan.Zero;

    /// <summary>Waits for a thread itself; one that stands still ends with the process.</summary>
    public void StopThread(LoopThread thread) => thread.TryStop(TimeSpan.FromMilliseconds(Math.Max(100, Left.TotalMilliseconds)));

    private async Task EndAsync(ExportGroup group, Task intakeEnded)
    {
        // mutation: closed-under-its-clients
        if (group.Thread.Loop.IsAbandoned || !await IntakeEndsAsync(group, intakeEnded))
        {
            foreach (var export in group.Overlays)
                Say(Unflushed(export));
            return;
        }
        if (group.Origin is { } origin)
            await CloseAsync(group, origin, HostErrors.OriginStandsStill());
        await Task.WhenAll(group.Overlays.Select(export => CloseAsync(group, export, Unflushed(export))));
    }

    // A request over an origin that answers no more would keep its client, and so the export, for ever.
    private async Task<bool> IntakeEndsAsync(ExportGroup group, Task intakeEnded)
    {
        if (await InTime(intakeEnded, Left / 2 is var half && half < OriginPatience ? half : OriginPatience))
            return true;
        // mutation: dead-origin-keeps-its-export
        group.CancelWaits();
        return await InTime(intakeEnded, Left);
    }

    private async Task CloseAsync(ExportGroup group, Export export, LincowError otherwise)
    {
        var closed = group.CloseAsync(export);
        if (!await InTime(closed, Left))
            Say(otherwise);
        else if (await closed is { } failure)
            Say(failure.Error);
    }

    private static async Task<bool> InTime(Task task, TimeSpan patience)
    {
        try
        {
            await task.WaitAsync(patience);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private void Say(LincowError failure)
    {
        lock (_failures)
            _failures.Add(failure);
    }

    private static LincowError Unflushed(Export export) => HostErrors.Unflushed(export.Overlay, export.Subject, export.IsLost);
}
