namespace Lincow.Linux;

/// <summary>
/// Who keeps a block device, or a file, from being taken away: mounts, swap, devices on top, open descriptors. What is found here has a
/// name; whether there is anybody at all is the driver's to say, where it can.
/// </summary>
internal static class DeviceHolders
{
    /// <summary>A holder of whom nothing is to be found out: a process of another namespace, or the kernel.</summary>
    public const string Unseen = "somebody that can't be seen from here";

    /// <summary>Processes that are named; of a file system with a hundred the first few say enough.</summary>
    private const int MaxProcesses = 6;

    /// <summary>A sentence's part for each holder, for example "mounted on /mnt", "process 12 (qemu)". Empty when there is none.</summary>
    /// <param name="path">A block device, whose partitions count as it, or a file.</param>
    public static List<string> Of(string path)
    {
        var sought = SoughtDevice.At(path);
        List<string> holders = [.. OnTop(sought)];
        holders.AddRange(File.ReadLines("/proc/swaps").Select(line => line.Split(' ', '\t')[0])
            .Where(swap => sought.Paths.Contains(swap) || sought.IsDeviceAt(swap)).Select(_ => "swap"));
        holders.AddRange(Mounts(sought));
        holders.AddRange(Named(ProcessHolders.All().Where(process => process.Uses(sought))));
        return [.. holders.Distinct()];
    }

    /// <summary>
    /// For a device or file that somebody has, as the kernel says: looks where it takes longer, too, or can only be guessed. Never empty.
    /// </summary>
    public static List<string> OfHeld(string path)
    {
        var holders = Of(path);
        if (holders.Count > 0)
            return holders;
        var sought = SoughtDevice.At(path);
        holders.AddRange(Named(ProcessHolders.All().Where(process => process.UsesUnseen(sought))));
        holders.AddRange(FileSystems(sought));
        if (holders.Count == 0)
            holders.AddRange(PerhapsOf());
        return holders.Count > 0 ? holders : [Unseen];
    }

    /// <summary>
    /// Who may have any device: open files were sent to a socket and nobody has received them yet; whose they are can't be seen.
    /// </summary>
    public static List<string> PerhapsOf() => [.. Named(ProcessHolders.All().Where(process => process.HasQueuedDescriptors()))
        .Select(name => $"perhaps {name}: open files wait in a socket there")];

    private static IEnumerable<string> Named(IEnumerable<ProcessHolders> processes)
    {
        var all = processes.ToList();
        return all.Count <= MaxProcesses ? all.Select(process => process.Description)
            : [.. all.Take(MaxProcesses).Select(process => process.Description), $"{all.Count - MaxProcesses} more processes"];
    }

    private static IEnumerable<string> OnTop(SoughtDevice sought)
    {
        foreach (var part in sought.Directories)
        {
            foreach (var holder in Directory.EnumerateFileSystemEntries(part + "/holders").Select(Path.GetFileName))
                yield return NameOf(holder!);
        }
        // The loop driver says nothing of what it lies on.
        foreach (var loop in sought.Paths.SelectMany(LoopBlockDevice.Over).Concat(sought.Numbers.SelectMany(LoopBlockDevice.OverDevice)))
            yield return loop;
    }

    // A volume has a name that people gave it.
    private static string NameOf(string device)
    {
        var given = "";
        ProcessHolders.Look(() => given = File.ReadAllText($"/sys/block/{device}/dm/name").Trim());
        return given.Length > 0 ? $"/dev/mapper/{given} ({device})" : "/dev/" + device;
    }

    // Each name space once, with this process's own first: what is mounted here is named without a process. What another shows beyond that
    // is named with somebody who lives there.
    private static List<string> Mounts(SoughtDevice sought)
    {
        var (holders, spaces) = (new List<string>(), new HashSet<string>());
        foreach (var process in ProcessHolders.All().Prepend(ProcessHolders.Self))
        {
            ProcessHolders.Look(() =>
            {
                var space = new FileInfo(process.Directory + "/ns/mnt").LinkTarget ?? "";
                if (spaces.Contains(space))
                    return;
                foreach (var mount in MountTable.Read(process.Directory + "/mountinfo").Where(sought.IsMountOf))
                {
                    var holder = $"mounted on {mount.Path}";
                    if (!holders.Contains(holder))
                        holders.Add(process == ProcessHolders.Self ? holder : $"{holder} where {process.Description} lives");
                }
                spaces.Add(space);
            });
        }
        return holders;
    }

