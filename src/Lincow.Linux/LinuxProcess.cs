using System.Globalization;
using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>What .NET's own Process can't do: signals, start times, the way a process runs in the background.</summary>
internal static class LinuxProcess
{
    private const int SigTerm = 15, RestartCalls = 0x10000000;

    private const int DescriptorLimit = 7;

    private static ulong _formerDescriptors;

    /// <summary>
    /// Whether this process may do on the machine what root may. Root of a user namespace (a container without root) may not: what belongs
    /// to the machine's root is nobody's there.
    /// </summary>
    public static bool IsMachineRoot { get; } = Environment.IsPrivilegedProcess && OuterUser(0) == 0;

    /// <summary>The number that a user of this process's namespace has outside of it.</summary>
    public static uint OuterUser(uint user)
    {
        try
        {
            foreach (var line in File.ReadLines("/proc/self/uid_map"))
            {
                var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                var (inner, outer, count) = (Number(fields[0]), Number(fields[1]), Number(fields[2]));
                if (user >= inner && user - inner < count)
                    return outer + (user - inner);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No /proc, or no user namespaces.
        }
        return user;

        static uint Number(string field) => uint.Parse(field, CultureInfo.InvariantCulture);
    }

    /// <summary>
    /// A signal does nothing from here on. Its handler is a function of the C library that changes nothing: unlike a registration of .NET's
    /// it takes no thread, and unlike SIG_IGN it isn't inherited by what is started.
    /// </summary>
    public static unsafe void Disregard(int signal)
    {
        var nothing = NativeLibrary.GetExport(NativeLibrary.GetMainProgramHandle(), "abs");
        var action = new SignalAction { Handler = nothing, Flags = RestartCalls };
        _ = Libc.sigaction(signal, &action, null);
    }

    /// <summary>
    /// Lets this process have as many descriptors as it may give itself: each overlay, each client takes some. It waits with nothing that
    /// only bears small numbers; what it starts may (select(2)), so that gets the former limit back: <see cref="WithFormerLimits"/>.
    /// </summary>
    public static unsafe void RaiseDescriptorLimit()
    {
        var limit = stackalloc ulong[2];
        if (Libc.getrlimit(DescriptorLimit, limit) < 0 || limit[0] >= limit[1])
            return;
        _formerDescriptors = limit[0];
        limit[0] = limit[1];
        _ = Libc.setrlimit(DescriptorLimit, limit);
    }

    /// <summary>What is started by a function has the limit of descriptors that this process was started with.</summary>
    public static unsafe T WithFormerLimits<T>(Func<T> start)
    {
        var limit = stackalloc ulong[2];
        if (_formerDescriptors == 0 || Libc.getrlimit(DescriptorLimit, limit) < 0)
            return start();
        var now = limit[0];
        limit[0] = _formerDescriptors;
        _ = Libc.setrlimit(DescriptorLimit, limit);
        try
        {
            return start();
        }
        finally
        {
            limit[0] = now;
            _ = Libc.setrlimit(DescriptorLimit, limit);
        }
    }

    /// <summary>Sends SIGTERM; nothing happens when the process is gone already.</summary>
    public static void Terminate(int processId) => _ = Libc.kill(processId, SigTerm);

    /// <summary>The process that started this one, or took it over; 0 when it can't be seen from here.</summary>
    public static int ParentId => Libc.getppid();

    /// <summary>Waits until a process has ended: the one of that number that was started then.</summary>
    public static void AwaitEnd(int processId, long startTime)
    {
        const int pidfdOpen = 434, lookAgainMilliseconds = 200;
        var descriptor = (int)Libc.syscall(pidfdOpen, processId, 0, 0, 0, 0, 0);
        // Looked at when the descriptor is there: it is the right process's, and stays so.
        while (StartTime(processId) == startTime)
        {
            // Before Linux 5.3 there is no such descriptor, so it is looked at again and again.
            var poll = new PollDescriptor { Descriptor = descriptor, Events = PollDescriptor.In };
            unsafe
            {
                _ = Libc.poll(&poll, descriptor < 0 ? 0u : 1u, descriptor < 0 ? lookAgainMilliseconds : -1);
            }
        }
        if (descriptor >= 0)
            _ = Libc.close(descriptor);
    }

    /// <summary>Programs that are started from here on get none of this process's descriptors from the given one on.</summary>
    public static void KeepToItself(int firstDescriptor)
    {
        const int closeRange = 436, closeOnExecFlag = 4, closeOnExec = 1;
        if (Libc.syscall(closeRange, firstDescriptor, uint.MaxValue, closeOnExecFlag, 0, 0, 0) == 0)
            return;
        // Before Linux 5.11.
        foreach (var path in Directory.EnumerateFileSystemEntries("/proc/self/fd"))
        {
            if (int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture) is var descriptor && descriptor >= firstDescriptor)
                _ = Libc.fcntl(descriptor, Libc.FcntlSetDescriptorFlags, closeOnExec);
        }
    }

