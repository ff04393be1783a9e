using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Lincow.Linux;

/// <summary>
/// A connection to the kernel's FUSE: /dev/fuse, mounted over a regular file, by mount(2) for root and by the setuid helper fusermount3 for
/// anybody else. What is said over it is the owner's matter.
/// </summary>
internal sealed unsafe class FuseConnection
{
    private const string Device = "/dev/fuse", Helper = "fusermount3";
    private const uint Major = 10, Minor = 229;
    private const nuint ReadOnlyMount = 1, NoSetUserId = 2, NoDevices = 4;

    /// <summary>MNT_FORCE, which of FUSE ends the connection; MNT_DETACH, UMOUNT_NOFOLLOW.</summary>
    private const int Forcibly = 1, Lazily = 2, NoFollow = 8;

    private const string MountType = "fuse.lincow";

    private FuseConnection(int descriptor, string path) => (Descriptor, Path) = (descriptor, path);

    /// <summary>For reading requests and writing replies; doesn't block. Whoever serves it closes it.</summary>
    public int Descriptor { get; }

    /// <summary>The mounted file.</summary>
    public string Path { get; }

    /// <summary>Why no file can be mounted here; null when it can.</summary>
    public static string? WhyNot()
    {
        if (!File.Exists(Device))
            return $"there is no {Device} (modprobe fuse)";
        // As some containers leave it: the mount would fail without saying why.
        // mutation: any-file-is-the-fuse-device
        if (!LinuxPath.IsCharacterDevice(Device, Major, Minor))
            return $"{Device} is not the kernel's FUSE device (mknod {Device} c {Major} {Minor})";
        var descriptor = Libc.open(Device, Libc.ReadWrite | Libc.CloseOnExec, 0);
        if (descriptor < 0)
            return $"{Device} can't be opened: {Errno.Describe(Libc.LastError)}";
        _ = Libc.close(descriptor);
        return Environment.IsPrivilegedProcess || FindHelper() is not null ? null : $"{Helper} is not installed (package fuse3)";
    }

    /// <summary>Mounts over a regular file that is there. Throws <see cref="LinuxException"/>.</summary>
    /// <param name="source">What /proc/mounts names as the source.</param>
    /// <param name="path">The file.</param>
    /// <param name="readOnly">As of any mount.</param>
    /// <param name="allowRoot">
    /// Whether a user's file is there for root, too; the kernel keeps it from everybody else otherwise. Other users have no right to a file
    /// that is its owner's alone, so all may come near it.
    /// </param>
    public static FuseConnection Mount(string source, string path, bool readOnly, bool allowRoot = false)
    {
        var descriptor = Environment.IsPrivilegedProcess ? MountDirectly(source, path, readOnly)
            : MountByHelper(source, path, readOnly, allowRoot);
        return new FuseConnection(descriptor, path);
    }

    /// <summary>
    /// Takes the mount of a file away that nobody has open. Copies of it in other mount namespaces end as well, for root: without that, the
    /// connection would last as long as they do. False where it is still there.
    /// </summary>
    public static bool TryUnmount(string path)
    {
        if (Environment.IsPrivilegedProcess)
            return Libc.umount2(path, NoFollow | Lazily | Forcibly) == 0 || Libc.LastError is Errno.Invalid or Errno.NoEntry;
        using var helper = StartHelper(["-uz", "--", path], null);
        helper.WaitForExit();
        return helper.ExitCode == 0 || !IsMounted(path);
    }

    /// <summary>Whether a file of lincow's is mounted over a path, alive or dead.</summary>
    public static bool IsMounted(string path) =>
        MountTable.Read("/proc/self/mountinfo").Exists(mount => mount.Path == path && mount.Type == MountType);

    /// <summary>
    /// Receives one request: its first bytes into the header, the rest into the payload. The byte count, or a negative errno.
    /// </summary>
    public static int TryReceive(int descriptor, nint header, int headerBytes, nint payload, int payloadBytes)
    {
        var vectors = stackalloc IoVector[2] { new() { Base = header, Length = (nuint)headerBytes },
            new() { Base = payload, Length = (nuint)payloadBytes } };
        var result = Libc.readv(descriptor, vectors, 2);
        return result >= 0 ? (int)result : -Libc.LastError;
    }

    /// <summary>Sends one reply, of one or two pieces: 0, or a negative errno.</summary>
    public static int TryReply(int descriptor, nint header, int headerBytes, nint payload, int payloadBytes)
    {
        var vectors = stackalloc IoVector[2] { new() { Base = header, Length = (nuint)headerBytes },
            new() { Base = payload, Length = (nuint)payloadBytes } };
        return Libc.writev(descriptor, vectors, payloadBytes > 0 ? 2 : 1) >= 0 ? 0 : -Libc.LastError;
    }

    public static void Close(int descriptor) => _ = Libc.close(descriptor);

