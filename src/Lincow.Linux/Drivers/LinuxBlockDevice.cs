namespace Lincow.Linux;

/// <summary>What can be asked of any block device.</summary>
internal static unsafe class LinuxBlockDevice
{
    private const nuint FlushBuffers = 0x1261;

    /// <summary>Writes what is dirty, and forgets what the page cache holds of a device.</summary>
    public static void DropCache(string device)
    {
        using var block = LinuxFile.Open(device, writable: false);
        DropCache(block);
    }

    public static void DropCache(LinuxFile block) => _ = Libc.ioctl(block.Descriptor, FlushBuffers, 0);

    /// <summary>Whether there is anything behind a device: one without is there, but has no size.</summary>
    public static bool IsInUse(string device)
    {
        try
        {
            using var block = LinuxFile.Open(device, writable: false);
            return block.Facts.SizeBytes > 0;
        }
        catch (LinuxException)
        {
            return false;
        }
    }

    /// <summary>Opens a device so that nobody else can mount or claim it; null, with who has it, when somebody does.</summary>
    public static LinuxFile? TryClaim(string device, out List<string> holders)
    {
        LinuxFile claim;
        try
        {
            claim = LinuxFile.Open(device, writable: false, exclusiveDevice: true);
        }
        catch (LinuxException e) when (e.Errno == Errno.Busy)
        {
            holders = DeviceHolders.Of(device);
            if (holders.Count == 0)
                holders = [DeviceHolders.Unseen];
            return null;
        }
        holders = DeviceHolders.Of(device);
        if (holders.Count == 0)
            return claim;
        claim.Dispose();
        return null;
    }
}