    /// <summary>When a process was started, in the kernel's ticks since boot; null when there is none. A zombie is none.</summary>
    public static long? StartTime(int processId)
    {
        try
        {
            // The second field is the program's name in parentheses and may hold anything; the fields after it count from 3.
            var stat = File.ReadAllText($"/proc/{processId}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : long.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>
    /// This process as /proc shows it, which may be another pid namespace's: its number there, and when it was started. Null where there is
    /// no /proc.
    /// </summary>
    public static (int Id, long StartTime)? Own =>
        int.TryParse(new FileInfo("/proc/self").LinkTarget, NumberStyles.None, CultureInfo.InvariantCulture, out var id)
        && StartTime(id) is { } started ? (id, started) : null;

    /// <summary>
    /// The pid namespace whose numbers /proc shows, as the kernel names it: "pid:[4026531836]". Null where that can't be known.
    /// </summary>
    public static string? Namespace => NamespaceOf(Own?.Id == Environment.ProcessId ? "self" : "1");

    /// <summary>
    /// The number by which this namespace knows a process of another one, and null when it doesn't show it: it shows those below it alone.
    /// </summary>
    public static int? FindInNamespace(string pidNamespace, int processId)
    {
        foreach (var path in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(path), NumberStyles.None, CultureInfo.InvariantCulture, out var id)
                && NamespaceOf(Path.GetFileName(path)) == pidNamespace && NumberInside(id) == processId)
                return id;
        }
        return null;
    }

    private static string? NamespaceOf(string process)
    {
        try
        {
            return new FileInfo($"/proc/{process}/ns/pid").LinkTarget;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    // "NSpid:	4711	1": from here to the innermost.
    private static int? NumberInside(int processId)
    {
        try
        {
            return File.ReadLines($"/proc/{processId}/status").FirstOrDefault(line => line.StartsWith("NSpid:", StringComparison.Ordinal))
                ?.Split('\t')[^1] is { } last ? int.Parse(last, CultureInfo.InvariantCulture) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>"process 1234 (name)".</summary>
    public static string Describe(int processId)
    {
        try
        {
            return $"process {processId} ({File.ReadAllText($"/proc/{processId}/comm").Trim()})";
        }
        catch (IOException)
        {
            return $"process {processId}";
        }
    }

    /// <summary>
    /// Leaves the terminal and its session: what ends them doesn't end this process. What it has to say goes to standard output, to whoever
    /// started it, until <see cref="RedirectStandardStreams"/>. Comes before anything is written.
    /// </summary>
    public static void LeaveSession()
    {
        _ = Libc.setsid();
        var output = new StreamWriter(new DescriptorStream(1)) { AutoFlush = true };
        Console.SetOut(output);
        Console.SetError(output);
    }

    /// <summary>From here on, what is written to standard output and error goes to a file, and nothing comes from standard input.</summary>
    /// <param name="path">A new file; null for nowhere.</param>
    public static void RedirectStandardStreams(string? path)
    {
        using var none = LinuxFile.Open("/dev/null", writable: true);
        using var log = path is null ? null : LinuxFile.CreateNew(path);
        var output = log ?? none;
        _ = Libc.dup2(none.Descriptor, 0);
        _ = Libc.dup2(output.Descriptor, 1);
        _ = Libc.dup2(output.Descriptor, 2);
    }

    /// <summary>
    /// Tells the kernel that the calling thread works for a block device, so that memory it asks for is not made free by writing to that
    /// very device (PR_SET_IO_FLUSHER). Needs CAP_SYS_RESOURCE; false without.
    /// </summary>
    public static bool TryBecomeIoFlusher()
    {
        const int setIoFlusher = 57;
        return Libc.prctl(setIoFlusher, 1, 0, 0, 0) == 0;
    }

    /// <summary>
    /// Lays down the calling thread's CAP_SYS_ADMIN, or takes it up again. False where it has, or may have, none.
    /// </summary>
    public static unsafe bool TrySetSystemAdministrator(bool isOne)
    {
        const uint systemAdministrator = 1 << 21;
        var header = CapabilitySets.OfThisThread;
        CapabilitySets sets = default;
        if (Libc.capget(&header, &sets) != 0 || (sets.Permitted & systemAdministrator) == 0)
            return false;
        sets.Effective = isOne ? sets.Effective | systemAdministrator : sets.Effective & ~systemAdministrator;
        header = CapabilitySets.OfThisThread;
        return Libc.capset(&header, &sets) == 0;
    }

    /// <summary>
    /// Lets the kernel end anybody else first when memory runs out: with this process the device would go, and what is dirty on it. For
    /// root; false without.
    /// </summary>
    public static bool TryOutliveOthers()
    {
        try
        {
            File.WriteAllText("/proc/self/oom_score_adj", "-1000");
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>
    /// Marks this process as one that the root file system lies on, as systemd asks for ("Storage Daemons for the Root File System"): what
    /// it shows as its command line begins with '@', and systemd's shutdown spares it when it ends everybody else. False without /proc.
    /// </summary>
    public static unsafe bool TryMarkAsRootStorage()
    {
        try
        {
            var stat = File.ReadAllText("/proc/self/stat");
            // Field 48 is where the arguments lie; those after the name count from 3.
            *(byte*)nint.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[45], CultureInfo.InvariantCulture) = (byte)'@';
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Memory that is used from here on, or has been, is never swapped out. Needs CAP_IPC_LOCK; false without.</summary>
    public static bool TryLockMemory()
    {
        // On fault: address space that is only reserved takes nothing.
        const int current = 1, future = 2, onFault = 4;
        return Environment.IsPrivilegedProcess && Libc.mlockall(current | future | onFault) == 0;
    }
}
