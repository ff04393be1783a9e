using System.ComponentModel;
using System.Diagnostics;

namespace Lincow.Linux;

/// <summary>What can be asked of any block device.</summary>
internal static unsafe class LinuxBlockDevice
{
    private const nuint FlushBuffers = 0x1261, SetReadOnly = 0x125d;

    /// <summary>Writes what is dirty, and forgets what the page cache holds of a device.</summary>
    public static void DropCache(string device)
    {
        using var block = LinuxFile.Open(device, writable: false);
        DropCache(block);
    }

    public static void DropCache(LinuxFile block) => _ = Libc.ioctl(block.Descriptor, FlushBuffers, 0);

    /// <summary>
    /// Has another process open a device, which may wait for this one's answers, and waits for it. False where there is no shell for that.
    /// </summary>
    public static bool TryOpenElsewhere(string device)
    {
        try
        {
            using var shell = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", ": <\"$0\"", device])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            shell.WaitForExit();
            return shell.ExitCode == 0;
        }
        catch (Win32Exception)
        {
            return false;
        }
    }

    /// <summary>
    /// Takes back what <c>blockdev --setro</c> did to a number: the kernel keeps that, whatever device has the number next. Whether writes
    /// are refused is the device's own to say.
    /// </summary>
    public static void AllowWrites(string device)
    {
        using var block = LinuxFile.Open(device, writable: false);
        var readOnly = 0;
        // mutation: real-read-only-for-whoever-is-next
        _ = Libc.ioctl(block.Descriptor, SetReadOnly, (nint)(&readOnly));
    }

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
            holders = DeviceHolders.OfHeld(device);
            return null;
        }
        holders = DeviceHolders.Of(device);
        if (holders.Count == 0)
            return claim;
        claim.Dispose();
        return null;
    }
}
