using System.Collections.Concurrent;

namespace Lincow.Linux;

/// <summary>
/// Unix stream sockets that carry descriptors (SCM_RIGHTS, unix(7)), and what is asked of a descriptor that a stranger sent. Nothing here
/// waits.
/// </summary>
internal static unsafe class DescriptorSocket
{
    /// <summary>More in one message are a mistake of the sender; they are closed by the kernel and the message is refused.</summary>
    public const int MaxDescriptors = 32;

    /// <summary>struct cmsghdr: its length, level and type.</summary>
    private const int HeaderBytes = 16;

    /// <summary>Descriptors that wait for one that can't be closed: strangers must not use up all that the process may have.</summary>
    private const int MaxUnclosed = 256;

    private static readonly Lazy<BlockingCollection<int>> LazyCloser = new(StartCloser);
    private static int _unclosed;

    private const int SolSocket = 1, Rights = 1, ControlTruncated = 8, CloseOnExecFlag = 0x40000000;

    /// <summary>
    /// Receives at most so many bytes and the descriptors that came with them (close-on-exec), which the caller closes. Bytes (0: the end),
    /// or a negative errno: EAGAIN when there is nothing, EOVERFLOW when there were too many descriptors.
    /// </summary>
    public static int TryReceive(int socket, nint buffer, int byteCount, Span<int> descriptors, out int descriptorCount)
    {
        var control = stackalloc byte[HeaderBytes + MaxDescriptors * sizeof(int)];
        var vector = new IoVector { Base = buffer, Length = (nuint)byteCount };
        var message = new MessageHeader
        {
            Vectors = &vector,
            VectorCount = 1,
            Control = (nint)control,
            ControlLength = HeaderBytes + MaxDescriptors * sizeof(int)
        };
        descriptorCount = 0;
        nint result;
        do
            result = Libc.recvmsg(socket, &message, LinuxSocket.DontWait | CloseOnExecFlag);
        while (result < 0 && Libc.LastError == Errno.Interrupted);
        if (result < 0)
            return -Libc.LastError;
        var isTooMuch = (message.Flags & ControlTruncated) != 0;
        if (message.ControlLength >= HeaderBytes && *(int*)(control + 8) == SolSocket && *(int*)(control + 12) == Rights)
        {
            var count = ((int)*(nuint*)control - HeaderBytes) / sizeof(int);
            for (var i = 0; i < count; i++)
            {
                var descriptor = *(int*)(control + HeaderBytes + i * sizeof(int));
                if (!isTooMuch && descriptorCount < descriptors.Length)
                {
                    descriptors[descriptorCount++] = descriptor;
                    continue;
                }
                isTooMuch = true;
                Close(descriptor);
            }
        }
        if (!isTooMuch)
            return (int)result;
        while (descriptorCount > 0)
            Close(descriptors[--descriptorCount]);
        return -Errno.Overflow;
    }

    /// <summary>Sends bytes whole, with descriptors: 0, or a negative errno; EAGAIN when the receiver leaves no room.</summary>
    public static int TrySend(int socket, ReadOnlySpan<byte> bytes, ReadOnlySpan<int> descriptors = default)
    {
        var control = stackalloc byte[HeaderBytes + MaxDescriptors * sizeof(int)];
        fixed (byte* start = bytes)
        {
            var vector = new IoVector { Base = (nint)start, Length = (nuint)bytes.Length };
            var message = new MessageHeader { Vectors = &vector, VectorCount = 1 };
            if (descriptors.Length > 0)
            {
                *(nuint*)control = (nuint)(HeaderBytes + descriptors.Length * sizeof(int));
                (*(int*)(control + 8), *(int*)(control + 12)) = (SolSocket, Rights);
                descriptors.CopyTo(new Span<int>(control + HeaderBytes, MaxDescriptors));
                // CMSG_SPACE: a multiple of 8.
                (message.Control, message.ControlLength) =
                    ((nint)control, (nuint)(HeaderBytes + descriptors.Length * sizeof(int) + 7 & ~7));
            }
            nint result;
            do
                result = Libc.sendmsg(socket, &message, LinuxSocket.DontWait | LinuxSocket.NoSignal);
            while (result < 0 && Libc.LastError == Errno.Interrupted);
            return result == bytes.Length ? 0 : result < 0 ? -Libc.LastError : -Errno.Again;
        }
    }

    /// <summary>
    /// Whether a descriptor is a file in memory: of a memfd, of tmpfs or of hugetlbfs. Only those have seals, or the lack of them, to tell
    /// of; the kernel answers by itself, whereas a question for the file system could wait for a stranger's FUSE server.
    /// </summary>
    public static bool IsMemory(int descriptor)
    {
        const int getSeals = 1034;
        return Libc.fcntl(descriptor, getSeals, 0) >= 0;
    }

