using System.Globalization;

namespace Lincow.Linux;

/// <summary>
/// Who may change the content of a file or block device at this moment: those who have mounted it for writing, under whatever device, and
/// those who have it open for writing. Who only reads is none of them. Found as far as this user may look; a process in another namespace
/// of processes is <see cref="DeviceHolders.Unseen"/>.
/// </summary>
internal sealed class FileWriters
{
    private const int SetLease = 1024, SetSignal = 10, ReadLease = 0, NoLease = 2, IgnoredSignal = 23;

    private readonly HashSet<string> _devices = [];
    private readonly HashSet<string> _mounts = [];
    private readonly HashSet<string> _loops = [];
    private readonly HashSet<string> _processes = [];

    private FileWriters()
    {
    }

    /// <summary>Places at which it is mounted for writing, and "swap": its content changes for certain.</summary>
    public IReadOnlyCollection<string> Mounts => _mounts;

    /// <summary>Loop devices over it that may be written to.</summary>
    public IReadOnlyCollection<string> Loops => _loops;

    /// <summary>Who has it open for writing, under whatever name: "process 12 (qemu)".</summary>
    public IReadOnlyCollection<string> Processes => _processes;

    /// <summary>Whether a file system lies on it.</summary>
    public bool IsUnder((uint Major, uint Minor) fileSystem) => _devices.Contains(Name(fileSystem));

    /// <summary>Looks at a file or block device.</summary>
    public static FileWriters Of(LinuxFile file)
    {
        var result = new FileWriters();
        var isDevice = file.Facts.Kind == FileKind.BlockDevice;
        if (!isDevice && HasNoWriter(file))
            return result;
        if (isDevice)
            result.AddDevice(file.Facts.Device);
        foreach (var loop in LoopBlockDevice.Over(file.Facts))
            result.AddLoop(loop);
        if (result._devices.Count > 0)
            result.AddMounts();
        result.AddProcesses(file.Facts, out var isOurs);
        if (!isDevice && !isOurs && result is { _mounts.Count: 0, _loops.Count: 0, _processes.Count: 0 } && IsWritten(file))
            result._processes.Add(DeviceHolders.Unseen);
        return result;
    }

    // The kernel knows at once: it gives a lease for reading only while nobody has the file open for writing. It is given back at once; who
    // comes in between waits for that, and the signal that says so is one that nobody minds.
    private static bool HasNoWriter(LinuxFile file) => TryLease(file) == 0;

    private static bool IsWritten(LinuxFile file) => TryLease(file) == -Errno.Again;

    private static int TryLease(LinuxFile file)
    {
        if (Libc.fcntl(file.Descriptor, SetSignal, IgnoredSignal) < 0 || Libc.fcntl(file.Descriptor, SetLease, ReadLease) < 0)
            return -Libc.LastError;
        _ = Libc.fcntl(file.Descriptor, SetLease, NoLease);
        return 0;
    }

    // With its partitions, and with what lies on top of it.
    private void AddDevice((uint, uint) device)
    {
        if (!_devices.Add(Name(device)) || new DirectoryInfo("/sys/dev/block/" + Name(device)).ResolveLinkTarget(returnFinalTarget: true)
            is not { FullName: var directory })
            return;
        try
        {
            foreach (var part in Directory.EnumerateDirectories(directory).Where(path => File.Exists(path + "/partition")))
                AddDevice(Number(part));
            foreach (var above in Directory.EnumerateFileSystemEntries(directory + "/holders"))
                AddDevice(Number(above));
            foreach (var loop in LoopBlockDevice.Over("/dev/" + Path.GetFileName(directory)))
                AddLoop(loop);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It has gone meanwhile.
        }
    }

    private void AddLoop(string loop)
    {
        var directory = "/sys/block/" + Path.GetFileName(loop);
        try
        {
            if (File.ReadAllText(directory + "/ro").Trim() != "0")
                return;
            _loops.Add(loop);
            AddDevice(Number(directory));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It has gone meanwhile.
        }
    }

    // In every namespace of mounts that is to be seen.
    private void AddMounts()
    {
        var seen = new HashSet<string>();
        foreach (var process in AllProcesses().Prepend("/proc/self"))
        {
            try
            {
                if (!seen.Add(new FileInfo(process + "/ns/mnt").LinkTarget ?? ""))
                    continue;
                // A carriage return may be part of a path.
                foreach (var line in File.ReadAllText(process + "/mountinfo").Split('\n'))
                    AddMount(line.Split(' '));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It has ended, or is somebody else's.
            }
        }
        foreach (var swap in File.Exists("/proc/swaps") ? File.ReadLines("/proc/swaps").Skip(1) : [])
        {
            if (LinuxPath.BlockDeviceAt(swap.Split(' ', '\t')[0]) is { } device && _devices.Contains(Name(device)))
                _mounts.Add("swap");
        }
    }

    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue: what counts is whether the file system, and not only
    // this mount of it, may be written to.
    private void AddMount(string[] fields)
    {
        var separator = Array.IndexOf(fields, "-");
        if (separator < 6 || fields.Length < separator + 4 || !fields[separator + 3].Split(',').Contains("rw"))
            return;
        var source = fields[separator + 2];
        if (_devices.Contains(fields[2]) || (source.StartsWith("/dev/", StringComparison.Ordinal)
            && LinuxPath.BlockDeviceAt(source) is { } device && _devices.Contains(Name(device))))
            _mounts.Add(MountTable.Unescape(fields[4]));
    }

    private void AddProcesses(FileFacts file, out bool isOurs)
    {
        isOurs = false;
        foreach (var process in AllProcesses())
        {
            try
            {
                foreach (var descriptor in Directory.EnumerateFileSystemEntries(process + "/fd"))
                {
                    if (!LeadsTo(descriptor, file) || !IsForWriting(process, Path.GetFileName(descriptor)))
                        continue;
                    var id = int.Parse(Path.GetFileName(process), CultureInfo.InvariantCulture);
                    isOurs |= id == Environment.ProcessId;
                    if (id != Environment.ProcessId)
                        _processes.Add(LinuxProcess.Describe(id));
                    break;
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It has ended, or is somebody else's.
            }
        }
    }

    private bool LeadsTo(string descriptor, FileFacts file) => LinuxPath.BlockDeviceAt(descriptor) is { } device
        ? _devices.Contains(Name(device))
        : file.Kind == FileKind.Regular && LinuxPath.FileAt(descriptor) == (file.Device, file.Inode);

    // "flags:	0100002", in octal: O_WRONLY is 1, O_RDWR is 2.
    private static bool IsForWriting(string process, string descriptor) =>
        File.ReadLines($"{process}/fdinfo/{descriptor}").FirstOrDefault(line => line.StartsWith("flags:", StringComparison.Ordinal))
            is { } line && line[^1] is not ('0' or '4');

    private static IEnumerable<string> AllProcesses() => Directory.EnumerateDirectories("/proc")
        .Where(path => int.TryParse(Path.GetFileName(path), NumberStyles.None, CultureInfo.InvariantCulture, out _));

    private static (uint, uint) Number(string directory)
    {
        var numbers = File.ReadAllText(directory + "/dev").Trim().Split(':');
        return (uint.Parse(numbers[0], CultureInfo.InvariantCulture), uint.Parse(numbers[1], CultureInfo.InvariantCulture));
    }

    private static string Name((uint Major, uint Minor) device) =>
        string.Create(CultureInfo.InvariantCulture, $"{device.Major}:{device.Minor}");
}
