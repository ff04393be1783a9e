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
        ? Path.GetFullPath(path)
        : throw new LincowException($"the path of the {what} is empty; give a file or block device");

    public static LinuxFile Open(string path, bool writable = false, bool direct = false, bool exclusive = false)
    {
        try
        {
            return LinuxFile.Open(path, writable, direct, exclusive);
        }
        catch (LinuxException e) when (e.Errno == Errno.NoEntry)
        {
            throw new LincowException($"{path}: there is no such file. 'lincow create' makes overlays", e);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{path}: can't be opened{(writable ? " for writing" : "")}: {e.Reason}", e);
        }
    }

    /// <summary>Opens one file of an overlay, and locks it as the access needs; it is put on the list first, if there is one.</summary>
    public static LinuxFile OpenLocked(string path, OverlayAccess access, bool direct, string overlay, List<LinuxFile>? opened = null)
    {
        var isWriter = access == OverlayAccess.Write;
        using var look = Open(path);
        var file = LockHolder.Outlast(() => TryReopen(look, isWriter, direct), () => null, out _)
            ?? throw new LincowException($"{path}: the block device is in use (mounted, claimed, or served by another process). Stop its "
                + $"user first");
        opened?.Add(file);
        if (access != OverlayAccess.Peek
            && new FileControl(file).LockAsync(BlobLock.Content, isWriter, outlast: true).Now() is { } holder)
        {
            if (opened is null)
                file.Dispose();
            throw new LincowException($"{overlay}: is in use by {holder}. An overlay has one writer at a time; stop "
                + $"that process first")
            { IsInUse = true };
        }
        return file;
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
        catch (LinuxException e)
        {
            throw new LincowException($"{look.Path}: can't be opened{(writable ? " for writing" : "")}: {e.Reason}", e);
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
            throw new LincowException($"{path}: the block device is in use (mounted, or part of a device-mapper device). Take it out of "
                + $"use first: 'dmsetup ls' shows who has it", e);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{path}: can't be opened: {e.Reason}", e);
        }
        // User-mode Linux locks its files as a whole; lincow has a byte of its own.
        if (!file.IsLockedElsewhere(0) && !file.IsLockedElsewhere(OriginFile.LockByte))
            return file;
        file.Dispose();
        throw new LincowException($"{path}: is in use by {LockHolder.Find(file.Facts) ?? "another process"}. Stop it first, so that what "
            + $"is read is one state");
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
