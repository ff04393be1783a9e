using Lincow.Linux;
using Lincow.Serving.Control;
using Lincow.Serving.Frontends.Fuse;

namespace Lincow.Serving.Attach;

/// <summary>
/// Attaches by FUSE: a file in the run directory whose content is the device, and for root a loop device with direct I/O over it, with a
/// link in /dev/lincow.
/// </summary>
internal sealed class FuseAttachWay : IAttachWay
{
    public string Name => "fuse";

    public string? WhyNot() => FuseConnection.WhyNot();

    public IAttachment Attach(AttachTarget target)
    {
        var attachment = new FuseAttachment(target);
        try
        {
            attachment.Begin();
            return attachment;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            attachment.Abandon();
            throw new LincowException(AttachErrors.Failed(target.Name, "FUSE", e), e);
        }
        catch
        {
            attachment.Abandon();
            throw;
        }
    }

    /// <summary>Never: the kernel fails what is asked of a FUSE file without a server.</summary>
    public bool IsWaiting(ExportRecord export) => false;

    public IAttachment Resume(AttachTarget target, ExportRecord export) => throw new NotSupportedException();

    public List<string> Clean(ExportRecord export)
    {
        if (export.File is not { } file || !RunDirectory.Holds(file))
            return [];
        var devices = LoopBlockDevice.Over(file);
        // Reading its own directory entry is all that is still possible on a mount without a server.
        var holders = devices.SelectMany(DeviceHolders.Of).Concat(DeviceHolders.Of(file).Except(devices)).Distinct().ToList();
        if (holders.Count > 0)
            return holders;
        foreach (var device in devices)
        {
            if (!TryDetachLoop(device, file, out holders))
                return holders;
        }
        DeviceLink.Remove(export.Link, export.Device);
        if (FuseConnection.IsMounted(file) && !FuseConnection.TryUnmount(file))
            return [$"the mount on {file}"];
        // The empty file that was mounted over.
        if (new FileInfo(file) is { Exists: true, LinkTarget: null, Length: 0 } && LinuxPath.IsOwnedByThisUser(file))
            File.Delete(file);
        return [];
    }

    /// <summary>Takes a loop device away from over a file, unless somebody has it open.</summary>
    public static bool TryDetachLoop(string device, string file, out List<string> holders)
    {
        holders = DeviceHolders.Of(device);
        if (holders.Count > 0)
            return false;
        try
        {
            if (LoopBlockDevice.TryDetach(device, file))
                return true;
        }
        catch (LinuxException e) when (e.Errno != Errno.Busy)
        {
            holders = [e.Message];
            return false;
        }
        catch (LinuxException)
        {
            // Somebody has claimed it.
        }
        holders = DeviceHolders.OfHeld(device);
        return false;
    }
}

/// <summary>
/// A device attached by FUSE. The order of things: file, mount, server, loop device, link; detaching goes back the same way.
/// </summary>
internal sealed class FuseAttachment(AttachTarget target) : IAttachment
{
    /// <summary>The kernel tells of an unmount at once.</summary>
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(2);

    private readonly ServerEnd _server = new(target);
    private string? _file, _link;
    private FuseServer? _fuse;
    private bool _isMounted;

    public string? Device { get; private set; }

    public string Path => Device ?? _file ?? "";

    // The loop device has it open once.
    public int OpenCount => _fuse is { } server ? server.OpenCount - (Device is null ? 0 : 1) : 0;

    public void Begin()
    {
        var name = MakeFile();
        target.Note(export => export with { Via = "fuse", File = _file });
        var connection = FuseConnection.Mount(target.Source, _file!, target.Device.IsReadOnly, target.AllowRoot);
        _isMounted = true;
        var owner = new FuseOwner(LinuxPath.ThisUser, LinuxPath.ThisGroup);
        var server = _fuse = new FuseServer(target.Loop, target.Device, connection.Descriptor, owner, target.Log);
        _server.Begins();
        target.Loop.Post(() => server.Start(_server.Ended));
        if (LoopBlockDevice.WhyNot() is not null)
            return;
        Device = LoopBlockDevice.Attach(_file!, target.Device.SectorBytes, target.Device.IsReadOnly, target.Scan != PartitionScan.None);
        _link = DeviceLink.Make(name, Device);
        target.Note(export => export with { Device = Device, Link = _link });
        if (target.Scan != PartitionScan.None)
            Partitions.Complete(Device, target);
    }

    public bool TryDetach(out List<string> holders)
    {
        // The server itself knows how often the file is open, whoever has it; from this moment on nobody opens it any more.
        if (!target.Loop.Invoke(() => OpenCount <= 0 && RefuseOpens(true)))
        {
            holders = DeviceHolders.OfHeld(_file!).Except([Device]).OfType<string>().DefaultIfEmpty(DeviceHolders.Unseen).ToList();
            return false;
        }
        if (Device is { } device && !FuseAttachWay.TryDetachLoop(device, _file!, out holders))
        {
            target.Loop.Invoke(() => RefuseOpens(false));
            return false;
        }
        DeviceLink.Remove(_link, Device);
        DeviceNode.RemoveMade(Device ?? "");
        Device = null;
        _server.IsExpected = true;
        if (_isMounted && !FuseConnection.TryUnmount(_file!))
        {
            holders = [$"the mount on {_file}"];
            return false;
        }
        _isMounted = false;
        // Without root, a copy of the mount in another namespace may keep the connection; it ends with this process.
        _server.TryWait(EndPatience);
        File.Delete(_file!);
        holders = [];
        return true;
    }

    private bool RefuseOpens(bool refuse)
    {
        _fuse!.RefuseOpens(refuse);
        return true;
    }

    /// <summary>After a failure: nobody can hold it yet.</summary>
    public void Abandon()
    {
        _server.IsExpected = true;
        if (Device is { } device)
            FuseAttachWay.TryDetachLoop(device, _file!, out _);
        DeviceLink.Remove(_link, Device);
        DeviceNode.RemoveMade(Device ?? "");
        if (_isMounted)
        {
            FuseConnection.TryUnmount(_file!);
            _server.TryWait(EndPatience);
        }
        if (_file is not null)
            File.Delete(_file);
    }

    // The name is free for the link as well then, but for what others than lincow may have put there.
    private string MakeFile()
    {
        var directory = RunDirectory.Open().Path;
        for (var number = 1; ; number++)
        {
            var name = number == 1 ? target.Name : $"{target.Name}-{number}";
            var path = System.IO.Path.Combine(directory, name + ".img");
            try
            {
                LinuxFile.CreateNew(path).Dispose();
                _file = path;
                return name;
            }
            catch (LinuxException e) when (e.Errno == Errno.Exists && number < DeviceLink.MaxSameNames)
            {
                // Another device has the name.
            }
        }
    }
}
