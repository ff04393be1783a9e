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

    /// <summary>After this time somebody who waits for holders hears so.</summary>
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(1);

    private readonly BlockingCollection<EndRequest> _requests = [];
    private readonly Host _host;
    private IAttachment? _attachment;

    private AttachedDevice(Host host) => _host = host;

    /// <summary>The block device; null where it is a file.</summary>
    public string? Device => _attachment!.Device;

    /// <summary>The block device's path, or else the file's.</summary>
    public string Path => _attachment!.Path;

    /// <summary>Attaches an export. Throws <see cref="LincowException"/>; nothing is left behind then.</summary>
    /// <param name="host">The host; its loops should have been started by a thread that is fit for it
    /// (<see cref="LinuxProcess.TryBecomeIoFlusher"/>).</param>
    /// <param name="export">An overlay of the host's.</param>
    /// <param name="way">How.</param>
    /// <param name="name">The name of the link or file; null for the export's.</param>
    /// <param name="scanPartitions">Whether partitions in it become devices too.</param>
    /// <param name="waiting">A device of the same overlay that waits for a server: it is taken over, in its own way.</param>
    public static AttachedDevice Attach(Host host, Export export, IAttachWay way, string? name, bool scanPartitions,
        ExportRecord? waiting = null)
    {
        var attached = new AttachedDevice(host);
        // Memory that the device's own thread needs must not wait for the device.
        export.Loop.Post(() => LinuxProcess.TryBecomeIoFlusher());
        export.OpenCount = () => attached._attachment?.OpenCount ?? 0;
        host.OnDetach = (waitSeconds, reply) => attached._requests.Add(new EndRequest(waitSeconds, reply));
        var source = export.Overlay is { } overlay ? LinuxPath.Full(overlay) : OriginReference.Parse(export.Origin!).Place;
        var target = new AttachTarget(export.Loop, export.Device, AttachName.Of(name ?? export.Name), source, export.Overlay is not null,
            scanPartitions, change => host.NoteAttachment(export, change), host.Options.Log, attached.End);
        try
        {
            attached._attachment = waiting is null ? way.Attach(target) : way.Resume(target, waiting);
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
    public void End() => _requests.Add(new EndRequest(NoLimit, null));

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
        long retry = 0, look = 0;
        while (true)
        {
            if (_requests.TryTake(out var request, waiting.Count > 0 ? Pause(waiting, Math.Max(retry, look * LookShare))
                : Timeout.Infinite))
            {
                waiting.Add(request);
                retry = 0;
            }
            retry = Math.Clamp(retry * 2, FirstRetryMilliseconds, LastRetryMilliseconds);
            var started = Environment.TickCount64;
            var isDetached = _attachment!.TryDetach(out var holders);
            look = Environment.TickCount64 - started;
            if (isDetached)
                return error => waiting.ForEach(each => each.Reply?.Invoke(error));
            if (holders.Count == 0)
                continue;
            // Who asked over the control socket has a limit, and hears who holds it; a signal has none.
            waiting.RemoveAll(each =>
            {
                if (each.Age < TimeSpan.FromSeconds(each.WaitSeconds))
                    return false;
                each.Reply?.Invoke(HostErrors.DeviceHeld(Path, string.Join(", ", holders)));
                return true;
            });
            if (!hasComplained && waiting.Exists(each => each.Age > Silence))
            {
                hasComplained = true;
                _host.Options.Log($"{Describe(Path, holders)}; waiting until that has ended");
            }
        }
    }

    /// <summary>Not beyond the moment at which somebody is to hear how it stands.</summary>
    private static int Pause(List<EndRequest> waiting, long milliseconds) =>
        (int)Math.Clamp(waiting.Min(each => (TimeSpan.FromSeconds(each.WaitSeconds) - each.Age).TotalMilliseconds), 1, milliseconds);

    /// <summary>A sentence that names holders.</summary>
    public static string Describe(string path, List<string> holders) => HostErrors.DeviceHeld(path, string.Join(", ", holders)).Message;

    private sealed record EndRequest(double WaitSeconds, Action<LincowError?>? Reply)
    {
        private readonly long _start = Environment.TickCount64;

        public TimeSpan Age => TimeSpan.FromMilliseconds(Environment.TickCount64 - _start);
    }
}
