using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Hosting;

/// <summary>
/// What is opened and closed together, on one loop: an overlay; or a live origin, its snapshots before it. Each is closed once, however
/// often that is asked.
/// </summary>
/// <param name="thread">The loop's thread.</param>
/// <param name="exports">In the order in which they were named; the live origin is the last.</param>
/// <param name="origin">The live origin; null without one.</param>
internal sealed class ExportGroup(LoopThread thread, IReadOnlyList<Export> exports, LiveOrigin? origin)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<Export, Task<LincowException?>> _closing = [];

    public LoopThread Thread => thread;

    public IReadOnlyList<Export> Exports => exports;

    /// <summary>The live origin's export; it is closed before its snapshots.</summary>
    public Export? Origin => origin is null ? null : exports[^1];

    /// <summary>The overlays.</summary>
    public IEnumerable<Export> Overlays => exports.Where(export => export.Session is not null);

    /// <summary>Everything has been closed, well or not, or never will be.</summary>
    public bool IsClosed
    {
        get
        {
            lock (_gate)
                return thread.Loop.IsAbandoned || (_closing.Count == exports.Count && _closing.Values.All(task => task.IsCompleted));
        }
    }

    /// <summary>
    /// Nobody waits any longer for origins that take their time, or for room: see <see cref="OverlaySession.CancelWaits"/>.
    /// </summary>
    public void CancelWaits()
    {
        foreach (var export in Overlays)
            thread.Loop.Post(export.Session!.CancelWaits);
    }

    /// <summary>
    /// Closes one of the exports, on the loop, when no client of it is connected any more. Ends with what went wrong, or null.
    /// </summary>
    public Task<LincowException?> CloseAsync(Export export)
    {
        lock (_gate)
        {
            if (!_closing.TryGetValue(export, out var task))
                _closing[export] = task = thread.Loop.StartUntilEnded<LincowException?>(
                    export.Session is { } session ? session.CloseWhenPossible : CloseOrigin);
            return task;
        }
    }

    /// <summary>Lets go of an origin that could not be closed in order.</summary>
    public void Abandon() => origin?.Dispose();

    private void CloseOrigin(Action<LincowException?> done) =>
        origin!.Close([.. Overlays.Select(export => export.Session!)], thread.Loop, done);
}
