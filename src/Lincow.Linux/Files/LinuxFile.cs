using System.Text;

namespace Lincow.Linux;

/// <summary>What a path turned out to be.</summary>
internal enum FileKind
{
    Regular,
    BlockDevice,
    Directory,
    CharacterDevice,
    Pipe,
    Socket,
    Other,
}

/// <summary>What <c>statx</c> says of an open file.</summary>
/// <param name="Kind">Regular file, block device, and so on.</param>
/// <param name="SizeBytes">The file's length, or the block device's capacity.</param>
/// <param name="AllocatedBytes">Bytes that the file system has allocated (0 for a block device).</param>
/// <param name="ModifiedSeconds">Modification time, whole seconds since 1970.</param>
/// <param name="ModifiedNanoseconds">Modification time, the rest in nanoseconds.</param>
/// <param name="Device">Major and minor number: of the file system for a file, its own for a block device.</param>
/// <param name="Inode">Inode number.</param>
internal readonly record struct FileFacts(
    FileKind Kind, long SizeBytes, long AllocatedBytes, long ModifiedSeconds, uint ModifiedNanoseconds, (uint Major, uint Minor) Device,
        ulong Inode)
{
    /// <summary>Whether both are one and the same file, whatever their paths.</summary>
    public bool IsSameFile(FileFacts other) => Kind == other.Kind && Device == other.Device && Inode == other.Inode;
}

/// <summary>
/// An open file or block device: positioned reads and writes, syncs that report their errors (.NET's own Flush(true) swallows EIO), holes,
/// locks and extended attributes. The control plane calls it directly; the data path hands <see cref="Descriptor"/> to an
/// <see cref="IoLoop"/>. What it does to a file is virtual, so that a simulated disk can stand in for the kernel's.
/// </summary>
internal unsafe class LinuxFile : IDisposable
{
    private int _descriptor;

    private LinuxFile(int descriptor, string path, bool writable, bool direct)
    {
        _descriptor = descriptor;
        Path = path;
        IsWritable = writable;
        IsDirect = direct;
        Facts = ReadFacts();
    }

    /// <summary>A file that the kernel knows nothing of: whoever derives answers every call.</summary>
    protected LinuxFile(string path, FileFacts facts, bool direct)
    {
        _descriptor = -1;
        (Path, Facts, IsWritable, IsDirect) = (path, facts, true, direct);
    }

    public string Path { get; }
    public bool IsWritable { get; }

    /// <summary>Opened with O_DIRECT: offsets, lengths and addresses must be multiples of <see cref="LogicalBlockBytes"/>.</summary>
    public bool IsDirect { get; }

    /// <summary>What the file was when it was opened; see <see cref="ReadFacts"/> for now.</summary>
    public FileFacts Facts { get; }

    public virtual int Descriptor => _descriptor >= 0 ? _descriptor : throw new ObjectDisposedException(Path);

    /// <summary>Opens an existing file. Throws <see cref="LinuxException"/>.</summary>
    /// <param name="exclusiveDevice">O_EXCL, which claims a block device against mounts and other claimants; ignored for regular
    /// files.</param>
    public static LinuxFile Open(string path, bool writable, bool direct = false, bool exclusiveDevice = false)
    {
        var flags = (writable ? Libc.ReadWrite : Libc.ReadOnly) | Libc.CloseOnExec | Libc.NonBlock;
        if (direct)
            flags |= Libc.Open.Direct;
        if (exclusiveDevice)
            flags |= Libc.Exclusive;
        return Finish(Libc.open(path, flags, 0), path, writable, direct);
    }

    /// <summary>
    /// Opens the very file that this is, in another way, whatever its path leads to by now. Throws <see cref="LinuxException"/>.
    /// </summary>
    /// <param name="exclusiveDevice">As for <see cref="Open"/>.</param>
    public virtual LinuxFile Reopen(bool writable, bool direct = false, bool exclusiveDevice = false)
    {
        var flags = (writable ? Libc.ReadWrite : Libc.ReadOnly) | Libc.CloseOnExec | Libc.NonBlock | (direct ? Libc.Open.Direct : 0)
            | (exclusiveDevice ? Libc.Exclusive : 0);
        return Finish(Libc.open(OwnPath, flags, 0), Path, writable, direct);
    }

