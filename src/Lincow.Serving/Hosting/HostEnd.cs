using System.Diagnostics;
using Lincow.Linux;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Hosting;

/// <summary>
/// The end of exports, each by itself, so that nobody waits for somebody else's disk: when its clients have their last answers, it is flushed and closed.
/// What hasn't ended in time is named and left as a crash would leave it.
/// </summary>
/// <param name="limit">What all of it may take.</param>
internal sealed class HostEnd(TimeSpan limit)
{
    /// <summary>What is in flight may wait for its origin this long; then it is answered with an error.</summary>
    private static readonly TimeSpan OriginPatience = TimeSpan.FromSeconds(1);

    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly List<string> _failures = [];

    /// <summary>Waits until all have ended, or the time is over. Returns what went wrong, a sentence each.</summary>
    /// <param name="groups">Each with what ends when no client of it is connected any more.</param>
    public async Task<List<string>> RunAsync(IEnumerable<(ExportGroup Group, Task IntakeEnded)> groups)
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
                Say(Unfinished(export));
            return;
        }
        if (group.Origin is { } origin)
            await CloseAsync(group, origin, "the origin stands still");
        await Task.WhenAll(group.Overlays.Select(export => CloseAsync(group, export, Unfinished(export))));
    }

    // A request over an origin that answers no more would keep its client, and so the export, for ever.
    private async Task<bool> IntakeEndsAsync(ExportGroup group, Task intakeEnded)
    {
        if (await InTime(intakeEnded, Left / 2 is var half && half < OriginPatience ? half : OriginPatience))
            return true;
        // mutation: dead-origin-keeps-its-export
        group.CancelReads();
        return await InTime(intakeEnded, Left);
    }

    private async Task CloseAsync(ExportGroup group, Export export, string otherwise)
    {
        var closed = group.CloseAsync(export);
        if (!await InTime(closed, Left))
            Say(otherwise);
        else if (await closed is { } failure)
            Say(failure.Message);
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

    private void Say(string failure)
    {
        lock (_failures)
            _failures.Add(failure);
    }

    private static string Unfinished(Export export) => export.IsLost
        ? $"{export.Subject}: an error of lincow itself ended it; what was written since the last flush is lost"
        : $"{export.Subject}: stands still, so it could not be flushed in time; what was written since the last flush is lost"
            + (export.Overlay is null ? "" : ". The overlay stays marked as in use, and is examined at the next open");
}
