using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>
/// The C library as lincow uses it: blittable arguments only, errno kept by the marshaller. The names are the C names; the constants are
/// those of x86-64 and arm64 Linux, which agree on every one used here but those of <see cref="OpenFlags"/>.
/// </summary>
internal static unsafe partial class Libc
{
    public const int ReadOnly = 0, ReadWrite = 2, Create = 0x40, Exclusive = 0x80, CloseOnExec = 0x80000;
    public const int SeekData = 3, SeekHole = 4;
    public const int FallocKeepSize = 1, FallocPunchHole = 2;
    public const int ProtRead = 1, ProtWrite = 2, MapShared = 1, MapPrivate = 2, MapFixed = 0x10, MapAnonymous = 0x20,
        MapNoReserve = 0x4000, MapPopulate = 0x8000;
    public const int FcntlSetDescriptorFlags = 2, FcntlGetFlags = 3, FcntlSetFlags = 4, FcntlOfdGetLock = 36, FcntlOfdSetLock = 37;
    public const int NonBlock = 0x800;
    public const int AdviseWillNeed = 3;

    /// <summary>Those flags of open that differ, here.</summary>
    public static readonly OpenFlags Open = OpenFlags.Of(RuntimeInformation.ProcessArchitecture);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int unlink(string path);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int mknod(string path, uint mode, ulong device);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int flock(int descriptor, int operation);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int open(string path, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int close(int fd);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int rename(string from, string to);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int renameat2(int fromDirectory, string from, int toDirectory, string to, uint flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint pread(int fd, nint buffer, nint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint pwrite(int fd, nint buffer, nint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint preadv2(int fd, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint read(int fd, nint buffer, nint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint write(int fd, nint buffer, nint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fdatasync(int fd);

    [LibraryImport("libc")]
    public static partial int sched_yield();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fsync(int fd);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fallocate(int fd, int mode, long offset, long length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int ftruncate(int fd, long length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial long lseek(int fd, long offset, int whence);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int posix_fadvise(int fd, long offset, long length, int advice);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int ioctl(int fd, nuint request, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fstatfs(int fd, long* result);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int getrlimit(int resource, ulong* softAndHard);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setrlimit(int resource, ulong* softAndHard);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int access(string path, int mode);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint mmap(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int munmap(nint address, nuint length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int mprotect(nint address, nuint length, int protection);

    // C23 asks for a size that is a multiple of the alignment.
    [LibraryImport("libc")]
    public static partial nint aligned_alloc(nuint alignment, nuint size);

    [LibraryImport("libc")]
    public static partial nint malloc(nuint size);

    [LibraryImport("libc")]
    public static partial void free(nint memory);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int statx(int directory, nint path, int flags, uint mask, StatxBuffer* result);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint fgetxattr(int fd, string name, nint value, nint size);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int fsetxattr(int fd, string name, nint value, nint size, int flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int fremovexattr(int fd, string name);

    [LibraryImport("libc", SetLastError = true)]
    public static partial long syscall(long number, long a, long b, long c, long d, long e, long f);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int eventfd(uint initial, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int poll(PollDescriptor* descriptors, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int socket(int domain, int type, int protocol);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int socketpair(int domain, int type, int protocol, int* pair);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int bind(int fd, byte* address, uint length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int connect(int fd, byte* address, uint length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int listen(int fd, int backlog);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int accept4(int fd, nint address, nint length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int shutdown(int fd, int how);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setsockopt(int fd, int level, int name, int* value, uint length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int getsockopt(int fd, int level, int name, void* value, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int getsockname(int fd, byte* address, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint recv(int fd, nint buffer, nint length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint sendmsg(int fd, MessageHeader* message, int flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int memfd_create(string name, uint flags);

    // Not SuppressGCTransition: see GuardedMemory.
    [LibraryImport("libc")]
    public static partial nint memcpy(nint to, nint from, nuint count);

    [LibraryImport("libc")]
    public static partial nint memset(nint to, int value, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int sigaction(int signal, SignalAction* action, SignalAction* previous);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int kill(int process, int signal);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int fchmod(int fd, uint mode);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int chmod(string path, uint mode);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int chown(string path, uint user, uint group);

    // A struct group, whose number is at byte 16.
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint getgrnam(string name);

    [LibraryImport("libc", SetLastError = true)]
    public static partial byte* mkdtemp(byte* template);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    public static partial byte* getenv(string name);

    [LibraryImport("libc", SetLastError = true)]
    public static partial byte* getcwd(byte* buffer, nuint size);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint readv(int fd, IoVector* vectors, int count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint writev(int fd, IoVector* vectors, int count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint recvmsg(int fd, MessageHeader* message, int flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int mount(string source, string target, string type, nuint flags, string data);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int umount2(string target, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setsid();

    [LibraryImport("libc")]
    public static partial int getppid();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int dup2(int from, int to);

    [LibraryImport("libc")]
    public static partial uint geteuid();

    [LibraryImport("libc")]
    public static partial uint getegid();

    [LibraryImport("libc", SetLastError = true)]
    public static partial int prctl(int option, nuint a, nuint b, nuint c, nuint d);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int capget(ulong* header, CapabilitySets* sets);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int capset(ulong* header, CapabilitySets* sets);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int mlockall(int flags);

    public static int LastError => Marshal.GetLastPInvokeError();
}

/// <summary>Flags of open(2) that each architecture numbers for itself (<c>asm/fcntl.h</c>).</summary>
/// <param name="Direct">O_DIRECT.</param>
/// <param name="Directory">O_DIRECTORY.</param>
/// <param name="NoFollow">O_NOFOLLOW.</param>
internal sealed record OpenFlags(int Direct, int Directory, int NoFollow)
{
    /// <summary>O_TMPFILE, which has O_DIRECTORY in it, so that old kernels refuse it.</summary>
    public int TemporaryFile => 0x400000 | Directory;

    public static OpenFlags Of(Architecture architecture) =>
        // mutation: tmpfile-of-another-architecture (3 lines)
        architecture is Architecture.Arm64
            ? new OpenFlags(Direct: 0x10000, Directory: 0x4000, NoFollow: 0x8000)
            : new OpenFlags(Direct: 0x4000, Directory: 0x10000, NoFollow: 0x20000);
}

[StructLayout(LayoutKind.Sequential)]
internal struct PollDescriptor
{
    public const short In = 1, Out = 4;

    public int Descriptor;
    public short Events;
    public short Returned;
}

/// <summary><c>struct statx</c>, the fields that lincow reads (<c>linux/stat.h</c>, 256 bytes).</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct StatxBuffer
{
    [FieldOffset(4)] public uint BlockBytes;
    [FieldOffset(20)] public uint OwnerUser;
    [FieldOffset(28)] public ushort Mode;
    [FieldOffset(32)] public ulong Inode;
    [FieldOffset(40)] public ulong Size;
    [FieldOffset(48)] public ulong Blocks;
    [FieldOffset(80)] public long BornSeconds;
    [FieldOffset(88)] public uint BornNanoseconds;
    [FieldOffset(112)] public long ModifiedSeconds;
    [FieldOffset(120)] public uint ModifiedNanoseconds;
    [FieldOffset(128)] public uint RdevMajor;
    [FieldOffset(132)] public uint RdevMinor;
    [FieldOffset(136)] public uint DevMajor;
    [FieldOffset(140)] public uint DevMinor;
}

/// <summary><c>struct flock</c> with 64-bit offsets.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FileLock
{
    public short Type;
    public short Whence;
    public long Start;
    public long Length;
    public int ProcessId;
}

/// <summary>Two of <c>struct __user_cap_data_struct</c> (<c>linux/capability.h</c>), for capabilities from 0 and from 32 on.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CapabilitySets
{
    /// <summary><c>_LINUX_CAPABILITY_VERSION_3</c>, and 0 for the calling thread: the header of capget(2) and capset(2).</summary>
    public const ulong OfThisThread = 0x20080522;

    public uint Effective, Permitted, Inheritable, Effective32, Permitted32, Inheritable32;
}

/// <summary><c>struct iovec</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoVector
{
    public nint Base;
    public nuint Length;
}

/// <summary><c>struct sigaction</c> of the C library (152 bytes).</summary>
[StructLayout(LayoutKind.Explicit, Size = 152)]
internal struct SignalAction
{
    [FieldOffset(0)] public nint Handler;
    [FieldOffset(136)] public int Flags;
}

/// <summary><c>struct msghdr</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MessageHeader
{
    public nint Name;
    public uint NameLength;
    public IoVector* Vectors;
    public nuint VectorCount;
    public nint Control;
    public nuint ControlLength;
    public int Flags;
}
