using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Lincow.Linux;

/// <summary>Block devices of the kernel's loop driver over a file (linux/loop.h).</summary>
internal static unsafe class LoopBlockDevice
{
    private const string Control = "/dev/loop-control";
    private const nuint GetFree = 0x4c82, ClearDescriptor = 0x4c01, SetStatus = 0x4c04, GetStatus = 0x4c05, Configure = 0x4c0a;
    private const uint ReadOnlyFlag = 1, AutoClear = 4, PartitionScan = 8, DirectIo = 16;
    private const int NoSuchDevice = 6;

    /// <summary>Others may take the free device before us, again and again.</summary>
    private const int MaxTries = 64;

    /// <summary>Why there can be no loop device; null when there can.</summary>
    public static string? WhyNot() =>
        !LinuxProcess.IsMachineRoot ? "a block device takes root" : !File.Exists(Control) ? $"there is no {Control} (modprobe loop)"
            : null;

    /// <summary>
    /// Makes a block device of a file with direct I/O, so that nothing is cached twice. Returns its path. Throws
    /// <see cref="LinuxException"/>.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="sectorBytes">Its logical sectors.</param>
    /// <param name="readOnly">Whether writes are refused.</param>
    /// <param name="scanPartitions">Whether partitions in it become devices too.</param>
    public static string Attach(string path, int sectorBytes, bool readOnly, bool scanPartitions)
    {
        using var control = LinuxFile.Open(Control, writable: true);
        using var file = LinuxFile.Open(path, writable: !readOnly);
        for (var attempt = 0; ; attempt++)
        {
            var number = Libc.ioctl(control.Descriptor, GetFree, 0);
            if (number < 0)
                throw new LinuxException("ioctl(LOOP_CTL_GET_FREE)", Control, Libc.LastError);
            var device = string.Create(CultureInfo.InvariantCulture, $"/dev/loop{number}");
            DeviceNode.Need(device);
            if (!readOnly)
                LinuxBlockDevice.AllowWrites(device);
            using var block = LinuxFile.Open(device, writable: !readOnly);
            var config = new LoopConfiguration
            {
                Descriptor = file.Descriptor,
                BlockBytes = (uint)sectorBytes,
                Flags = DirectIo | (readOnly ? ReadOnlyFlag : 0) | (scanPartitions ? PartitionScan : 0),
            };
            // For losetup; the kernel shows the whole path in sysfs.
            var name = Encoding.UTF8.GetBytes(path);
            name.AsSpan(0, Math.Min(name.Length, LoopConfiguration.NameBytes - 1))
                .CopyTo(new Span<byte>(config.Name, LoopConfiguration.NameBytes));
            if (Libc.ioctl(block.Descriptor, Configure, (nint)(&config)) == 0)
                return device;
            if (Libc.LastError != Errno.Busy || attempt == MaxTries)
                throw new LinuxException("ioctl(LOOP_CONFIGURE)", device, Libc.LastError);
        }
    }

    /// <summary>
    /// Takes the file away from a device, if nobody else has the device open; false when somebody has. Throws
    /// <see cref="LinuxException"/>, with EBUSY when it is mounted, or part of another device.
    /// </summary>
    public static bool TryDetach(string device, string file)
    {
        using (var claim = LinuxFile.Open(device, writable: false, exclusiveDevice: true))
        {
            // Somebody may have the number for a file of their own by now.
            if (!IsBehind(file, device))
                return true;
            // What the page cache holds of the device goes to the file first.
            LinuxBlockDevice.DropCache(claim);
            _ = Libc.ioctl(claim.Descriptor, ClearDescriptor, 0);
        }
        using var block = LinuxFile.Open(device, writable: false);
        return !IsBehind(file, device) || !IsKept(block);
    }

    // By its path; or in another mount namespace, where that reads differently, by its numbers.
    private static bool IsBehind(string file, string device) => Over(file).Contains(device)
        || FileOf("/sys/block/" + Path.GetFileName(device)) is { } behind && LinuxPath.Look(file) is { } named
            && (behind.Device, behind.Inode) == (named.FileSystem, named.Inode);

    // Where somebody else has it open the driver has noted that it is to go with the last of them: whoever asked for it is told that it is
    // in use, and it mustn't go behind their back.
    private static bool IsKept(LinuxFile block)
    {
        var status = stackalloc byte[LoopConfiguration.InfoBytes];
        if (Libc.ioctl(block.Descriptor, GetStatus, (nint)status) != 0)
            return Libc.LastError != NoSuchDevice;
        // mutation: real-loop-goes-with-its-holder
        *(uint*)(status + LoopConfiguration.InfoFlagsAt) &= ~AutoClear;
        return Libc.ioctl(block.Descriptor, SetStatus, (nint)status) == 0 || Libc.LastError != NoSuchDevice;
    }

    /// <summary>
    /// The devices that a file is behind, whatever it is called: as the driver knows it, or where that can't be asked, as what the recorded
    /// path leads to.
    /// </summary>
    public static List<string> Over(FileFacts file)
    {
        var devices = new List<string>();
        foreach (var directory in Directory.EnumerateDirectories("/sys/block", "loop*"))
        {
            if (FileOf(directory) is { } behind
                && (file.Kind == FileKind.BlockDevice ? AreOneDisk(behind.BlockDevice, file.Device) : behind.IsFile(file)))
                devices.Add("/dev/" + Path.GetFileName(directory));
        }
        return devices;
    }

