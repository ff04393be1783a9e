using System.Globalization;

namespace Lincow.Linux;

/// <summary>
/// Finds out which process holds a file: OFD locks have no owner in the kernel's answer, but /proc shows whose descriptor carries one.
/// </summary>
internal static class LockHolder
{
    /// <summary>Longer than the kernel takes to end the requests of a process that was killed.</summary>
    private const int PatienceMilliseconds = 1000;

    /// <summary>
    /// Tries to take something, for a second when nobody alive is found that has it: after kill -9 the kernel ends a ring's requests in the
    /// background, and what their process held is held a moment longer. Null, and the holder if one was found, when it can't be had.
    /// </summary>
    public static T? Outlast<T>(Func<T?> tryTake, Func<string?> find, out string? holder)
        where T : class
    {
        var end = Environment.TickCount64 + PatienceMilliseconds;
        for (holder = null; ; Thread.Sleep(5))
        {
            if (tryTake() is { } taken)
                return taken;
            holder = find();
            if (holder is not null || Environment.TickCount64 >= end)
                return null;
        }
    }

    /// <summary>"process 1234 (lincow)", or null when no process that we may look into holds a lock on the file.</summary>
    public static string? Find(FileFacts file)
    {
        foreach (var process in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out var id)
                || id == Environment.ProcessId)
                continue;
            try
            {
                foreach (var descriptor in Directory.EnumerateFileSystemEntries(process + "/fd"))
                {
                    if (Holds(process, Path.GetFileName(descriptor), file))
                        return $"process {id} ({File.ReadAllText(process + "/comm").Trim()})";
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The process ended while we looked, or it belongs to somebody else.
            }
        }
        return null;
    }

    private static bool Holds(string process, string descriptor, FileFacts file)
    {
        if (!int.TryParse(descriptor, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            return false;
        var lines = File.ReadAllLines($"{process}/fdinfo/{descriptor}");
        // "lock:	1: OFDLCK  ADVISORY  WRITE -1 fe:00:1835023 84 84": device and inode of the locked file.
        // A block device's node lies on a file system of its own, whose number the facts don't hold.
        var inode = file.Kind == FileKind.BlockDevice ? $":{file.Inode} " : $" {file.Device.Major:x2}:{file.Device.Minor:x2}:{file.Inode} ";
        return lines.Any(line => line.StartsWith("lock:", StringComparison.Ordinal) && line.Contains("OFDLCK", StringComparison.Ordinal)
            && line.Contains(inode, StringComparison.Ordinal));
    }
}
