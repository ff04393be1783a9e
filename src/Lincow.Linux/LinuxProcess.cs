using System.Globalization;

namespace Lincow.Linux;

/// <summary>What .NET's own Process can't do: signals, start times, the way a process runs in the background.</summary>
internal static class LinuxProcess
{
    private const int SigTerm = 15;

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

    /// <summary>Memory that is used from here on, or has been, is never swapped out. Needs CAP_IPC_LOCK; false without.</summary>
    public static bool TryLockMemory()
    {
        // On fault: address space that is only reserved takes nothing.
        const int current = 1, future = 2, onFault = 4;
        return Environment.IsPrivilegedProcess && Libc.mlockall(current | future | onFault) == 0;
    }
}
