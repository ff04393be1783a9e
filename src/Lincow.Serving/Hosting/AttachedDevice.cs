using System.Collections.Concurrent;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Serving.Attach;
using Lincow.Serving.Control;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Hosting;

/// <summary>
/// An export of a <see cref="Host"/> that is attached to this machine, the only one of its process, and what asks it to go: signals and
/// <c>lincow detach</c>.
/// </summary>
internal sealed class AttachedDevice
{
    /// <summary>
    /// How long to wait before looking again whether somebody holds it: doubled each time, for a detach mostly succeeds at once.
    /// </summary>
    private const int FirstRetryMilliseconds = 10, LastRetryMilliseconds = 1000;

    /// <summary>
    /// A look goes through all descriptors of all processes. It takes at most this part of the time, so much more is waited in between.
    /// </summary>
    private const int LookShare = 20;

    /// <summary>Forever: a signal. TimeSpan has no infinity.</summary>
    private const double NoLimit = 1e9;

    /// <summary>
    /// A request of a device that lasts so long stands still, as far as somebody who waits is concerned: disks try a bad sector for some
    /// seconds.
    /// </summary>
    private static readonly TimeSpan Standstill = TimeSpan.FromSeconds(10);

    /// <summary>After this time somebody who waits for holders hears so.</summary>
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(1);

    /// <summary>What comes: an <see cref="EndRequest"/>, or an <see cref="Attempt"/> that has ended.</summary>
    private readonly BlockingCollection<object> _events = [];
    private readonly Host _host;
    private readonly Export _export;
    private IAttachment? _attachment;

    private AttachedDevice(Host host, Export export) => (_host, _export) = (host, export);

    /// <summary>How it was attached.</summary>
    public IAttachWay Way { get; private set; } = AttachWays.All[0];

    /// <summary>The block device; null where it is a file.</summary>
    public string? Device => _attachment!.Device;

    /// <summary>The block device's path, or else the file's.</summary>
    public string Path => _attachment!.Path;

    /// <summary>Attaches an export. Throws <see cref="LincowException"/>; nothing is left behind then.</summary>
    /// <param name="host">The host; its loops should have been started by a thread that is fit for it
    /// (<see cref="LinuxProcess.TryBecomeIoFlusher"/>).</param>
    /// <param name="export">An overlay of the host's.</param>
    /// <param name="ways">How: by the first of these that does.</param>
    /// <param name="reasons">Gets why it wasn't an earlier one.</param>
    /// <param name="shape">What it shall be like.</param>
    /// <param name="waiting">A device of the same overlay that waits for a server: it is taken over, in its own way.</param>
    public static AttachedDevice Attach(Host host, Export export, IReadOnlyList<IAttachWay> ways, List<string> reasons,
        AttachedShape shape, ExportRecord? waiting = null)
    {
        var attached = new AttachedDevice(host, export);
        // Memory that the device's own thread needs must not wait for the device.
        export.Loop.Post(() => LinuxProcess.TryBecomeIoFlusher());
        export.OpenCount = () => attached._attachment?.OpenCount ?? 0;
        host.OnDetach = (waitSeconds, reply) => attached._events.Add(new EndRequest(waitSeconds, reply));
        var source = export.Overlay is { } overlay ? LinuxPath.Full(overlay) : OriginReference.Parse(export.Origin!).Place;
        var target = new AttachTarget(export.Loop, export.Device, AttachName.Of(shape.Name ?? export.Name), source,
            export.Overlay is not null, shape.Scan, shape.AllowRoot, change => host.NoteAttachment(export, change),
            host.Options.Log, attached.End);
        try
        {
            (attached.Way, attached._attachment) = waiting is null ? AttachWays.Attach(ways, target, reasons)
                : (ways[0], ways[0].Resume(target, waiting));
        }
        catch
        {
            (export.OpenCount, host.OnDetach) = (null, null);
            throw;
        }
        // Not before everything is there: what is swapped out until now may stay so.
        // mutation: real-memory-not-locked
        LinuxProcess.TryLockMemory();
        return attached;
    }

    /// <summary>Asks it to go as soon as nobody holds it any more. From any thread.</summary>
    public void End() => _events.Add(new EndRequest(NoLimit, null));

    /// <summary>
    /// Waits until somebody asks it to go and nobody holds it; then stops its host, and tells them how that went. Throws as
    /// <see cref="Host.StopAsync"/>.
    /// </summary>
    public void WaitAndStopHost()
    {
        var reply = WaitForEnd();
        _host.Stop(reply).GetAwaiter().GetResult();
    }

