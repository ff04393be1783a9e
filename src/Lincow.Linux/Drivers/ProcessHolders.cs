using System.Globalization;

namespace Lincow.Linux;

/// <summary>A process as /proc shows it, and what it has of a device: open, mapped, as its working directory.</summary>
internal sealed record ProcessHolders(string Directory)
{
    private const string Ring = "anon_inode:[io_uring]", Socket = "socket:", Queued = "scm_fds:";

    /// <summary>This process, by its number in /proc, which may show another pid namespace's.</summary>
    public static ProcessHolders Self { get; } = new($"/proc/{LinuxProcess.Own?.Id ?? Environment.ProcessId}");

    /// <summary>"process 12 (qemu)".</summary>
    public string Description => LinuxProcess.Describe(int.Parse(Path.GetFileName(Directory), CultureInfo.InvariantCulture));

    /// <summary>All but this one.</summary>
    public static IEnumerable<ProcessHolders> All() => System.IO.Directory.EnumerateDirectories("/proc")
        .Where(path => int.TryParse(Path.GetFileName(path), NumberStyles.None, CultureInfo.InvariantCulture, out _))
        .Select(path => new ProcessHolders(path)).Where(process => process != Self);

    /// <summary>
    /// A process may end while it is looked at, or belong to somebody else. What it doesn't show hides nothing of what it has shown.
    /// </summary>
    public static void Look(Action look)
    {
        try
        {
            look();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    /// <summary>Whether it has a device, a file, or something on a file system on the device, open, or works there.</summary>
    public bool Uses(SoughtDevice sought) => Any(() => UsesAt(Directory, sought));

    /// <summary>The same by what takes longer to look at: its mappings, its threads' own descriptors, those that a ring keeps.</summary>
    public bool UsesUnseen(SoughtDevice sought) => Any(() => Maps(sought))
        || Any(() => System.IO.Directory.EnumerateDirectories(Directory + "/task").Any(thread => UsesAt(thread, sought)))
        || Any(() => Descriptors(Ring).Any(ring => File.ReadLines(ring).Any(line => NamesFile(line, sought))));

    /// <summary>Whether open files were sent to a socket of its, and nobody has received them.</summary>
    public bool HasQueuedDescriptors() => Any(() => Descriptors(Socket).Any(socket => File.ReadLines(socket)
        .Any(line => line.StartsWith(Queued, StringComparison.Ordinal) && line.AsSpan(Queued.Length).Trim() is not "0")));

    private static bool Any(Func<bool> look)
    {
        var found = false;
        Look(() => found = look());
        return found;
    }

    private static bool UsesAt(string directory, SoughtDevice sought) => sought.IsAt(directory + "/cwd") || sought.IsAt(directory + "/root")
        || System.IO.Directory.EnumerateFileSystemEntries(directory + "/fd").Any(sought.IsAt);

    /// <summary>/proc/PID/fdinfo of those descriptors that lead to something of that kind.</summary>
    private IEnumerable<string> Descriptors(string kind) => System.IO.Directory.EnumerateFileSystemEntries(Directory + "/fd")
        .Where(path => new FileInfo(path).LinkTarget?.StartsWith(kind, StringComparison.Ordinal) == true)
        .Select(path => $"{Directory}/fdinfo/{Path.GetFileName(path)}");

    // "    0: loop0", since Linux 6.9 "    0: /dev/loop0".
    private static bool NamesFile(string line, SoughtDevice sought) => line.IndexOf(": ", StringComparison.Ordinal) is > 0 and var colon
        && int.TryParse(line.AsSpan(0, colon), out _)
        && sought.Paths.Any(path => Path.GetFileName(path) == Path.GetFileName(line[(colon + 2)..]));

    // "7f12-7f34 rw-s 00000000 00:05 1234    /dev/nbd0": the file system's numbers in hexadecimal, the inode.
    private bool Maps(SoughtDevice sought)
    {
        var seen = new HashSet<(string, string)>();
        foreach (var line in File.ReadLines(Directory + "/maps"))
        {
            var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length < 6 || fields[4] == "0" || !seen.Add((fields[3], fields[4])))
                continue;
            var numbers = fields[3].Split(':');
            if (sought.Is((uint.Parse(numbers[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture),
                    uint.Parse(numbers[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture)),
                    ulong.Parse(fields[4], CultureInfo.InvariantCulture))
                || sought.IsAt($"{Directory}/map_files/{string.Join('-', fields[0].Split('-').Select(end => end.TrimStart('0')))}"))
                return true;
        }
        return false;
    }
}
