using Lincow.Linux;
using Lincow.Serving.Control;

namespace Lincow.Serving.Attach;

/// <summary>
/// A device whose driver asks this process directly: what NBD and ublk have in common. The order of things: record, server, device, link;
/// detaching goes back the same way. The device outlives a server that dies, and a server that is started anew takes it over.
/// </summary>
internal abstract class DriverAttachment(AttachTarget target) : IAttachment
{
    private string? _link;
    private string _identity = "";

    public string? Device { get; private set; }

    public string Path => Device ?? "";

    public int OpenCount => 0;

    protected AttachTarget Target => target;

    protected ServerEnd Server { get; } = new(target);

    /// <summary>Makes the device, or takes over the one of this path.</summary>
    public void Begin(IAttachWay way, string identity, ExportRecord? left)
    {
        // What waits in the device was asked of one as it was: of another, it would fail.
        // mutation: taken-over-as-another-device (2 lines)
        if (left is not null && (left.SizeBytes != target.Device.SizeBytes || left.ReadOnly != target.Device.IsReadOnly
            || (left.SectorBytes ?? target.Device.SectorBytes) != target.Device.SectorBytes))
            throw new LincowException(AttachErrors.WaitingDeviceDiffers(left.Device, left.ReadOnly));
        target.Device.OutlivesServer |= target.CanResume;
        _identity = identity;
        // Before anything is made: who cleans up finds it by its identity.
        target.Note(export => export with { Via = way.Name, Identity = identity, Device = left?.Device, Link = left?.Link });
        try
        {
            if (left is null)
            {
                Device = Make(identity);
                _link = DeviceLink.Make(target.Name, Device);
                target.Note(export => export with { Device = Device, Link = _link });
            }
            else
            {
                (Device, _link) = (left.Device, left.Link);
                TakeOver(left.Device!, left);
                _link ??= DeviceLink.Make(target.Name, Device!);
                target.Note(export => export with { Link = _link });
            }
            if (target.Scan != PartitionScan.None || !LooksForPartitions)
                Partitions.Complete(Device!, target);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Abandon(left is null);
            throw new LincowException(AttachErrors.Failed(target.Name, way.Name, e), e);
        }
        catch
        {
            Abandon(left is null);
            throw;
        }
    }

    public bool TryDetach(out List<string> holders)
    {
        holders = [];
        if (Device is not { } device)
            return true;
        try
        {
            using var claim = LinuxBlockDevice.TryClaim(device, out holders);
            if (claim is null)
                return false;
            LinuxBlockDevice.DropCache(claim);
            Server.IsExpected = true;
            if (!TryStop(claim, _identity))
            {
                Server.IsExpected = false;
                holders = DeviceHolders.OfHeld(device);
                return false;
            }
        }
        catch (LinuxException e) when (File.Exists(device))
        {
            holders = [e.Message];
            return false;
        }
        catch (LinuxException)
        {
            // Somebody else took it away.
        }
        Server.Wait();
        try
        {
            Finish(device);
        }
        catch (LinuxException e) when (e.Errno == Errno.NoSuchDevice)
        {
            // As above.
        }
        DeviceLink.Remove(_link, device);
        DeviceNode.RemoveMade(device);
        Device = null;
        return true;
    }

    /// <summary>Makes a device; returns its path. Leaves nothing behind when it throws.</summary>
    protected abstract string Make(string identity);

    /// <summary>Whether the kernel makes devices of the partitions by itself.</summary>
    protected virtual bool LooksForPartitions => true;

    /// <summary>Serves a device whose server has died.</summary>
    /// <param name="device">Its path.</param>
    /// <param name="left">What that server wrote down of it.</param>
    protected abstract void TakeOver(string device, ExportRecord left);

    /// <summary>Ends the device: no request comes any more. For one that nobody can have found yet.</summary>
    protected abstract void Stop(string device);

    /// <summary>Ends the device unless somebody else has it open; false when somebody has.</summary>
    /// <param name="claim">The device, so that nobody mounts it meanwhile. May be closed.</param>
    /// <param name="identity">What it is known by.</param>
    protected abstract bool TryStop(LinuxFile claim, string identity);

    /// <summary>What is left to do when the server has let go of it.</summary>
    protected virtual void Finish(string device)
    {
    }

    // A device that could not be taken over goes on waiting.
    private void Abandon(bool isNew)
    {
        Server.IsExpected = true;
        if (isNew && Device is { } device)
        {
            Stop(device);
            Server.Wait();
            Finish(device);
            DeviceLink.Remove(_link, device);
            DeviceNode.RemoveMade(device);
        }
    }
}
