using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores;

/// <summary>How a store's files are opened.</summary>
internal enum OverlayAccess
{
    /// <summary>Looks only, also while somebody else writes.</summary>
    Peek,

    /// <summary>Reads a state that nobody changes meanwhile: shared lock.</summary>
    Read,

    /// <summary>The one writer: exclusive lock.</summary>
    Write,
}

/// <summary>Paths that users give for overlays: made absolute, opened, locked, with sentences for all that stands against it.</summary>
internal static class StorePath
{
    /// <summary>A path as the user gave it, made absolute.</summary>
    public static string FullPath(string path, string what) => path.Length > 0
        ? LinuxPath.Full(path)
        : throw new LincowException(ArgumentErrors.PathEmpty(what));

    public static LinuxFile Open(string path, bool writable = false, bool direct = false, bool exclusive = false)
    {
        try
        {
            return LinuxFile.Open(path, writable, direct, exclusive);
        }
        catch (LinuxException e) when (e.Errno == Errno.NoEntry)
        {
            throw new LincowException(StoreErrors.FileMissing(path), e);
        }
        catch (LinuxException e)
        {
            throw new LincowException(StoreErrors.Unopenable(path, writable, e), e);
        }
    }

    /// <summary>Opens one file of an overlay, and locks it as the access needs; it is put on the list first, if there is one.</summary>
    public static LinuxFile OpenLocked(string path, OverlayAccess access, bool direct, string overlay, List<LinuxFile>? opened = null)
    {
        var isWriter = access == OverlayAccess.Write;
        using var look = Open(path);
        var file = LockHolder.Outlast(() => TryReopen(look, isWriter, direct), () => null, out _)
            ?? throw new LincowException(StoreErrors.DeviceInUse(path));
        opened?.Add(file);
        try
        {
            if (access != OverlayAccess.Peek && Lock(file, isWriter) is { } holder)
                throw new LincowException(StoreErrors.OverlayInUse(overlay, holder));
            return file;
        }
        catch
        {
            if (opened is null)
                file.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Locks a file; returns who is in the way, or null. A file system without locks is no place for a writer, and does for who only reads.
    /// Throws <see cref="LincowException"/>.
    /// </summary>
    public static string? Lock(LinuxFile file, bool isWriter)
    {
        try
        {
            return new FileControl(file).LockAsync(BlobLock.Content, isWriter, outlast: true).Now();
        }
        // mutation: overlay-written-without-a-lock
        catch (LinuxException e) when (FileControl.HasNoLocks(e))
        {
            return isWriter ? throw new LincowException(StoreErrors.OverlayUnlockable(file.Path, e), e) : null;
        }
    }

    /// <summary>
    /// Opens the very file that was looked at, in another way; a block device exclusively if so wanted. Throws
    /// <see cref="LincowException"/>.
    /// </summary>
    public static LinuxFile ReopenSeen(LinuxFile look, bool writable, bool direct, bool exclusive)
    {
        try
        {
            return look.Reopen(writable, direct, exclusive && look.Facts.Kind == FileKind.BlockDevice);
        }
        catch (LinuxException e) when (direct && e.Errno == Errno.Invalid)
        {
            throw new LincowException(StoreErrors.NoDirectIO(look.Path), e);
        }
        catch (LinuxException e)
        {
            throw new LincowException(StoreErrors.Unopenable(look.Path, writable, e), e);
        }
    }

    /// <summary>Opens a file of any format, for reading, that nobody else is writing by any rule of theirs.</summary>
    public static LinuxFile OpenUnused(string path)
    {
        LinuxFile file;
        try
        {
            file = LinuxFile.Open(path, writable: false, exclusiveDevice: true);
        }
        catch (LinuxException e) when (e.Errno == Errno.Busy)
        {
            throw new LincowException(StoreErrors.SourceDeviceInUse(path), e);
        }
        catch (LinuxException e)
        {
            throw new LincowException(StoreErrors.Unopenable(path, writable: false, e), e);
        }
        // User-mode Linux locks its files as a whole; lincow has a byte of its own.
        if (!file.IsLockedElsewhere(0) && !file.IsLockedElsewhere(OriginFile.LockByte))
            return file;
        file.Dispose();
        throw new LincowException(StoreErrors.SourceInUse(path, LockHolder.Find(file.Facts) ?? "another process"));
    }

    // A block device has one writer, known to the kernel.
    private static LinuxFile? TryReopen(LinuxFile look, bool writable, bool direct)
    {
        try
        {
            return ReopenSeen(look, writable, direct, exclusive: writable);
        }
        catch (LincowException e) when (e.InnerException is LinuxException { Errno: Errno.Busy })
        {
            return null;
        }
    }
}
