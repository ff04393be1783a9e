using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Serving.Attach;

/// <summary>
/// What ways through a driver that asks this process directly have in common. The driver keeps a device whose server has died, under the
/// identity that the device was given, and lets another server take it over.
/// </summary>
internal abstract class DriverAttachWay : IAttachWay
{
    public abstract string Name { get; }

    public abstract string? WhyNot();

    public IAttachment Attach(AttachTarget target)
    {
        var attachment = On(target);
        attachment.Begin(this, NewIdentity(), null);
        return attachment;
    }

    // A server that was killed while it made its device has written down no more than the identity.
    public bool IsWaiting(ExportRecord export) => export.Identity is { } identity && Find(identity) is { } device
        && IsWaiting(device, identity);

    public IAttachment Resume(AttachTarget target, ExportRecord export)
    {
        var attachment = On(target);
        attachment.Begin(this, export.Identity!, export with { Device = Find(export.Identity!) ?? export.Device });
        return attachment;
    }

    public List<string> Clean(ExportRecord export)
    {
        if (export.Identity is { } identity && Find(identity) is { } device)
        {
            if (DeviceHolders.Of(device) is { Count: > 0 } holders)
                return holders;
            if (!TryRemove(device, identity))
                return DeviceHolders.OfHeld(device);
        }
        DeviceLink.Remove(export.Link, export.Device);
        return [];
    }

    protected abstract DriverAttachment On(AttachTarget target);

    /// <summary>One that no other device has.</summary>
    protected abstract string NewIdentity();

    protected abstract bool IsWaiting(string device, string identity);

    /// <summary>The device of an identity, if there is one.</summary>
    protected abstract string? Find(string identity);

    /// <summary>Takes away a device without a server; false when somebody has it open.</summary>
    protected abstract bool TryRemove(string device, string identity);
}