    /// <summary>
    /// The text of a file that nobody but this user, or root, can have written: it is theirs, nobody else may write to it, and it is no
    /// symbolic link. Null for any other, and for one that is longer. Throws <see cref="LinuxException"/>.
    /// </summary>
    public static string? ReadTrusted(string path, int maxBytes)
    {
        using var file = Finish(Libc.open(path, Libc.ReadOnly | Libc.Open.NoFollow | Libc.CloseOnExec | Libc.NonBlock, 0), path, false,
            false);
        if (file.Facts.Kind != FileKind.Regular || file.Facts.SizeBytes > maxBytes || !LinuxPath.IsTrusted(file.OwnPath))
            return null;
        var bytes = new byte[file.Facts.SizeBytes];
        return Encoding.UTF8.GetString(bytes, 0, file.Read(bytes, 0));
    }

    /// <summary>A path that leads to this very file or directory, whatever its name leads to meanwhile.</summary>
    public string OwnPath => $"/proc/self/fd/{Descriptor}";

    /// <summary>Makes a new file, readable and writable by its owner alone. EEXIST when there is one already.</summary>
    public static LinuxFile CreateNew(string path) =>
        Finish(Libc.open(path, Libc.ReadWrite | Libc.Create | Libc.Exclusive | Libc.CloseOnExec, 0x180), path, true, false);

    /// <summary>
    /// Makes a file without a name in a directory: it is gone when its last descriptor is closed, also after kill -9. Where the file system
    /// can't (9p, NFS, FAT, ...), it has a name for a moment.
    /// </summary>
    public static LinuxFile CreateUnnamed(string directory, bool direct = false)
    {
        var flags = Libc.ReadWrite | Libc.CloseOnExec | (direct ? Libc.Open.Direct : 0);
        var descriptor = Libc.open(directory, flags | Libc.Open.TemporaryFile, 0x180);
        // mutation: file-without-a-name-required
        if (descriptor >= 0 || Libc.LastError is not (Errno.NotSupported or Errno.IsDirectory or Errno.Invalid))
            return Finish(descriptor, directory, true, direct);
        var path = System.IO.Path.Combine(directory, $".lincow-{Guid.NewGuid():N}");
        descriptor = Libc.open(path, flags | Libc.Create | Libc.Exclusive, 0x180);
        var errno = Libc.LastError;
        // Also when it wasn't opened: the name may have been made before the kernel found out that it can't be opened so.
        File.Delete(path);
        return descriptor >= 0 ? Finish(descriptor, directory, true, direct) : throw new LinuxException("open", directory, errno);
    }

    /// <summary>Gives a file its name at last, in one step. EEXIST when the name is taken and may not be replaced.</summary>
    public static void Rename(string from, string to, bool replace)
    {
        const int currentDirectory = -100;
        const uint noReplace = 1;
        if (Libc.renameat2(currentDirectory, from, currentDirectory, to, replace ? 0 : noReplace) == 0)
            return;
        var errno = Libc.LastError;
        // A file system that can't refuse by itself, or a filter of system calls that doesn't know this one.
        if (errno is not (Errno.Invalid or Errno.NoSystemCall or Errno.Perm))
            throw new LinuxException("rename", to, errno);
        if (!replace && File.Exists(to))
            throw new LinuxException("rename", to, Errno.Exists);
        if (Libc.rename(from, to) != 0)
            throw new LinuxException("rename", to, Libc.LastError);
    }

    private static LinuxFile Finish(int descriptor, string path, bool writable, bool direct)
    {
        if (descriptor < 0)
            throw new LinuxException("open", path, Libc.LastError);
        // O_NONBLOCK is only there so that opening a FIFO doesn't hang; io_uring would take it as "don't wait".
        var flags = Libc.fcntl(descriptor, Libc.FcntlGetFlags, 0);
        Libc.fcntl(descriptor, Libc.FcntlSetFlags, flags & ~Libc.NonBlock);
        return new LinuxFile(descriptor, path, writable, direct);
    }

