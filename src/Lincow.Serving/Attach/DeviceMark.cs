namespace Lincow.Serving.Attach;

/// <summary>
/// Says whose a device is before it is there, for the udev rule (packaging/59-lincow.rules): an empty file of the device's name. Only for
/// ublk, whose devices show nothing that would tell.
/// </summary>
internal static class DeviceMark
{
    private const string Directory = "/run/lincow-devices";

    public static void Make(string device)
    {
        try
        {
            System.IO.Directory.CreateDirectory(Directory);
            File.WriteAllBytes(PathOf(device), []);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The rule doesn't know the device then.
        }
    }

    public static void Remove(string device)
    {
        try
        {
            File.Delete(PathOf(device));
            if (System.IO.Directory.Exists(Directory) && !System.IO.Directory.EnumerateFileSystemEntries(Directory).Any())
                System.IO.Directory.Delete(Directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Others are in it.
        }
    }

    private static string PathOf(string device) => Path.Combine(Directory, Path.GetFileName(device));
}