    /// <summary>What is behind a loop device or a partition of one. Null for any other device.</summary>
    public static LoopFile? FileBehind(LinuxFile device) =>
        DirectoryOfDisk(device.Facts.Device) is { } directory ? FileOf(directory) : null;

    // Loops over a partition, or over the disk of one, share bytes with it.
    private static bool AreOneDisk((uint, uint) one, (uint, uint) other) =>
        one != default && (one == other || IsDiskOf(one, other) || IsDiskOf(other, one));

    private static bool IsDiskOf((uint, uint) disk, (uint, uint) part) =>
        DirectoryOfDisk(part) is { } directory && File.ReadAllText(directory + "/dev").Trim() == Name(disk);

    /// <summary>The directory in /sys of a disk, or of the disk of a partition; null when there is no such device.</summary>
    private static string? DirectoryOfDisk((uint, uint) device)
    {
        if (new DirectoryInfo("/sys/dev/block/" + Name(device)).ResolveLinkTarget(returnFinalTarget: true) is not { FullName: var real })
            return null;
        return File.Exists(real + "/partition") ? Path.GetDirectoryName(real) : real;
    }

    private static string Name((uint Major, uint Minor) device) =>
        string.Create(CultureInfo.InvariantCulture, $"{device.Major}:{device.Minor}");

    // One line feed ends it; others are the path's.
    private static string BackingFile(string directory) =>
        File.ReadAllText(directory + "/loop/backing_file") is var text && text.EndsWith('\n') ? text[..^1] : text;

    private static LoopFile? FileOf(string directory)
    {
        var device = "/dev/" + Path.GetFileName(directory);
        string path;
        try
        {
            path = BackingFile(directory);
        }
        catch (IOException)
        {
            // Not in use, or no loop device.
            return null;
        }
        try
        {
            using var block = LinuxFile.Open(device, writable: false);
            var status = stackalloc ulong[LoopConfiguration.InfoBytes / sizeof(ulong)];
            if (Libc.ioctl(block.Descriptor, GetStatus, (nint)status) == 0)
                return new LoopFile(path, device, Numbers(status[0]), status[1], Numbers(status[2]));
        }
        catch (LinuxException)
        {
            // Only root may ask the driver.
        }
        return LinuxPath.Identity(path) is { } named ? new LoopFile(path, device, named.Device, named.Inode, default) : null;

        static (uint Major, uint Minor) Numbers(ulong encoded) =>
            ((uint)(encoded >> 8 & 0xfff), (uint)(encoded & 0xff | encoded >> 12 & 0xfff00));
    }

    /// <summary>The devices that a file of this path is behind, also when its server is dead.</summary>
    public static List<string> Over(string path) => Over(file => file == path || file == path + " (deleted)");

    /// <summary>The devices that a block device of these numbers is behind, by whatever node.</summary>
    public static List<string> OverDevice((uint Major, uint Minor) device) => Over(file => LinuxPath.Look(file)?.BlockDevice == device);

    private static List<string> Over(Func<string, bool> isSought)
    {
        var devices = new List<string>();
        foreach (var directory in Directory.EnumerateDirectories("/sys/block", "loop*"))
        {
            try
            {
                if (isSought(BackingFile(directory)))
                    devices.Add("/dev/" + Path.GetFileName(directory));
            }
            catch (IOException)
            {
                // Not in use.
            }
        }
        return devices;
    }
}

/// <summary>What a loop device shows.</summary>
/// <param name="Path">As the kernel knows it; it may lead elsewhere by now.</param>
/// <param name="LoopDevice">The loop device as a whole.</param>
/// <param name="Device">The file system on which the file, or the node of a block device, lies.</param>
/// <param name="Inode">Its number there.</param>
/// <param name="BlockDevice">The numbers of a block device; zeroes when it is a file.</param>
internal readonly record struct LoopFile(string Path, string LoopDevice, (uint Major, uint Minor) Device, ulong Inode,
    (uint Major, uint Minor) BlockDevice)
{
    /// <summary>Whether it is that file, or that block device.</summary>
    public bool IsFile(FileFacts file) => file.Kind == FileKind.BlockDevice
        ? file.Device == BlockDevice : BlockDevice == default && (Device, Inode) == (file.Device, file.Inode);
}

/// <summary><c>struct loop_config</c>, 304 bytes, with <c>struct loop_info64</c> from byte 8 on.</summary>
[StructLayout(LayoutKind.Explicit, Size = 304)]
internal unsafe struct LoopConfiguration
{
    public const int NameBytes = 64, InfoBytes = 232;

    /// <summary>Of <c>lo_flags</c> in <c>struct loop_info64</c>.</summary>
    public const int InfoFlagsAt = 52;

    [FieldOffset(0)] public int Descriptor;
    [FieldOffset(4)] public uint BlockBytes;
    [FieldOffset(60)] public uint Flags;
    [FieldOffset(64)] public fixed byte Name[NameBytes];
}