    private static int MountDirectly(string source, string path, bool readOnly)
    {
        var descriptor = Libc.open(Device, Libc.ReadWrite | Libc.CloseOnExec | Libc.NonBlock, 0);
        if (descriptor < 0)
            throw new LinuxException("open", Device, Libc.LastError);
        var options = string.Create(CultureInfo.InvariantCulture,
            $"fd={descriptor},rootmode=100000,user_id={Libc.geteuid()},group_id={Libc.getegid()},default_permissions");
        if (Libc.mount(source, path, MountType, NoSetUserId | NoDevices | (readOnly ? ReadOnlyMount : 0), options) == 0)
            return descriptor;
        var error = Libc.LastError;
        _ = Libc.close(descriptor);
        throw new LinuxException("mount", path, error);
    }

    // The helper sends the descriptor of /dev/fuse over a socket whose number is in its environment.
    private static int MountByHelper(string source, string path, bool readOnly, bool allowRoot)
    {
        var (ours, theirs) = LinuxSocket.Pair();
        try
        {
            _ = Libc.fcntl(theirs, Libc.FcntlSetDescriptorFlags, 0);
            var name = source.Replace("\\", "\\\\", StringComparison.Ordinal).Replace(",", "\\,", StringComparison.Ordinal);
            var options = $"subtype=lincow,fsname={name},default_permissions{(readOnly ? ",ro" : "")}"
                + (allowRoot ? ",allow_other" : "");
            using var helper = StartHelper(["-o", options, "--", path], theirs);
            _ = Libc.close(theirs);
            theirs = -1;
            var descriptor = ReceiveDescriptor(ours);
            var complaint = helper.StandardError.ReadToEnd().Trim();
            helper.WaitForExit();
            if (descriptor < 0)
                throw new IOException($"{path}: {Helper} doesn't mount it: "
                    + $"{(complaint.Length > 0 ? complaint : $"exit status {helper.ExitCode}")}");
            var flags = Libc.fcntl(descriptor, Libc.FcntlGetFlags, 0);
            _ = Libc.fcntl(descriptor, Libc.FcntlSetFlags, flags | Libc.NonBlock);
            return descriptor;
        }
        finally
        {
            _ = Libc.close(ours);
            if (theirs >= 0)
                _ = Libc.close(theirs);
        }
    }

    private static Process StartHelper(string[] arguments, int? socket)
    {
        var start = new ProcessStartInfo(FindHelper() ?? Helper, arguments) { UseShellExecute = false, RedirectStandardError = true };
        if (socket is { } descriptor)
            start.Environment["_FUSE_COMMFD"] = descriptor.ToString(CultureInfo.InvariantCulture);
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new IOException($"{Helper} can't be run: {e.Message}", e);
        }
    }

    private static string? FindHelper() =>
        ((Environment.GetEnvironmentVariable("PATH") ?? "") + ":/usr/bin:/bin").Split(':').Where(directory => directory.Length > 0)
            .Select(directory => System.IO.Path.Combine(directory, Helper)).FirstOrDefault(File.Exists);

    private static int ReceiveDescriptor(int socket)
    {
        byte token;
        var vector = new IoVector { Base = (nint)(&token), Length = 1 };
        // struct cmsghdr: length (8), level (4), type (4), then the descriptor.
        var control = stackalloc byte[24];
        var message = new MessageHeader { Vectors = &vector, VectorCount = 1, Control = (nint)control, ControlLength = 24 };
        const int closeOnExec = 0x40000000, rights = 1;
        nint received;
        do
            received = Libc.recvmsg(socket, &message, closeOnExec);
        while (received < 0 && Libc.LastError == Errno.Interrupted);
        return received > 0 && message.ControlLength >= 20 && *(int*)(control + 12) == rights ? *(int*)(control + 16) : -1;
    }
}

/// <summary>A line of /proc/PID/mountinfo.</summary>
internal sealed record MountEntry(string Device, string Path, string Type, string Source);

/// <summary>Reads mount tables (proc_pid_mountinfo(5)).</summary>
internal static class MountTable
{
    public static List<MountEntry> Read(string file)
    {
        var entries = new List<MountEntry>();
        // A carriage return may be part of a path, and doesn't end a line: only blanks, tabs, line feeds and backslashes are escaped.
        // mutation: mount-hidden-by-a-carriage-return
        foreach (var line in File.ReadAllText(file).Split('\n'))
        {
            var fields = line.Split(' ');
            var separator = Array.IndexOf(fields, "-");
            if (separator > 5 && fields.Length > separator + 2)
                entries.Add(new MountEntry(fields[2], Unescape(fields[4]), fields[separator + 1], Unescape(fields[separator + 2])));
        }
        return entries;
    }

    // Blanks and the like are written as \040.
    internal static string Unescape(string field)
    {
        if (!field.Contains('\\', StringComparison.Ordinal))
            return field;
        var result = new StringBuilder(field.Length);
        for (var i = 0; i < field.Length; i++)
        {
            if (field[i] == '\\' && i + 3 < field.Length && field.AsSpan(i + 1, 3).IndexOfAnyExceptInRange('0', '7') < 0)
            {
                result.Append((char)Convert.ToInt32(field.Substring(i + 1, 3), 8));
                i += 3;
            }
            else
            {
                result.Append(field[i]);
            }
        }
        return result.ToString();
    }
}