    // Each kind has a directory for each of its file systems that live, wherever they are mounted, or are no more.
    private static IEnumerable<string> FileSystems(SoughtDevice sought) => sought.Directories.Select(Path.GetFileName)
        .SelectMany(name => Directory.EnumerateDirectories("/sys/fs")
            .Where(kind => Directory.Exists($"{kind}/{name}")
                || Path.GetFileName(kind) == "btrfs"
                    && Directory.EnumerateDirectories(kind).Any(one => Path.Exists($"{one}/devices/{name}")))
            .Select(kind => $"a file system ({Path.GetFileName(kind)}) that no mount table here shows"));
}

/// <summary>What holders are looked for of: a block device with its partitions, or a file.</summary>
internal sealed class SoughtDevice
{
    private readonly (uint Major, uint Minor) _fileSystem;
    private readonly ulong _inode;

    private SoughtDevice(string path)
    {
        Paths.Add(path);
        var system = "/sys/block/" + Path.GetFileName(path);
        if (path.StartsWith("/dev/", StringComparison.Ordinal) && Directory.Exists(system))
        {
            Directories = [system, .. Directory.EnumerateDirectories(system, Path.GetFileName(path) + "p*")];
            foreach (var part in Directories)
            {
                Paths.Add("/dev/" + Path.GetFileName(part));
                Numbers.Add(Parse(File.ReadAllText(part + "/dev").Trim()));
            }
        }
        // Of a file of FUSE the mount table says which it is, also when its server is dead or stands still.
        else if (MountTable.Read("/proc/self/mountinfo").Find(mount => mount.Path == path) is { } mount)
            (_fileSystem, _inode) = (Parse(mount.Device), FileOfMount);
        else if (LinuxPath.Look(path) is { } file)
            (_fileSystem, _inode) = (file.FileSystem, file.Inode);
    }

    // Any, for there is but one.
    private const ulong FileOfMount = 0;

    /// <summary>Names of it and its partitions.</summary>
    public HashSet<string> Paths { get; } = [];

    /// <summary>A block device's and its partitions' numbers. None for a file.</summary>
    public HashSet<(uint Major, uint Minor)> Numbers { get; } = [];

    /// <summary>Directories in /sys of a block device and its partitions.</summary>
    public List<string> Directories { get; } = [];

    public static SoughtDevice At(string path) => new(path);

    /// <summary>Whether a path leads to it, by whatever node.</summary>
    public bool IsDeviceAt(string path) => LinuxPath.Look(path) is { BlockDevice: { } device } && Numbers.Contains(device);

    /// <summary>
    /// Whether what a path leads to is it, or lies on a file system on it: a file there keeps that file system, also where it isn't
    /// mounted any more.
    /// </summary>
    public bool IsAt(string path) => LinuxPath.Look(path) is { } seen && (seen.BlockDevice is { } device && Numbers.Contains(device)
        || Is(seen.FileSystem, seen.Inode));

    /// <summary>As <see cref="IsAt"/>, of a file whose numbers are known.</summary>
    public bool Is((uint Major, uint Minor) fileSystem, ulong inode) => Numbers.Contains(fileSystem)
        || _fileSystem != default && _fileSystem == fileSystem && (_inode == FileOfMount || _inode == inode);

    /// <summary>A mount of a file isn't: it is but one more name of it.</summary>
    public bool IsMountOf(MountEntry mount) => Numbers.Count > 0 && (Numbers.Contains(Parse(mount.Device))
        // Some file systems (btrfs) have device numbers of their own; their source is the device's path then.
        || mount.Source.StartsWith("/dev/", StringComparison.Ordinal) && (Paths.Contains(mount.Source) || IsDeviceAt(mount.Source)));

    /// <summary>"259:3".</summary>
    public static (uint Major, uint Minor) Parse(string numbers)
    {
        var fields = numbers.Split(':');
        return fields.Length == 2 && uint.TryParse(fields[0], out var major) && uint.TryParse(fields[1], out var minor) ? (major, minor)
            : default;
    }
}