    /// <summary>Waits until somebody asks it to go and nobody holds it. Returns a way to tell them how the rest went.</summary>
    private Action<LincowError?> WaitForEnd()
    {
        var waiting = new List<EndRequest>();
        var hasComplained = false;
        Attempt? running = null;
        long retry = 0, next = 0;
        while (true)
        {
            _events.TryTake(out var come, waiting.Count == 0 && running is null ? Timeout.Infinite : Pause(waiting, running, next));
            if (come is EndRequest asked)
            {
                waiting.Add(asked);
                (retry, next) = (0, 0);
            }
            else if (come is Attempt { IsDetached: true })
                return error => waiting.ForEach(each => each.Reply?.Invoke(error));
            else if (come is Attempt ended)
            {
                running = null;
                TellThoseWhoWaitedLongEnough(waiting, ended);
                retry = Math.Clamp(retry * 2, FirstRetryMilliseconds, LastRetryMilliseconds);
                next = Environment.TickCount64 + Math.Max(retry, ended.LastedMilliseconds * LookShare);
                if (!hasComplained && waiting.Exists(each => each.Age > Silence))
                {
                    hasComplained = true;
                    _host.Options.Log($"{Describe(Path, ended.Holders)}; waiting until that has ended");
                }
            }
            if (running is not null)
                TellThoseWhoWaitForWhatStandsStill(waiting, running);
            else if (waiting.Count > 0 && (Environment.TickCount64 >= next || waiting.Exists(each => each.IsOver)))
                running = Begin([.. waiting]);
        }
    }

    // On a thread of its own: it may wait for the kernel, and for a disk, for as long as these like.
    private Attempt Begin(List<EndRequest> askers)
    {
        var attempt = new Attempt(askers, _export.RequestCount);
        _ = Task.Factory.StartNew(() =>
        {
            try
            {
                attempt.IsDetached = _attachment!.TryDetach(out attempt.Holders);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                attempt.Holders = [e.Message];
            }
            attempt.LastedMilliseconds = attempt.Age;
            _events.Add(attempt);
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        return attempt;
    }

    // Who asked over the control socket has a limit, and hears who holds it, once that was looked at for them; a signal has none. What
    // keeps the device without a name holds it, too.
    private void TellThoseWhoWaitedLongEnough(List<EndRequest> waiting, Attempt ended) => waiting.RemoveAll(each =>
    {
        if (!each.IsOver || !ended.Askers.Contains(each))
            return false;
        each.Reply?.Invoke(HostErrors.DeviceHeld(Path, string.Join(", ", ended.Holders.DefaultIfEmpty(DeviceHolders.Unseen))));
        return true;
    });

    // As long as requests of the device are answered, the kernel is writing what it had of it in memory, and that may take its time.
    private void TellThoseWhoWaitForWhatStandsStill(List<EndRequest> waiting, Attempt running)
    {
        running.Note(_export.RequestCount);
        if (running.StillFor < Standstill)
            return;
        waiting.RemoveAll(each =>
        {
            if (each.IsOver)
                each.Reply?.Invoke(HostErrors.DeviceStandsStill(Path, (long)running.StillFor.TotalSeconds));
            return each.IsOver;
        });
    }

    /// <summary>Until the next attempt, or the moment at which somebody is to hear how it stands.</summary>
    private static int Pause(List<EndRequest> waiting, Attempt? running, long next)
    {
        var milliseconds = running is null ? next - Environment.TickCount64 : LastRetryMilliseconds;
        foreach (var each in waiting.Where(each => !each.IsOver))
            milliseconds = Math.Min(milliseconds, (long)Math.Min(each.Left.TotalMilliseconds + 1, int.MaxValue));
        return (int)Math.Clamp(milliseconds, 1, LastRetryMilliseconds * LookShare);
    }

    /// <summary>A sentence that names holders.</summary>
    public static string Describe(string path, List<string> holders) => HostErrors.DeviceHeld(path, string.Join(", ", holders)).Message;

    private sealed class EndRequest(double waitSeconds, Action<LincowError?>? reply)
    {
        private readonly long _start = Environment.TickCount64;

        public Action<LincowError?>? Reply { get; } = reply;

        public TimeSpan Age => TimeSpan.FromMilliseconds(Environment.TickCount64 - _start);

        public TimeSpan Left => TimeSpan.FromSeconds(waitSeconds) - Age;

        public bool IsOver => Left <= TimeSpan.Zero;
    }

    /// <summary>One try to take the device away.</summary>
    private sealed class Attempt(List<EndRequest> askers, long requestCount)
    {
        private readonly long _start = Environment.TickCount64;
        private long _moved = Environment.TickCount64, _requestCount = requestCount;

        /// <summary>Those it was begun for.</summary>
        public List<EndRequest> Askers { get; } = askers;

        public bool IsDetached { get; set; }

        public List<string> Holders = [];

        public long LastedMilliseconds { get; set; }

        public long Age => Environment.TickCount64 - _start;

        public TimeSpan StillFor => TimeSpan.FromMilliseconds(Environment.TickCount64 - _moved);

        public void Note(long requestCount)
        {
            if (requestCount != _requestCount)
                (_requestCount, _moved) = (requestCount, Environment.TickCount64);
        }
    }
}

/// <summary>What an attached device shall be like.</summary>
/// <param name="Name">The name of the link or file; null for the export's.</param>
/// <param name="Scan">Whether partitions in it become devices too.</param>
/// <param name="AllowRoot">Whether a user's file is there for root, too.</param>
internal sealed record AttachedShape(string? Name = null, PartitionScan Scan = PartitionScan.None, bool AllowRoot = false);
