using Lincow.Device;
using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Serving.Attach;

/// <summary>Whether partitions in a device become devices too.</summary>
internal enum PartitionScan
{
    None,

    /// <summary>Those that there are.</summary>
    IfAny,

    /// <summary>Somebody asked for them, and is told when there are none.</summary>
    Wanted,
}

/// <summary>A device that is to be attached.</summary>
/// <param name="Loop">The loop that owns it. What a way calls on it runs there; everything else runs on the caller's thread.</param>
/// <param name="Device">The device.</param>
/// <param name="Name">For the file and the link; a file name without ending.</param>
/// <param name="Source">What it is made of, for mount tables: a path.</param>
/// <param name="CanResume">Whether another server can go on with it, should this one die: not if its content dies too.</param>
/// <param name="Scan">Whether partitions in it become devices too.</param>
/// <param name="AllowRoot">Whether a user's file is there for root, too.</param>
/// <param name="Note">Writes down what has been, or is about to be, made: before it is made, so that somebody can clean up after a
/// crash.</param>
/// <param name="Log">Takes sentences for people.</param>
/// <param name="Ended">Called, from any thread, when the attachment has come to its end by itself.</param>
internal sealed record AttachTarget(IoLoop Loop, BlockDevice Device, string Name, string Source, bool CanResume, PartitionScan Scan,
    bool AllowRoot, Action<Func<ExportRecord, ExportRecord>> Note, Action<string> Log, Action Ended);

/// <summary>A way to give this machine a device whose content lincow serves. One file a way.</summary>
internal interface IAttachWay
{
    /// <summary>As in --via, and in the record.</summary>
    string Name { get; }

    /// <summary>Why it doesn't work here; null when it does.</summary>
    string? WhyNot();

    /// <summary>Attaches. On failure nothing is left behind. Throws <see cref="LincowException"/>.</summary>
    IAttachment Attach(AttachTarget target);

    /// <summary>
    /// Whether a device that a server left behind when it died waits for another one, with whatever is asked of it meanwhile.
    /// </summary>
    bool IsWaiting(ExportRecord export);

    /// <summary>Serves such a device from here on; whoever holds it has noticed nothing. Throws <see cref="LincowException"/>.</summary>
    IAttachment Resume(AttachTarget target, ExportRecord export);

    /// <summary>Takes away what a server that died left behind. The holders that keep it from that; none when nothing is left.</summary>
    List<string> Clean(ExportRecord export);
}

/// <summary>An attached device.</summary>
internal interface IAttachment
{
    /// <summary>The block device, where there is one.</summary>
    string? Device { get; }

    /// <summary>What users use: the block device, or else the file.</summary>
    string Path { get; }

    /// <summary>
    /// How often others have it open, as far as the server itself sees that: of a file, not of a block device, which everybody can look at
    /// (<see cref="Linux.DeviceHolders"/>). On the loop's thread.
    /// </summary>
    int OpenCount { get; }

    /// <summary>
    /// Goes on with detaching, and returns true when nothing of it is left. Otherwise says who holds it, or nothing when the kernel only
    /// needs a moment; to be tried again.
    /// </summary>
    bool TryDetach(out List<string> holders);
}

/// <summary>The ways there are, the best one first.</summary>
internal static class AttachWays
{
    public static IReadOnlyList<IAttachWay> All { get; } = [new UblkAttachWay(), new NbdAttachWay(), new FuseAttachWay()];

    public const string Automatic = "auto";

    /// <summary>
    /// The way of a name; or for <see cref="Automatic"/> those that work here, the best one first, for what works may fail all the same.
    /// Throws <see cref="LincowException"/> where there is none.
    /// </summary>
    /// <param name="name">As in --via.</param>
    /// <param name="reasons">Why it isn't a better one: gets a part of a sentence for each.</param>
    public static IReadOnlyList<IAttachWay> Choose(string name, List<string> reasons)
    {
        if (name != Automatic)
        {
            var way = Find(name)
                ?? throw new LincowException(AttachErrors.WayUnknown(name, string.Join(", ", All.Select(way => way.Name))));
            return way.WhyNot() is { } reason ? throw new LincowException(AttachErrors.WayImpossible(name, reason)) : [way];
        }
        var ways = new List<IAttachWay>();
        foreach (var way in All)
        {
            if (way.WhyNot() is { } reason)
                reasons.Add($"{way.Name}: {reason}");
            else
                ways.Add(way);
        }
        return ways.Count > 0 ? ways : throw new LincowException(AttachErrors.NothingAttaches(string.Join("; ", reasons)));
    }

    /// <summary>Attaches by the first way that does. Throws <see cref="LincowException"/>; nothing is left behind then.</summary>
    /// <param name="ways">Those to try.</param>
    /// <param name="target">What to attach.</param>
    /// <param name="reasons">As for <see cref="Choose"/>.</param>
    public static (IAttachWay Way, IAttachment Attachment) Attach(IReadOnlyList<IAttachWay> ways, AttachTarget target, List<string> reasons)
    {
        foreach (var way in ways.SkipLast(1))
        {
            try
            {
                return (way, way.Attach(target));
            }
            catch (LincowException e) when (e.Error.Code == LincowErrorCode.AttachFailed)
            {
                reasons.Add($"{way.Name}: {e.Error.Facts.First(fact => fact.Name == "reason").Text}");
                target.Device.OutlivesServer = false;
                target.Note(export => export with { Via = null, Identity = null, Device = null, File = null, Link = null });
            }
        }
        return (ways[^1], ways[^1].Attach(target));
    }

    public static IAttachWay? Find(string? name) => All.FirstOrDefault(way => way.Name == name);
}
