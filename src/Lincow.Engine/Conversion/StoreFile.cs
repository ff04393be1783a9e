using Lincow.Linux;
using Lincow.Operations;

namespace Lincow.Conversion;

/// <summary>Files of other formats.</summary>
internal static class StoreFile
{
    /// <summary>Opens a store that nobody else is writing.</summary>
    public static LinuxFile Open(string path)
    {
        LinuxFile file;
        try
        {
            file = LinuxFile.Open(path, writable: false, exclusiveDevice: true);
        }
        catch (LinuxException e) when (e.Errno == Errno.Busy)
        {
            throw new LincowException($"{path}: the block device is in use (mounted, or part of a device-mapper device). Take it out of use first: 'dmsetup ls' shows who has it", e);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{path}: can't be opened: {e.Reason}", e);
        }
        // User-mode Linux locks its files as a whole; lincow has a byte of its own.
        if (!file.IsLockedElsewhere(0) && !file.IsLockedElsewhere(OriginFile.LockByte))
            return file;
        file.Dispose();
        throw new LincowException($"{path}: is in use by {LockHolder.Find(file.Facts) ?? "another process"}. Stop it first, so that what is read is one state");
    }
}
