using System.Globalization;
using System.Security.Cryptography;
using Lincow.Linux;
using Lincow.Serving.Control;
using Lincow.Serving.Frontends.Ublk;

namespace Lincow.Serving.Attach;

/// <summary>Attaches by the kernel's ublk driver.</summary>
internal sealed class UblkAttachWay : DriverAttachWay
{
    public override string Name => "ublk";

    public override string? WhyNot() => UblkBlockDevice.WhyNot();

    protected override DriverAttachment On(AttachTarget target) => new UblkAttachment(target);

    protected override string NewIdentity() => Convert.ToHexString(RandomNumberGenerator.GetBytes(sizeof(ulong)));

    protected override bool IsWaiting(string device, string identity) =>
        UblkBlockDevice.Find(UblkAttachment.Number(identity)) == (device, true);

    protected override string? Find(string identity) => UblkBlockDevice.Find(UblkAttachment.Number(identity))?.Device;

    protected override bool TryRemove(string device, string identity)
    {
        if (DeviceHolders.PerhapsOf().Count > 0)
            return false;
        UblkBlockDevice.Stop(device);
        UblkBlockDevice.Delete(device);
        DeviceMark.Remove(device);
        return true;
    }
}

/// <summary>A device attached by ublk.</summary>
internal sealed class UblkAttachment(AttachTarget target) : DriverAttachment(target)
{
    /// <summary>A record's identity as the driver keeps it.</summary>
    public static ulong Number(string identity) => ulong.Parse(identity, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    protected override bool LooksForPartitions => false;

    protected override string Make(string identity)
    {
        if (!Target.Loop.HasCommands)
            throw new LinuxException("io_uring", "ublk", Errno.NotSupported);
        var device = Target.Device;
        // As for discards everywhere else: less than a page isn't worth a request.
        var grain = (int)Math.Clamp(device.Geometry.ChunkBytes, 4096, 1 << 20);
        var block = UblkBlockDevice.Add(new UblkShape(device.SizeBytes, grain, device.MaxZeroBytes, device.CanDiscard, device.IsReadOnly,
            Target.CanResume, device.SectorBytes), Number(identity));
        Serve(block);
        try
        {
            DeviceMark.Make(block.Path);
            block.Start();
            return block.Path;
        }
        catch
        {
            UblkBlockDevice.Stop(block.Path);
            Server.Wait();
            UblkBlockDevice.Delete(block.Path);
            DeviceMark.Remove(block.Path);
            throw;
        }
    }

    protected override void TakeOver(string device, ExportRecord left)
    {
        var block = UblkBlockDevice.Recover(device);
        Serve(block);
        block.EndRecovery();
    }

    protected override void Stop(string device) => UblkBlockDevice.Stop(device);

    // The driver takes it away under whoever has it open, and doesn't say whether anybody has: what can't be looked at may be one of them.
    protected override bool TryStop(LinuxFile claim, string identity)
    {
        if (DeviceHolders.PerhapsOf().Count > 0)
            return false;
        UblkBlockDevice.Stop(claim.Path);
        return true;
    }

    protected override void Finish(string device)
    {
        UblkBlockDevice.Delete(device);
        DeviceMark.Remove(device);
    }

    private void Serve(UblkBlockDevice block)
    {
        var server = new UblkServer(Target.Loop, Target.Device, block, Target.Log);
        Server.Begins();
        Target.Loop.Post(() => server.Start(Server.Ended));
    }
}
