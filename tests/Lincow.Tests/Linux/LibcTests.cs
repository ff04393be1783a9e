using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Tests.Linux;

/// <summary>The constants of <see cref="Libc"/> are the C headers', on either architecture.</summary>
public unsafe class LibcTests
{
    [Fact]
    public void Flags_of_open_are_the_architecture_s()
    {
        Assert.Equal((0x4000, 0x10000, 0x20000, 0x410000), Flags(Architecture.X64));
        Assert.Equal((0x10000, 0x4000, 0x8000, 0x404000), Flags(Architecture.Arm64));

        static (int, int, int, int) Flags(Architecture architecture) =>
            OpenFlags.Of(architecture) is var flags ? (flags.Direct, flags.Directory, flags.NoFollow, flags.TemporaryFile) : default;
    }

    /// <summary>A compiler checks them as static assertions, so that nothing has to run.</summary>
    [Theory]
    [InlineData(Architecture.X64, "x86_64-linux-gnu-gcc")]
    [InlineData(Architecture.Arm64, "aarch64-linux-gnu-gcc")]
    public void Constants_and_structures_are_the_headers(Architecture architecture, string compiler)
    {
        if (!(Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Combine(directory, compiler))))
            Assert.Skip($"{compiler} is not installed (packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross; gcc, libc6-dev)");
        var open = OpenFlags.Of(architecture);
        (string Name, long Value)[] constants =
        [
            ("O_DIRECT", open.Direct), ("O_DIRECTORY", open.Directory), ("O_NOFOLLOW", open.NoFollow), ("O_TMPFILE", open.TemporaryFile),
            ("O_RDWR", Libc.ReadWrite), ("O_CREAT", Libc.Create), ("O_EXCL", Libc.Exclusive), ("O_CLOEXEC", Libc.CloseOnExec),
                ("EFD_CLOEXEC", Libc.CloseOnExec),
            ("SOCK_CLOEXEC", Libc.CloseOnExec), ("O_NONBLOCK", Libc.NonBlock), ("EFD_NONBLOCK", Libc.NonBlock),
                ("SEEK_DATA", Libc.SeekData), ("SEEK_HOLE", Libc.SeekHole),
            ("FALLOC_FL_KEEP_SIZE", Libc.FallocKeepSize), ("FALLOC_FL_PUNCH_HOLE", Libc.FallocPunchHole), ("PROT_READ", Libc.ProtRead),
                ("PROT_WRITE", Libc.ProtWrite),
            ("MAP_SHARED", Libc.MapShared), ("MAP_PRIVATE", Libc.MapPrivate), ("MAP_FIXED", Libc.MapFixed),
                ("MAP_ANONYMOUS", Libc.MapAnonymous),
            ("MAP_NORESERVE", Libc.MapNoReserve), ("MAP_POPULATE", Libc.MapPopulate), ("F_SETFD", Libc.FcntlSetDescriptorFlags),
                ("F_GETFL", Libc.FcntlGetFlags),
            ("F_SETFL", Libc.FcntlSetFlags), ("F_OFD_GETLK", Libc.FcntlOfdGetLock), ("F_OFD_SETLK", Libc.FcntlOfdSetLock),
                ("POSIX_FADV_WILLNEED", Libc.AdviseWillNeed),
            ("POLLIN", PollDescriptor.In), ("POLLOUT", PollDescriptor.Out), ("POLLHUP", 16), ("MSG_DONTWAIT", LinuxSocket.DontWait),
                ("MSG_NOSIGNAL", LinuxSocket.NoSignal),
            ("SYS_io_uring_setup", UringAbi.SetupCall), ("SYS_io_uring_enter", UringAbi.EnterCall),
            ("F_GET_SEALS", 1034), ("F_ADD_SEALS", 1033), ("SOL_SOCKET", 1), ("SCM_RIGHTS", 1), ("SO_REUSEADDR", 2), ("SO_SNDBUF", 7),
                ("SO_SNDBUFFORCE", 32), ("SO_PEERCRED", 17),
            ("MSG_CTRUNC", 8), ("MSG_CMSG_CLOEXEC", 0x40000000), ("AT_FDCWD", -100), ("AT_EMPTY_PATH", 0x1000),
                ("AT_SYMLINK_NOFOLLOW", 0x100), ("RWF_NOWAIT", 8),
            ("SIGBUS", 7), ("SA_SIGINFO", 4), ("MNT_DETACH", 2), ("UMOUNT_NOFOLLOW", 8), ("MCL_CURRENT", 1), ("MCL_FUTURE", 2),
                ("MCL_ONFAULT", 4), ("PR_SET_IO_FLUSHER", 57),
            ("BLKGETSIZE64", 0x80081272), ("BLKSSZGET", 0x1268), ("BLKDISCARD", 0x1277), ("BLKFLSBUF", 0x1261),
                ("LOOP_CTL_GET_FREE", 0x4c82), ("LOOP_CLR_FD", 0x4c01),
            ("LOOP_GET_STATUS64", 0x4c05), ("LOOP_CONFIGURE", 0x4c0a), ("EAGAIN", Errno.Again), ("ENOSYS", Errno.NoSystemCall),
                ("EOVERFLOW", Errno.Overflow),
            ("EOPNOTSUPP", Errno.NotSupported), ("EDQUOT", Errno.Quota), ("ECANCELED", Errno.Canceled), ("ENAMETOOLONG", Errno.NameTooLong),
                ("ECONNREFUSED", Errno.ConnectionRefused),
            ("sizeof(struct statx)", sizeof(StatxBuffer)),
                ("offsetof(struct statx, stx_blksize)", Offset<StatxBuffer>(nameof(StatxBuffer.BlockBytes))),
            ("offsetof(struct statx, stx_uid)", Offset<StatxBuffer>(nameof(StatxBuffer.OwnerUser))),
                ("offsetof(struct statx, stx_mode)", Offset<StatxBuffer>(nameof(StatxBuffer.Mode))),
            ("offsetof(struct statx, stx_ino)", Offset<StatxBuffer>(nameof(StatxBuffer.Inode))),
                ("offsetof(struct statx, stx_size)", Offset<StatxBuffer>(nameof(StatxBuffer.Size))),
            ("offsetof(struct statx, stx_blocks)", Offset<StatxBuffer>(nameof(StatxBuffer.Blocks))),
                ("offsetof(struct statx, stx_btime)", Offset<StatxBuffer>(nameof(StatxBuffer.BornSeconds))),
            ("offsetof(struct statx, stx_mtime)", Offset<StatxBuffer>(nameof(StatxBuffer.ModifiedSeconds))),
                ("offsetof(struct statx, stx_rdev_major)", Offset<StatxBuffer>(nameof(StatxBuffer.RdevMajor))),
            ("offsetof(struct statx, stx_dev_major)", Offset<StatxBuffer>(nameof(StatxBuffer.DevMajor))),
            ("sizeof(struct flock)", sizeof(FileLock)), ("offsetof(struct flock, l_start)", Offset<FileLock>(nameof(FileLock.Start))),
                ("offsetof(struct flock, l_pid)", Offset<FileLock>(nameof(FileLock.ProcessId))),
            ("sizeof(struct iovec)", sizeof(IoVector)), ("sizeof(struct pollfd)", sizeof(PollDescriptor)),
            ("sizeof(struct msghdr)", sizeof(MessageHeader)),
                ("offsetof(struct msghdr, msg_flags)", Offset<MessageHeader>(nameof(MessageHeader.Flags))),
            ("sizeof(struct sigaction)", sizeof(SignalAction)),
                ("offsetof(struct sigaction, sa_flags)", Offset<SignalAction>(nameof(SignalAction.Flags))),
            ("offsetof(siginfo_t, si_addr)", 16),
        ];
        var source = """
            #define _GNU_SOURCE
            #include <errno.h>
            #include <fcntl.h>
            #include <poll.h>
            #include <signal.h>
            #include <stddef.h>
            #include <linux/fs.h>
            #include <linux/loop.h>
            #include <sys/eventfd.h>
            #include <sys/mman.h>
            #include <sys/mount.h>
            #include <sys/prctl.h>
            #include <sys/socket.h>
            #include <sys/stat.h>
            #include <sys/syscall.h>
            #include <sys/uio.h>

            """ + string.Concat(constants.Select(each =>
                string.Create(CultureInfo.InvariantCulture, $"_Static_assert(({each.Name}) == ({each.Value}), \"{each.Name}\");\n")));
        using var process = Process.Start(new ProcessStartInfo(compiler,
            ["-fsyntax-only", "-x", "c", "-"])
        { RedirectStandardInput = true, RedirectStandardError = true })!;
        process.StandardInput.Write(source);
        process.StandardInput.Close();
        var complaint = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, complaint);
    }

    private static long Offset<T>(string field)
        where T : unmanaged => (long)Marshal.OffsetOf<T>(field);
}
