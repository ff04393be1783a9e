using System.Diagnostics;
using Lincow.Linux;
using Lincow.Serving.Control;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Serving.Attach;

/// <summary>Attaches by the kernel's NBD client, over connected sockets, without a handshake: both ends are made here.</summary>
internal sealed class NbdAttachWay : DriverAttachWay
{
    /// <summary>To open a device takes no time, unless the kernel waits for an answer that doesn't come.</summary>
    private static readonly TimeSpan OpenPatience = TimeSpan.FromSeconds(3);

    public override string Name => "nbd";

    public override string? WhyNot() => NbdBlockDevice.WhyNot();

    protected override DriverAttachment On(AttachTarget target) => new NbdAttachment(target);

    protected override string NewIdentity() => $"lincow-{Guid.NewGuid():N}";

    protected override bool IsWaiting(string device, string identity) => Find(identity) == device;

    protected override string? Find(string identity) => NbdBlockDevice.Find(identity);

    // While the kernel looks for partitions in a new device, whoever opens it waits with it: nobody has it open yet.
    protected override bool TryRemove(string device, string identity)
    {
        var claim = Task.Factory.StartNew(() => TryClaim(device), CancellationToken.None, TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        if (claim.Wait(OpenPatience))
            return claim.Result is { } held && NbdBlockDevice.TryDisconnect(held, identity);
        NbdBlockDevice.Disconnect(device);
        claim.Result?.Dispose();
        return true;
    }

    private static LinuxFile? TryClaim(string device)
    {
        try
        {
            return LinuxFile.Open(device, writable: false, exclusiveDevice: true);
        }
        catch (LinuxException)
        {
            return null;
        }
    }
}

/// <summary>
/// A device attached by NBD, over one connection: a queue of 128 requests in the kernel. With more than one the kernel takes a request that
/// lasts longer than its timer for a broken connection, closes that, and asks again on another (nbd_xmit_timeout in drivers/block/nbd.c): a
/// disk that stands still for some seconds would end one connection after the other, and then the device. Of a single connection it only
/// looks whether it is still the same.
/// </summary>
internal sealed class NbdAttachment(AttachTarget target) : DriverAttachment(target)
{
    /// <summary>How long requests wait for a server that died before they fail.</summary>
    private const ulong PatienceSeconds = 600;

    /// <summary>
    /// How long requests of a transient overlay wait for their answer: nobody takes its server's place, and a disk may stand still for a
    /// while.
    /// </summary>
    private const ulong TransientPatienceSeconds = 120;

    /// <summary>After kill -9 the kernel ends the old server's sockets in the background.</summary>
    private static readonly TimeSpan TakeOverPatience = TimeSpan.FromSeconds(30);

    private readonly NbdTerms _terms = new(new Export(target.Name, target.Device, target.Loop, target.Source));
    private readonly NbdMemory _memory = new(target.Loop);
    private int _open;

    protected override string Make(string identity)
    {
        // mutation: real-nbd-slow-request-ends-it
        var pairs = Pairs(1);
        foreach (var (ours, _) in pairs)
            Serve(ours);
        string? device = null;
        try
        {
            try
            {
                device = NbdBlockDevice.Connect([.. pairs.Select(pair => pair.Kernels)], Target.Device.SizeBytes, Target.Device.SectorBytes,
                    NbdTerms.TransmissionFlags(_terms.Export, structuredReplies: false),
                    Target.CanResume ? PatienceSeconds : TransientPatienceSeconds, Target.CanResume, identity);
            }
            finally
            {
                Close(pairs);
            }
            // Partitions are looked for when it is opened first: not by somebody who looks at it after a crash, and would wait for a
            // server. Nor by this process: if it was killed meanwhile, it would wait for itself.
            // mutation: real-server-waits-for-itself
            if (!LinuxBlockDevice.TryOpenElsewhere(device))
                LinuxFile.Open(device, writable: false).Dispose();
            if (!Target.Device.IsReadOnly)
                LinuxBlockDevice.AllowWrites(device);
            return device;
        }
        catch
        {
            if (device is not null)
                NbdBlockDevice.Disconnect(device);
            Server.Wait();
            throw;
        }
    }

    protected override void TakeOver(string device, ExportRecord left)
    {
        var time = Stopwatch.StartNew();
        for (var missing = NbdBlockDevice.ConnectionCount(device); missing > 0;)
        {
            var pairs = Pairs(missing);
            try
            {
                NbdBlockDevice.Reconnect(device, [.. pairs.Select(pair => pair.Kernels)], Target.Device.SizeBytes, left.Identity!);
            }
            finally
            {
                Close(pairs);
            }
            // One that took no dead one's place is hung up.
            foreach (var (ours, _) in pairs)
            {
                if (LinuxSocket.IsHungUp(ours))
                {
                    LinuxSocket.Close(ours);
                    continue;
                }
                Serve(ours);
                missing--;
            }
            if (missing == 0)
                return;
            if (time.Elapsed > TakeOverPatience)
                throw new LinuxException("NBD_CMD_RECONFIGURE", device, Errno.Busy);
            Thread.Sleep(10);
        }
    }

    protected override void Stop(string device) => NbdBlockDevice.Disconnect(device);

    protected override bool TryStop(LinuxFile claim, string identity) => NbdBlockDevice.TryDisconnect(claim, identity);

    private void Serve(int socket)
    {
        if (Interlocked.Increment(ref _open) == 1)
            Server.Begins();
        LinuxSocket.SetSendBufferBytes(socket, NbdProtocol.SendBufferBytes);
        Target.Loop.Post(() =>
        {
            if (NbdTransmission.TryOpen(Target.Loop, _memory, socket, _terms, [], Closed) is { } transmission)
                transmission.Start();
            else
                Closed();
        });
    }

    private void Closed()
    {
        if (Interlocked.Decrement(ref _open) == 0)
            Server.Ended();
    }

    private static List<(int Ours, int Kernels)> Pairs(int count)
    {
        var pairs = new List<(int, int)>();
        for (var i = 0; i < count; i++)
        {
            var pair = LinuxSocket.Pair();
            LinuxSocket.SetSendBufferBytes(pair.Second, NbdProtocol.SendBufferBytes);
            pairs.Add(pair);
        }
        return pairs;
    }

    // The kernel has its own hold on those that it took.
    private static void Close(List<(int Ours, int Kernels)> pairs)
    {
        foreach (var (_, kernels) in pairs)
            LinuxSocket.Close(kernels);
    }
}