    /// <summary>Kind, size, allocation and times as they are now.</summary>
    public virtual FileFacts ReadFacts()
    {
        StatxBuffer stat = default;
        byte empty = 0;
        const int emptyPath = 0x1000;
        if (Libc.statx(Descriptor, (nint)(&empty), emptyPath, 0x7ff, &stat) < 0)
            throw Fail("statx");
        var kind = (stat.Mode & 0xf000) switch
        {
            0x8000 => FileKind.Regular,
            0x6000 => FileKind.BlockDevice,
            0x4000 => FileKind.Directory,
            0x2000 => FileKind.CharacterDevice,
            0x1000 => FileKind.Pipe,
            0xc000 => FileKind.Socket,
            _ => FileKind.Other,
        };
        var size = (long)stat.Size;
        var device = (stat.DevMajor, stat.DevMinor);
        if (kind == FileKind.BlockDevice)
        {
            ulong bytes = 0;
            const uint blkGetSize64 = 0x80081272;
            if (Libc.ioctl(Descriptor, blkGetSize64, (nint)(&bytes)) < 0)
                throw Fail("ioctl(BLKGETSIZE64)");
            size = (long)bytes;
            device = (stat.RdevMajor, stat.RdevMinor);
        }
        return new FileFacts(kind, size, (long)stat.Blocks * 512, stat.ModifiedSeconds, stat.ModifiedNanoseconds, device, stat.Inode);
    }