    /// <summary>
    /// Whether a descriptor is an eventfd: the one kind that can be read without ever waiting for a stranger, or meeting an end.
    /// </summary>
    public static bool IsEvent(int descriptor) => IsOfKind(descriptor, "anon_inode:[eventfd]");

    /// <summary>
    /// Whether a descriptor can be signalled: an eventfd, or a pipe or a socket, of which User-mode Linux makes its interrupts.
    /// </summary>
    public static bool CanSignal(int descriptor) =>
        IsEvent(descriptor) || IsOfKind(descriptor, "pipe:[") || IsOfKind(descriptor, "socket:[");

    /// <summary>Non-blocking mode, which the sender shares: a write that finds no room then fails instead of waiting.</summary>
    public static void DontBlock(int descriptor) =>
        _ = Libc.fcntl(descriptor, Libc.FcntlSetFlags, Libc.fcntl(descriptor, Libc.FcntlGetFlags, 0) | Libc.NonBlock);

    /// <summary>An eventfd of our own.</summary>
    public static int NewEvent()
    {
        var descriptor = Libc.eventfd(0, Libc.CloseOnExec | Libc.NonBlock);
        return descriptor >= 0 ? descriptor : throw new LinuxException("eventfd", "event", Libc.LastError);
    }

    /// <summary>Takes what an eventfd has counted. Doesn't wait, whatever mode its owner has put it in.</summary>
    public static ulong TakeEvents(int descriptor)
    {
        const int noWait = 8;
        ulong count = 0;
        var vector = new IoVector { Base = (nint)(&count), Length = sizeof(ulong) };
        return Libc.preadv2(descriptor, &vector, 1, -1, noWait) == sizeof(ulong) ? count : 0;
    }

    /// <summary>A file in memory, or a negative errno; it can be made neither shorter nor longer by those who get it.</summary>
    public static int TryCreateMemory(string name, long byteCount)
    {
        const uint closeOnExec = 1, allowSealing = 2;
        const int addSeals = 1033, sealSealShrinkGrow = 1 | 2 | 4;
        var descriptor = Libc.memfd_create(name, closeOnExec | allowSealing);
        if (descriptor < 0)
            return -Libc.LastError;
        if (Libc.ftruncate(descriptor, byteCount) == 0 && Libc.fcntl(descriptor, addSeals, sealSealShrinkGrow) == 0)
            return descriptor;
        var error = Libc.LastError;
        _ = Libc.close(descriptor);
        return -error;
    }

    /// <summary>Size and block size of a regular file, whose memory can be shared; 0 and 0 for anything else.</summary>
    public static (long Bytes, long BlockBytes) FileSize(int descriptor)
    {
        const int emptyPath = 0x1000;
        StatxBuffer stat = default;
        byte nothing = 0;
        if (Libc.statx(descriptor, (nint)(&nothing), emptyPath, 0x7ff, &stat) < 0 || (stat.Mode & 0xf000) != 0x8000)
            return (0, 0);
        return ((long)stat.Size, stat.BlockBytes);
    }

    // Asked of the kernel: a file of a file system that a stranger serves would keep us waiting.
    private static bool IsOfKind(int descriptor, string kind) =>
        new FileInfo($"/proc/self/fd/{descriptor}").LinkTarget?.StartsWith(kind, StringComparison.Ordinal) == true;

    /// <summary>
    /// Closes a descriptor that a stranger sent. What isn't known to be harmless is closed on a thread of its own: a file of a FUSE server,
    /// or a socket that lingers, would keep us waiting for as long as its owner likes.
    /// </summary>
    public static void Close(int descriptor)
    {
        // mutation: descriptors-closed-on-the-loop
        if (IsMemory(descriptor) || IsEvent(descriptor))
        {
            _ = Libc.close(descriptor);
            return;
        }
        Interlocked.Increment(ref _unclosed);
        LazyCloser.Value.Add(descriptor);
    }

    /// <summary>Whether so many descriptors wait to be closed that no others may be taken.</summary>
    public static bool IsClogged => Volatile.Read(ref _unclosed) >= MaxUnclosed;

    private static BlockingCollection<int> StartCloser()
    {
        var descriptors = new BlockingCollection<int>();
        new Thread(() =>
        {
            foreach (var descriptor in descriptors.GetConsumingEnumerable())
            {
                _ = Libc.close(descriptor);
                Interlocked.Decrement(ref _unclosed);
            }
        })
        { IsBackground = true, Name = "lincow-closer" }.Start();
        return descriptors;
    }
}
