using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Lincow.Linux;

/// <summary>Block devices of the kernel's loop driver over a file (linux/loop.h).</summary>
public static unsafe class LoopBlockDevice
{
    private const string Control = "/dev/loop-control";
    private const nuint GetFree = 0x4c82, ClearDescriptor = 0x4c01, GetStatus = 0x4c05, Configure = 0x4c0a;
    private const uint ReadOnlyFlag = 1, PartitionScan = 8, DirectIo = 16;
    private const int NoSuchDevice = 6;

    /// <summary>Others may take the free device before us, again and again.</summary>
    private const int MaxTries = 64;

    /// <summary>Why there can be no loop device; null when there can.</summary>
    public static string? WhyNot() =>
        !Environment.IsPrivilegedProcess ? "a block device takes root" : !File.Exists(Control) ? $"there is no {Control} (modprobe loop)" : null;

    /// <summary>
    /// Makes a block device of a file with direct I/O, so that nothing is cached twice, in sectors of 512 bytes, which is what images expect.
    /// Returns its path. Throws <see cref="LinuxException"/>.
    /// </summary>
    public static string Attach(string path, bool readOnly, bool scanPartitions)
    {
        using var control = LinuxFile.Open(Control, writable: true);
        using var file = LinuxFile.Open(path, writable: !readOnly);
        for (var attempt = 0; ; attempt++)
        {
            var number = Libc.ioctl(control.Descriptor, GetFree, 0);
            if (number < 0)
                throw new LinuxException("ioctl(LOOP_CTL_GET_FREE)", Control, Libc.LastError);
            var device = string.Create(CultureInfo.InvariantCulture, $"/dev/loop{number}");
            using var block = LinuxFile.Open(device, writable: !readOnly);
            var config = new LoopConfiguration
            {
                Descriptor = file.Descriptor,
                BlockBytes = 512,
                Flags = DirectIo | (readOnly ? ReadOnlyFlag : 0) | (scanPartitions ? PartitionScan : 0),
            };
            // For losetup; the kernel shows the whole path in sysfs.
            var name = Encoding.UTF8.GetBytes(path);
            name.AsSpan(0, Math.Min(name.Length, LoopConfiguration.NameBytes - 1)).CopyTo(new Span<byte>(config.Name, LoopConfiguration.NameBytes));
            if (Libc.ioctl(block.Descriptor, Configure, (nint)(&config)) == 0)
                return device;
            if (Libc.LastError != Errno.Busy || attempt == MaxTries)
                throw new LinuxException("ioctl(LOOP_CONFIGURE)", device, Libc.LastError);
        }
    }

    /// <summary>
    /// Takes the file away from a device. The kernel does so when nobody has the device open any more; false when that isn't so yet.
    /// </summary>
    public static bool TryDetach(string device)
    {
        using (var block = LinuxFile.Open(device, writable: false))
        {
            // What the page cache holds of the device goes to the file first.
            LinuxBlockDevice.DropCache(block);
            _ = Libc.ioctl(block.Descriptor, ClearDescriptor, 0);
        }
        return !IsAttached(device);
    }

    private static bool IsAttached(string device)
    {
        using var block = LinuxFile.Open(device, writable: false);
        var status = stackalloc byte[LoopConfiguration.InfoBytes];
        return Libc.ioctl(block.Descriptor, GetStatus, (nint)status) == 0 || Libc.LastError != NoSuchDevice;
    }

    /// <summary>The devices that a file is behind, whatever it is called: as the driver knows it, or where that can't be asked, as what the recorded path leads to.</summary>
    public static List<string> Over(FileFacts file)
    {
        var devices = new List<string>();
        foreach (var directory in Directory.EnumerateDirectories("/sys/block", "loop*"))
        {
            if (FileOf(directory) is { } behind && (behind.Device, behind.Inode) == (file.Device, file.Inode))
                devices.Add("/dev/" + Path.GetFileName(directory));
        }
        return devices;
    }

    /// <summary>
    /// The file behind a loop device or a partition of one: its path, which may lead elsewhere by now, its device and inode, and the device as a whole. Null for
    /// any other device.
    /// </summary>
    public static (string Path, string LoopDevice, (uint Major, uint Minor) Device, ulong Inode)? FileBehind(LinuxFile device)
    {
        var (major, minor) = device.Facts.Device;
        var directory = new DirectoryInfo(string.Create(CultureInfo.InvariantCulture, $"/sys/dev/block/{major}:{minor}"));
        if (directory.ResolveLinkTarget(returnFinalTarget: true) is not { FullName: var real })
            return null;
        if (File.Exists(real + "/partition"))
            real = Path.GetDirectoryName(real)!;
        return FileOf(real) is { } behind ? (behind.Path, "/dev/" + Path.GetFileName(real), behind.Device, behind.Inode) : null;
    }

    private static (string Path, (uint Major, uint Minor) Device, ulong Inode)? FileOf(string directory)
    {
        string path;
        try
        {
            path = File.ReadAllText(directory + "/loop/backing_file").TrimEnd('\n');
        }
        catch (IOException)
        {
            // Not in use, or no loop device.
            return null;
        }
        try
        {
            using var block = LinuxFile.Open("/dev/" + Path.GetFileName(directory), writable: false);
            var status = stackalloc ulong[LoopConfiguration.InfoBytes / sizeof(ulong)];
            if (Libc.ioctl(block.Descriptor, GetStatus, (nint)status) == 0)
                return (path, ((uint)(status[0] >> 8 & 0xfff), (uint)(status[0] & 0xff | status[0] >> 12 & 0xfff00)), status[1]);
        }
        catch (LinuxException)
        {
            // Only root may ask the driver.
        }
        return LinuxPath.Identity(path) is { } named ? (path, named.Device, named.Inode) : null;
    }

    /// <summary>The devices that a file of this path is behind, also when its server is dead.</summary>
    public static List<string> Over(string path)
    {
        var devices = new List<string>();
        foreach (var directory in Directory.EnumerateDirectories("/sys/block", "loop*"))
        {
            try
            {
                if (File.ReadAllText(Path.Combine(directory, "loop/backing_file")).TrimEnd('\n') is var file && (file == path || file == path + " (deleted)"))
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

/// <summary><c>struct loop_config</c>, 304 bytes, with <c>struct loop_info64</c> from byte 8 on.</summary>
[StructLayout(LayoutKind.Explicit, Size = 304)]
internal unsafe struct LoopConfiguration
{
    public const int NameBytes = 64, InfoBytes = 232;

    [FieldOffset(0)] public int Descriptor;
    [FieldOffset(4)] public uint BlockBytes;
    [FieldOffset(60)] public uint Flags;
    [FieldOffset(64)] public fixed byte Name[NameBytes];
}
