using Lincow.Linux;

namespace Lincow.Serving.Attach;

/// <summary>Links in /dev/lincow, so that a device has a name that stays.</summary>
internal static class DeviceLink
{
    private const string Directory = "/dev/lincow";

    /// <summary>Names are tried with -2, -3 and so on behind them.</summary>
    public const int MaxSameNames = 10_000;

    /// <summary>The link's path; null where there can be none, for it is only a convenience.</summary>
    public static string? Make(string name, string device)
    {
        try
        {
            System.IO.Directory.CreateDirectory(Directory);
            for (var number = 1; number <= MaxSameNames; number++)
            {
                var path = Path.Combine(Directory, number == 1 ? name : $"{name}-{number}");
                if (TryMake(path, device))
                    return path;
            }
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Removes the link that leads to a device, and nothing else that a path may name.</summary>
    public static void Remove(string? path, string? device)
    {
        if (path is null || Path.GetDirectoryName(path) != Directory || new FileInfo(path).LinkTarget is not { } target || target != device)
            return;
        File.Delete(path);
        try
        {
            System.IO.Directory.Delete(Directory);
        }
        catch (IOException)
        {
            // Others are in it.
        }
    }

    // One that leads to a device in use is somebody else's, or was left behind by a server of another run directory.
    private static bool TryMake(string path, string device)
    {
        if (new FileInfo(path).LinkTarget is { } target)
        {
            if (File.Exists(path) && LinuxPath.IsBlockDevice(path) && target != device && LinuxBlockDevice.IsInUse(path))
                return false;
            File.Delete(path);
        }
        else if (File.Exists(path))
        {
            return false;
        }
        File.CreateSymbolicLink(path, device);
        return true;
    }
}
