using Lincow.Cli.Output;
using Lincow.Linux;
using Lincow.Serving.Control;
using Lincow.Serving.Hosting;

namespace Lincow.Cli.Commands;

/// <summary>
/// Resets an overlay through the process that serves it, unless somebody uses the device in a way that would go on with what was there: a
/// mounted file system, a process that has the device or file open, a virtual machine. NBD clients are only told of.
///
/// Claim, then look: a block device is claimed first, so that nobody mounts it any more, then it is looked who has it open, also once more
/// after the reset, for a mere open needs no claim. Of files and virtual machines the server knows by itself, and looks on its loop, where
/// nobody comes in between.
/// </summary>
internal sealed class ServedReset(FoundExport found, bool force)
{
    /// <summary>Everything in flight has to end first.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>The kernel tells of a file that was closed, or a process that ended, a moment later.</summary>
    private const int HolderMilliseconds = 1000, LookAgainMilliseconds = 20;

    /// <summary>Throws <see cref="CommandException"/>.</summary>
    public void Run()
    {
        using var claim = Claim();
        DropCache();
        var reply = Ask();
        DropCache();
        if (reply.Clients > 0)
            CommandRunner.Warn($"{found.Export.Overlay}: NBD clients are connected ({reply.Clients}); what they remember of it is from "
                + "before the reset");
        if (found.Export.Device is { } device && DeviceHolders.Of(device) is { Count: > 0 } holders)
            CommandRunner.Warn($"{AttachedDevice.Describe(device, holders)}; what that has read may be from before the reset");
    }

    private LinuxFile? Claim()
    {
        if (found.Export.Device is not { } device)
            return null;
        try
        {
            var claim = LinuxBlockDevice.TryClaim(device, out var holders);
            return claim is null && !force
                ? throw new CommandException($"{AttachedDevice.Describe(device, holders)}. Unmount or end that first, then reset") : claim;
        }
        catch (LinuxException e)
        {
            throw new CommandException($"{e.Message}. Nothing was reset", e);
        }
    }

    private ControlReply Ask()
    {
        var end = Environment.TickCount64 + HolderMilliseconds;
        while (true)
        {
            var reply = ControlClient.Ask(found.Server.Record,
                new ControlRequest(ControlRequest.Reset, found.Export.Id ?? found.Index, Force: force), Patience)
                ?? throw new CommandException($"{found.Export.Overlay}: {found.Server.Record.Process} serves it and "
                    + "doesn't answer. Look at it with 'lincow status'");
            if (reply.Error is null)
                return reply;
            if (reply.Holder is null)
                throw new CommandException(ReplyText.Of(reply)!);
            if (Environment.TickCount64 >= end)
                throw new CommandException($"{Describe(reply.Holder)}. End that first, then reset; or add --force, and what it "
                    + "remembers is from before the reset");
            Thread.Sleep(LookAgainMilliseconds);
        }
    }

    private string Describe(string holder)
    {
        var names = found.Export.File is { } file ? DeviceHolders.Of(file).Where(name => name != found.Export.Device).ToList() : [];
        return AttachedDevice.Describe(found.Export.File ?? found.Export.Overlay ?? found.Export.Name, names.Count > 0 ? names : [holder]);
    }

    private void DropCache()
    {
        if (found.Export.Device is { } device)
            LinuxBlockDevice.DropCache(device);
    }
}
