using System.Globalization;
using System.Text;

namespace Lincow.Linux;

/// <summary>Questions about paths that .NET doesn't answer.</summary>
internal static unsafe class LinuxPath
{
    private const int CurrentDirectory = -100, NoFollow = 0x100, NoAutomount = 0x800, DontSync = 0x4000, WriteAndSearch = 3;

    /// <summary>
    /// A path made absolute. Throws <see cref="LinuxException"/> (EILSEQ) where the current directory's name isn't UTF-8: what would come
    /// of it is a path to somewhere else (<see cref="NamesOfBytes"/>).
    /// </summary>
    public static string Full(string path) =>
        Path.IsPathRooted(path) || NamesOfBytes.WrongCurrentDirectory() is not { } current
            ? Path.GetFullPath(path) : throw new LinuxException("getcwd", current, Errno.NotUtf8);

    /// <summary>The same for comparisons: where it can't be made absolute, it is no path that anybody recorded.</summary>
    public static string FullOrAsItIs(string path) => NamesOfBytes.WrongCurrentDirectory() is null ? Path.GetFullPath(path) : path;

    public static uint ThisUser => Libc.geteuid();

    public static uint ThisGroup => Libc.getegid();

    /// <summary>Whether a path, not followed if it is a symbolic link, belongs to the user of this process.</summary>
    public static bool IsOwnedByThisUser(string path, bool follow = false) =>
        TryStat(path, follow ? 0 : NoFollow, out var stat) && stat.OwnerUser == Libc.geteuid();

    /// <summary>
    /// Whether this user has a directory, or can make it: it is there and this user's, or the one above it may be written to.
    /// </summary>
    public static bool CanHaveDirectory(string path) => Path.Exists(path) ? IsOwnedByThisUser(path)
        : Path.GetDirectoryName(path) is { } above && Libc.access(above, WriteAndSearch) == 0;

    /// <summary>Who owns what a path leads to; null when there is nothing.</summary>
    public static uint? OwnerOf(string path) => TryStat(path, 0, out var stat) ? stat.OwnerUser : null;

    /// <summary>A user's name, or else the number.</summary>
    public static string UserName(uint user)
    {
        var number = user.ToString(CultureInfo.InvariantCulture);
        try
        {
            foreach (var line in File.ReadLines("/etc/passwd"))
            {
                if (line.Split(':') is [var name, _, var id, ..] && id == number)
                    return name;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Then the number has to do.
        }
        return number;
    }

    /// <summary>Whether what a path leads to belongs to this user or to root, and nobody else may write to it.</summary>
    public static bool IsTrusted(string path)
    {
        const int groupOrOthersWrite = 0x12;
        return TryStat(path, 0, out var stat) && (stat.OwnerUser == Libc.geteuid() || stat.OwnerUser == 0)
            && (stat.Mode & groupOrOthersWrite) == 0;
    }

    /// <summary>Whether both paths lead to one file or device. False when either leads nowhere.</summary>
    public static bool AreSame(string left, string right) =>
        TryStat(left, 0, out var first) && TryStat(right, 0, out var second) && first.Mode == second.Mode
        && (IsBlockDevice(first) ? (first.RdevMajor, first.RdevMinor) == (second.RdevMajor, second.RdevMinor)
            : (first.DevMajor, first.DevMinor, first.Inode) == (second.DevMajor, second.DevMinor, second.Inode));

    public static bool IsBlockDevice(string path) => TryStat(path, 0, out var stat) && IsBlockDevice(stat);

    public static bool IsCharacterDevice(string path, uint major, uint minor) => TryStat(path, 0, out var stat)
        && (stat.Mode & 0xf000) == 0x2000 && (stat.RdevMajor, stat.RdevMinor) == (major, minor);

    /// <summary>The numbers of the block device that a path leads to; null when it leads to none.</summary>
    public static (uint Major, uint Minor)? BlockDeviceAt(string path) =>
        TryStat(path, 0, out var stat) && IsBlockDevice(stat) ? (stat.RdevMajor, stat.RdevMinor) : null;

    /// <summary>File system and number of the regular file that a path leads to; null when it leads to none.</summary>
    public static ((uint Major, uint Minor) FileSystem, ulong Inode)? FileAt(string path) =>
        TryStat(path, 0, out var stat) && (stat.Mode & 0xf000) == 0x8000 ? ((stat.DevMajor, stat.DevMinor), stat.Inode) : null;

    public static bool IsSocket(string path) => TryStat(path, 0, out var stat) && (stat.Mode & 0xf000) == 0xc000;

    /// <summary>
    /// What tells a file from every other that has been at a path, symbolic links not followed; null when there is nothing.
    /// </summary>
    internal static FileIdentity? Identity(string path) =>
        TryStat(path, NoFollow, out var stat)
            ? new FileIdentity((stat.DevMajor, stat.DevMinor), stat.Inode, (stat.BornSeconds, stat.BornNanoseconds)) : null;

    /// <summary>
    /// The numbers of what a path leads to, as they are known here: a file system whose server is somewhere else, or stands still, isn't
    /// asked (AT_STATX_DONT_SYNC). Null when it leads nowhere.
    /// </summary>
    internal static PathNumbers? Look(string path) => TryStat(path, DontSync | NoAutomount, out var stat)
        ? new PathNumbers((stat.DevMajor, stat.DevMinor), stat.Inode, IsBlockDevice(stat) ? (stat.RdevMajor, stat.RdevMinor) : null) : null;

    private static bool IsBlockDevice(StatxBuffer stat) => (stat.Mode & 0xf000) == 0x6000;

    private static bool TryStat(string path, int flags, out StatxBuffer stat)
    {
        stat = default;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + "\0"))
        fixed (StatxBuffer* buffer = &stat)
            return Libc.statx(CurrentDirectory, (nint)name, flags, 0xfff, buffer) == 0;
    }
}

/// <summary>
/// A file, whatever it is called now. Numbers of inodes come round again, so the time of its making, where the file system knows it, is
/// part of it.
/// </summary>
internal sealed record FileIdentity((uint Major, uint Minor) Device, ulong Inode, (long Seconds, uint Nanoseconds) Born);

/// <summary>Numbers of what lies at a path.</summary>
/// <param name="FileSystem">Where it lies.</param>
/// <param name="Inode">Its number there.</param>
/// <param name="BlockDevice">Those of the device that a node stands for; null for anything but a block device.</param>
internal readonly record struct PathNumbers((uint Major, uint Minor) FileSystem, ulong Inode, (uint Major, uint Minor)? BlockDevice);