    /// <summary>
    /// Whether its times may be made up: a FUSE program that shows an image (ewfmount, nbdfuse, lincow itself) gives it the time of its
    /// mount. Those that stand for a file system of a disk's (fuseblk) or of a host's (virtiofs) pass on its own.
    /// </summary>
    public virtual bool HasTimesOfItsMount
    {
        get
        {
            const long fuse = 0x65735546;
            const int longs = 32;
            var facts = stackalloc long[longs];
            if (_descriptor < 0 || Libc.fstatfs(_descriptor, facts) < 0 || facts[0] != fuse)
                return false;
            var device = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Facts.Device.Major}:{Facts.Device.Minor}");
            var type = MountTable.Read("/proc/self/mountinfo").FirstOrDefault(mount => mount.Device == device)?.Type;
            return type is null or "fuse" || type.StartsWith("fuse.", StringComparison.Ordinal);
        }
    }

    /// <summary>The size as it is now, or a negative errno: <see cref="ReadFacts"/> for a loop, which must not meet an exception.</summary>
    public long TryReadSizeBytes()
    {
        try
        {
            return ReadFacts().SizeBytes;
        }
        catch (LinuxException e)
        {
            return -e.Errno;
        }
    }

    /// <summary>The unit that direct I/O must keep to, in bytes.</summary>
    public virtual int LogicalBlockBytes
    {
        get
        {
            if (Facts.Kind != FileKind.BlockDevice)
                return 4096;
            var bytes = 0;
            const uint blkSectorSizeGet = 0x1268;
            return Libc.ioctl(Descriptor, blkSectorSizeGet, (nint)(&bytes)) == 0 && bytes > 0 ? bytes : 4096;
        }
    }

    /// <summary>
    /// What may be the unit of direct I/O, in bytes: a file's is that of the disk below it, which can't be asked for before Linux 6.1.
    /// EINVAL where it is <see cref="LogicalBlockBytes"/> after all.
    /// </summary>
    public virtual int SmallestBlockBytes => Facts.Kind == FileKind.BlockDevice ? LogicalBlockBytes : 512;

    /// <summary>Reads up to the buffer's length; returns the bytes read, fewer only at the end of the file.</summary>
    public virtual int Read(Span<byte> buffer, long byteOffset)
    {
        var done = 0;
        fixed (byte* start = buffer)
        {
            while (done < buffer.Length)
            {
                var count = Libc.pread(Descriptor, (nint)(start + done), buffer.Length - done, byteOffset + done);
                if (count == 0)
                    break;
                if (count > 0)
                    done += (int)count;
                else if (Libc.LastError != Errno.Interrupted)
                    throw Fail($"read at byte {byteOffset + done}");
            }
        }
        return done;
    }

    public virtual void Write(ReadOnlySpan<byte> buffer, long byteOffset)
    {
        var done = 0;
        fixed (byte* start = buffer)
        {
            while (done < buffer.Length)
            {
                var count = Libc.pwrite(Descriptor, (nint)(start + done), buffer.Length - done, byteOffset + done);
                if (count > 0)
                    done += (int)count;
                else if (count == 0 || Libc.LastError != Errno.Interrupted)
                    throw Fail($"write at byte {byteOffset + done}");
            }
        }
    }

    /// <summary>
    /// Reads what needs no waiting (preadv2, RWF_NOWAIT): the bytes read, or a negative errno, EAGAIN when the page cache doesn't have it.
    /// </summary>
    public virtual int TryReadCached(nint buffer, int byteCount, long byteOffset)
    {
        const int noWait = 8;
        var vector = new IoVector { Base = buffer, Length = (nuint)byteCount };
        var result = Libc.preadv2(Descriptor, &vector, 1, byteOffset, noWait);
        return result >= 0 ? (int)result : -Libc.LastError;
    }

    /// <summary>One pwrite: the bytes written, or a negative errno.</summary>
    public virtual int TryWriteOnce(nint buffer, int byteCount, long byteOffset)
    {
        var result = Libc.pwrite(Descriptor, buffer, byteCount, byteOffset);
        return result >= 0 ? (int)result : -Libc.LastError;
    }

    /// <summary>One fdatasync: 0, or a negative errno.</summary>
    public virtual int TrySyncData() => Libc.fdatasync(Descriptor) == 0 ? 0 : -Libc.LastError;

    /// <summary>fsync: data and size on stable storage. An error here means that earlier writes may be lost.</summary>
    public virtual void Sync()
    {
        if (Retry(() => Libc.fsync(Descriptor)) < 0)
            throw Fail("fsync");
    }

    /// <summary>Forgets what the page cache holds of the file, so that the next read shows what is on the disk.</summary>
    public virtual void DropCache()
    {
        const int dontNeed = 4;
        _ = Libc.posix_fadvise(Descriptor, 0, 0, dontNeed);
    }

    public virtual void SetLength(long bytes)
    {
        if (Libc.ftruncate(Descriptor, bytes) < 0)
            throw Fail($"setting its length to {bytes} bytes");
    }

    /// <summary>Reserves space without changing content; false where the file system can't.</summary>
    public virtual bool TryReserve(long byteOffset, long byteLength)
    {
        if (Retry(() => Libc.fallocate(Descriptor, Libc.FallocKeepSize, byteOffset, byteLength)) == 0)
            return true;
        return Libc.LastError is Errno.NotSupported or Errno.NoSystemCall or Errno.Perm ? false : throw Fail("fallocate");
    }

    /// <summary>Gives a range's space back: it reads as zeroes afterwards. False where the file system or device can't.</summary>
    public virtual bool TryPunchHole(long byteOffset, long byteLength)
    {
        if (Retry(() => Libc.fallocate(Descriptor, Libc.FallocPunchHole | Libc.FallocKeepSize, byteOffset, byteLength)) == 0)
            return true;
        return Libc.LastError is Errno.NotSupported or Errno.NoSystemCall or Errno.NotTypewriter or Errno.Invalid or Errno.Perm
            ? false : throw Fail("fallocate(PUNCH_HOLE)");
    }

    /// <summary>
    /// Tells a block device that a range is no longer needed (BLKDISCARD); its content is undefined afterwards. False where it can't.
    /// </summary>
    public virtual bool TryDiscardDevice(long byteOffset, long byteLength)
    {
        var range = stackalloc ulong[2] { (ulong)byteOffset, (ulong)byteLength };
        const uint blkDiscard = 0x1277;
        return Libc.ioctl(Descriptor, blkDiscard, (nint)range) == 0;
    }

    /// <summary>
    /// The next range that may hold data, at or after <paramref name="byteOffset"/> and before <paramref name="byteEnd"/> (SEEK_DATA,
    /// SEEK_HOLE). False when there is none. A file system without holes answers with the whole rest, and so do we for one whose answer
    /// can't be true.
    /// </summary>
    public virtual bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
    {
        (dataStart, dataEnd) = (byteOffset, byteEnd);
        if (byteOffset >= byteEnd)
            return false;
        if (Facts.Kind != FileKind.Regular)
            return true;
        var start = SeekData(byteOffset);
        // No data before the end of the file. There are file systems that say so of data as well, but not that a hole begins there.
        if (start == -Errno.NoSuchAddress)
        {
            // mutation: data-denied-is-hole
            if (SeekHole(byteOffset) != byteOffset)
                return true;
            // The hole ends where the file does by now: what was behind that is lost, and no hole.
            // mutation: cut-off-is-hole
            dataStart = TryReadSizeBytes() is var size && size < byteEnd ? Math.Max(size, byteOffset) : byteEnd;
            return dataStart < byteEnd;
        }
        // mutation: data-before-the-offset
        if (start < byteOffset)
            return true;
        // Data that begins beyond what was asked for; beyond the end of the file there is none, so that says nothing.
        // mutation: data-beyond-the-end-believed (2 lines)
        if (start >= byteEnd)
            return start >= TryReadSizeBytes();
        var end = SeekHole(start);
        // Data that is empty: we would look for it for ever.
        (dataStart, dataEnd) = (start, end <= start ? byteEnd : Math.Min(end, byteEnd));
        return true;
    }

    /// <summary>lseek(2) with SEEK_DATA: an offset, or a negative errno. Tests lie here as file systems have done.</summary>
    protected virtual long SeekData(long byteOffset) => Seek(byteOffset, Libc.SeekData);

    /// <inheritdoc cref="SeekData"/>
    protected virtual long SeekHole(long byteOffset) => Seek(byteOffset, Libc.SeekHole);

    /// <summary>Takes an open-file-description lock on one byte; false when another description holds it (fcntl(2), OFD locks).</summary>
    public virtual bool TryLock(long byteOffset, bool exclusive)
    {
        var request = new FileLock { Type = (short)(exclusive ? 1 : 0), Start = byteOffset, Length = 1 };
        if (Libc.fcntl(Descriptor, Libc.FcntlOfdSetLock, (nint)(&request)) == 0)
            return true;
        return Libc.LastError is Errno.Again or Errno.Access ? false : throw Fail("fcntl(F_OFD_SETLK)");
    }

    /// <summary>Whether another description holds an exclusive lock on the byte; takes none itself.</summary>
    public virtual bool IsLockedElsewhere(long byteOffset)
    {
        var request = new FileLock { Type = 0, Start = byteOffset, Length = 1 };
        const short unlocked = 2;
        return Libc.fcntl(Descriptor, Libc.FcntlOfdGetLock, (nint)(&request)) == 0 && request.Type != unlocked;
    }

    public virtual string? GetAttribute(string name)
    {
        var value = stackalloc byte[4096];
        var length = Libc.fgetxattr(Descriptor, name, (nint)value, 4096);
        return length < 0 ? null : Encoding.UTF8.GetString(value, (int)length);
    }

    /// <summary>Sets an extended attribute; false where the file system has none.</summary>
    public virtual bool TrySetAttribute(string name, string value)
    {
        var bytes = Encoding.UTF8.GetBytes(value);
        fixed (byte* start = bytes)
            return Libc.fsetxattr(Descriptor, name, (nint)start, bytes.Length, 0) == 0;
    }

    /// <summary>Removes an extended attribute, if it is there.</summary>
    public virtual void RemoveAttribute(string name) => _ = Libc.fremovexattr(Descriptor, name);

    /// <summary>Asks the kernel to read a range ahead; a hint that can't fail.</summary>
    public virtual void WillNeed(long byteOffset, long byteLength) =>
        _ = Libc.posix_fadvise(Descriptor, byteOffset, byteLength, Libc.AdviseWillNeed);

    public virtual void Dispose()
    {
        var descriptor = Interlocked.Exchange(ref _descriptor, -1);
        if (descriptor >= 0)
            _ = Libc.close(descriptor);
        GC.SuppressFinalize(this);
    }

    // The runtime's own signals interrupt system calls; that is no failure.
    private static int Retry(Func<int> call)
    {
        int result;
        do
            result = call();
        while (result < 0 && Libc.LastError == Errno.Interrupted);
        return result;
    }

    private long Seek(long byteOffset, int whence)
    {
        var result = Libc.lseek(Descriptor, byteOffset, whence);
        return result >= 0 ? result : -Libc.LastError;
    }

    private LinuxException Fail(string call) => new(call, Path, Libc.LastError);
}
