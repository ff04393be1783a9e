using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>
/// Memory that another process shares with us and may take back at any moment, by making the file behind it shorter. Whoever touches such a
/// page gets SIGBUS, which would end the process. A system call gets EFAULT instead; for our own touches there is a handler of the signal:
/// it puts zeroes, memory of our own, in place of the whole mapping, and notes that the mapping is lost. The access that faulted then goes
/// on, and its owner asks <see cref="IsLost"/>.
///
/// A handler written in C# may run only while its thread is outside of managed code. So every touch of memory that may be of this kind goes
/// through
/// <see cref="Copy"/> and <see cref="Clear"/>, which are calls to the C library with the runtime's full transition. Never touch it through
/// a pointer or a span.
/// </summary>
internal static unsafe class GuardedMemory
{
    /// <summary>Mappings of a process together: what the handler has to look through.</summary>
    private const int MaxMappings = 4096;

    private const int BusError = 7, WithInfo = 4;

    private static readonly Lock Gate = new();
    private static Mapping* _mappings;
    private static int _count;
    private static SignalAction _previous;

    /// <summary>
    /// Maps a range of a file for reading and writing, shared; <paramref name="fileOffset"/> is a multiple of the file system's page.
    /// Returns the mapping's number, or a negative errno.
    /// </summary>
    public static int TryMap(int descriptor, long fileOffset, nuint byteCount, out nint address)
    {
        lock (Gate)
        {
            address = 0;
            Prepare();
            var number = 0;
            while (number < _count && _mappings[number].Start != 0)
                number++;
            if (number == MaxMappings)
                return -Errno.NoMemory;
            var mapped = Libc.mmap(0, byteCount, Libc.ProtRead | Libc.ProtWrite, Libc.MapShared | Libc.MapNoReserve, descriptor,
                fileOffset);
            if (mapped == -1)
                return -Libc.LastError;
            address = mapped;
            _mappings[number].End = mapped + (nint)byteCount;
            _mappings[number].IsLost = 0;
            // The handler on another thread sees the rest before it sees this.
            Volatile.Write(ref _mappings[number].Start, mapped);
            Volatile.Write(ref _count, Math.Max(_count, number + 1));
            return number;
        }
    }

    /// <summary>Ends a mapping; nobody touches it any more.</summary>
    public static void Unmap(int number)
    {
        lock (Gate)
        {
            var (start, end) = (_mappings[number].Start, _mappings[number].End);
            Volatile.Write(ref _mappings[number].Start, 0);
            _ = Libc.munmap(start, (nuint)(end - start));
        }
    }

    /// <summary>
    /// Whether the other process has taken memory of this mapping back, and somebody met it: what it shows since then is nothing.
    /// </summary>
    public static bool IsLost(int number) => Volatile.Read(ref _mappings[number].IsLost) != 0;

    public static void Copy(nint from, nint to, nuint byteCount) => _ = Libc.memcpy(to, from, byteCount);

    public static void Clear(nint address, nuint byteCount) => _ = Libc.memset(address, 0, byteCount);

    private static void Prepare()
    {
        if (_mappings != null)
            return;
        _mappings = (Mapping*)NativeMemory.AllocZeroed(MaxMappings, (nuint)sizeof(Mapping));
        var action = new SignalAction { Handler = (nint)(delegate* unmanaged<int, nint, nint, void>)&Faulted, Flags = WithInfo };
        fixed (SignalAction* previous = &_previous)
        {
            if (Libc.sigaction(BusError, &action, previous) < 0)
                throw new LinuxException("sigaction", "shared memory", Libc.LastError);
        }
    }

    // Async-signal-safe as far as it can be: the signal is synchronous, from a memcpy or memset of this thread, so no lock is held.
    [UnmanagedCallersOnly]
    private static void Faulted(int signal, nint information, nint context)
    {
        // siginfo_t.si_addr
        var address = *(nint*)(information + 16);
        var count = Volatile.Read(ref _count);
        for (var i = 0; i < count; i++)
        {
            var start = Volatile.Read(ref _mappings[i].Start);
            if (start == 0 || address < start || address >= _mappings[i].End)
                continue;
            Volatile.Write(ref _mappings[i].IsLost, 1);
            var replaced = Libc.mmap(start, (nuint)(_mappings[i].End - start), Libc.ProtRead | Libc.ProtWrite,
                Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve | Libc.MapFixed, -1, 0);
            if (replaced != -1)
                return;
        }
        // Not ours: the access is made again, under whatever was there before.
        fixed (SignalAction* previous = &_previous)
            _ = Libc.sigaction(signal, previous, null);
    }

    private struct Mapping
    {
        public nint Start, End;
        public int IsLost;
    }
}
