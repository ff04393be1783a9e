using System.Globalization;
using System.Security.Cryptography;
using Lincow.Frontends.Control;
using Lincow.Frontends.Ublk;
using Lincow.Linux;

namespace Lincow.Frontends.Attach;

/// <summary>Attaches by the kernel's ublk driver.</summary>
internal sealed class UblkAttachWay : IAttachWay
{
    public string Name => "ublk";

    public string? WhyNot() => UblkBlockDevice.WhyNot();

    public IAttachment Attach(AttachTarget target)
    {
        var attachment = new UblkAttachment(target);
        attachment.Begin(this, Convert.ToHexString(RandomNumberGenerator.GetBytes(sizeof(ulong))), null);
        return attachment;
    }

    public bool IsWaiting(ServedExport export) => export is { Device: { } device, Identity: { } identity } && UblkBlockDevice.Find(UblkAttachment.Number(identity)) == (device, true);

    public IAttachment Resume(AttachTarget target, ServedExport export)
    {
        if (export.SizeBytes != target.Device.SizeBytes || export.ReadOnly != target.Device.IsReadOnly)
            throw new LincowException($"{export.Device}: waits for its server, but had another size or was {(export.ReadOnly ? "" : "not ")}read-only. Take it away with 'lincow detach --stale', then attach");
        var attachment = new UblkAttachment(target);
        attachment.Begin(this, export.Identity!, export);
        return attachment;
    }

    public List<string> Clean(ServedExport export)
    {
        if (export.Identity is { } identity && UblkBlockDevice.Find(UblkAttachment.Number(identity)) is (var device, _))
        {
            if (DeviceHolders.Of(device) is { Count: > 0 } holders)
                return holders;
            UblkBlockDevice.Stop(device);
            UblkBlockDevice.Delete(device);
        }
        DeviceLink.Remove(export.Link);
        return [];
    }
}

/// <summary>A device attached by ublk.</summary>
internal sealed class UblkAttachment(AttachTarget target) : DriverAttachment(target)
{
    /// <summary>A record's identity as the driver keeps it.</summary>
    public static ulong Number(string identity) => ulong.Parse(identity, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    protected override string Make(string identity)
    {
        if (!Target.Loop.HasCommands)
            throw new LinuxException("io_uring", "ublk", Errno.NotSupported);
        var device = Target.Device;
        // As for discards everywhere else: less than a page isn't worth a request.
        var grain = (int)Math.Clamp(device.Geometry.ChunkBytes, 4096, 1 << 20);
        var block = UblkBlockDevice.Add(new UblkShape(device.SizeBytes, grain, device.MaxZeroBytes, device.CanDiscard, device.IsReadOnly, Target.CanResume), Number(identity));
        Serve(block);
        try
        {
            block.Start();
            return block.Path;
        }
        catch
        {
            UblkBlockDevice.Stop(block.Path);
            AwaitServer();
            UblkBlockDevice.Delete(block.Path);
            throw;
        }
    }

    protected override void TakeOver(string device, string identity)
    {
        var block = UblkBlockDevice.Recover(device);
        Serve(block);
        block.EndRecovery();
    }

    protected override void Stop(string device) => UblkBlockDevice.Stop(device);

    protected override void Finish(string device) => UblkBlockDevice.Delete(device);

    private void Serve(UblkBlockDevice block)
    {
        var server = new UblkServer(Target.Loop, Target.Device, block, Target.Log);
        ServerBegins();
        Target.Loop.Post(() => server.Start(ServerEnded));
    }
}
