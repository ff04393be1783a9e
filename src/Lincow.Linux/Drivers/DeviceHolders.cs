using System.Globalization;

namespace Lincow.Linux;

/// <summary>Who keeps a block device, or a file, from being taken away: mounts, swap, devices on top, open descriptors.</summary>
internal static class DeviceHolders
{
    /// <summary>A holder of whom nothing is to be found out: a process of another namespace, or the kernel.</summary>
    public const string Unseen = "somebody that can't be seen from here";

    private static readonly string Self = $"/proc/{Environment.ProcessId}";

    /// <summary>A sentence's part for each holder, for example "mounted on /mnt", "process 12 (qemu)". Empty when there is none.</summary>
    /// <param name="path">A block device, whose partitions count as it, or a file.</param>
    public static List<string> Of(string path)
    {
        var paths = new HashSet<string> { path };
        var numbers = new HashSet<string>();
        var holders = new List<string>();
        var system = "/sys/block/" + Path.GetFileName(path);
        if (path.StartsWith("/dev/", StringComparison.Ordinal) && Directory.Exists(system))
        {
            foreach (var part in (string[])[system, .. Directory.EnumerateDirectories(system, Path.GetFileName(path) + "p*")])
            {
                paths.Add("/dev/" + Path.GetFileName(part));
                numbers.Add(File.ReadAllText(part + "/dev").Trim());
                holders.AddRange(Directory.EnumerateFileSystemEntries(part + "/holders")
                    .Select(entry => "/dev/" + Path.GetFileName(entry)));
                // The loop driver says nothing of what it lies on.
                holders.AddRange(LoopBlockDevice.Over("/dev/" + Path.GetFileName(part)));
            }
        }
        else
        {
            holders.AddRange(LoopBlockDevice.Over(path));
        }
        holders.AddRange(File.ReadLines("/proc/swaps").Where(line => paths.Contains(line.Split(' ', '\t')[0])).Select(_ => "swap"));
        var namespaces = new HashSet<string>();
        foreach (var process in Processes())
        {
            Look(() =>
            {
                var mounts = new FileInfo(process + "/ns/mnt").LinkTarget ?? "";
                if (namespaces.Contains(mounts))
                    return;
                AddMounts(holders, process, paths, numbers);
                namespaces.Add(mounts);
            });
            Look(() =>
            {
                if (process != Self && HasOpen(process, paths))
                    holders.Add(LinuxProcess.Describe(int.Parse(Path.GetFileName(process), CultureInfo.InvariantCulture)));
            });
        }
        return [.. holders.Distinct()];
    }

    // A process may end while it is looked at, or belong to somebody else. What it doesn't show hides nothing of what it has shown.
    private static void Look(Action look)
    {
        try
        {
            look();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    // This one first: what is mounted here is named without a process.
    private static IEnumerable<string> Processes() => Directory.EnumerateDirectories("/proc")
        .Where(path => int.TryParse(Path.GetFileName(path), NumberStyles.None, CultureInfo.InvariantCulture, out _))
        .Prepend(Self);

    // Another name space shows much of what this one shows.
    private static void AddMounts(List<string> holders, string process, HashSet<string> paths, HashSet<string> numbers)
    {
        foreach (var mount in MountTable.Read(process + "/mountinfo"))
        {
            // Some file systems (btrfs) have device numbers of their own; their source is the device's path then.
            if (!numbers.Contains(mount.Device) && (numbers.Count == 0 || !IsOneOf(mount.Source, paths)))
                continue;
            var holder = $"mounted on {mount.Path}";
            if (!holders.Contains(holder))
                holders.Add(process == Self
                    ? holder
                    : $"{holder} where {LinuxProcess.Describe(int.Parse(Path.GetFileName(process), CultureInfo.InvariantCulture))} lives");
        }
    }

    private static bool IsOneOf(string source, HashSet<string> paths)
    {
        if (!source.StartsWith("/dev/", StringComparison.Ordinal))
            return false;
        if (paths.Contains(source))
            return true;
        // There may be nothing of that name: /dev/root is the kernel's own word, and any text is a source of tmpfs.
        string? target = null;
        Look(() => target = File.ResolveLinkTarget(source, returnFinalTarget: true)?.FullName);
        return target is not null && paths.Contains(target);
    }

    private static bool HasOpen(string process, HashSet<string> paths) =>
        Directory.EnumerateFileSystemEntries(process + "/fd")
            .Any(descriptor => new FileInfo(descriptor).LinkTarget is { } target && paths.Contains(target));
}
