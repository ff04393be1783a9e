using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores;

/// <summary>
/// The data of a transient overlay: a file without a name, so that nothing is left behind even by kill -9, or a block device.
/// </summary>
internal static class TransientFile
{
    /// <summary>A store without room for so much is of little use to anybody.</summary>
    private const long SmallestStoreBytes = 64 << 20;

    public static LinuxFile Open(string? place, long sizeBytes, bool direct)
    {
        var path = LinuxPath.Full(place ?? DefaultDirectory());
        try
        {
            var file = OpenAt(path, direct);
            if (file.Facts.Kind == FileKind.Regular)
            {
                try
                {
                    file.SetLength(sizeBytes);
                    return file;
                }
                catch
                {
                    file.Dispose();
                    throw;
                }
            }
            if (file.Facts.SizeBytes >= sizeBytes && StorePath.Lock(file, isWriter: true) is null)
                return file;
            var problem = file.Facts.SizeBytes < sizeBytes
                ? StoreErrors.DeviceTooSmall(path, file.Facts.SizeBytes, sizeBytes)
                : StoreErrors.TransientInUse(path, LockHolder.Find(file.Facts) ?? "another process");
            file.Dispose();
            throw new LincowException(problem);
        }
        catch (LinuxException e) when (e.Errno == Errno.FileTooBig)
        {
            throw new LincowException(StoreErrors.TransientTooLong(path), e);
        }
        catch (LinuxException e) when (direct && e.Errno == Errno.Invalid)
        {
            throw new LincowException(StoreErrors.NoDirectIO(path), e);
        }
        catch (LinuxException e)
        {
            throw new LincowException(StoreErrors.TransientUnholdable(path, e), e);
        }
    }

    /// <summary>
    /// As <see cref="Open"/>, for a store that may be smaller than the device: an existing file or device of any size is used as it is.
    /// </summary>
    public static LinuxFile OpenStore(string? place, long sizeBytes, bool direct)
    {
        var path = LinuxPath.Full(place ?? DefaultDirectory());
        if (!File.Exists(path))
            return OpenNewStore(place, sizeBytes, direct);
        return Free(StorePath.OpenLocked(path, OverlayAccess.Write, direct, path));
    }

    // Room for every chunk if such a file can be, else as much as can be: nobody has that much to write there.
    private static LinuxFile OpenNewStore(string? place, long sizeBytes, bool direct)
    {
        for (; ; sizeBytes /= 2)
        {
            try
            {
                return Open(place, sizeBytes, direct);
            }
            catch (LincowException e) when (e.Error.Code == LincowErrorCode.TransientTooLong && sizeBytes > SmallestStoreBytes)
            {
            }
        }
    }

    private static LinuxFile OpenAt(string path, bool direct)
    {
        if (Directory.Exists(path))
            return LinuxFile.CreateUnnamed(path, direct);
        if (!File.Exists(path))
        {
            // The name is only there for a moment: the descriptor keeps the file.
            var file = LinuxFile.CreateNew(path);
            try
            {
                return direct ? file.Reopen(writable: true, direct: true) : file;
            }
            finally
            {
                File.Delete(path);
                if (direct)
                    file.Dispose();
            }
        }
        using var look = LinuxFile.Open(path, writable: false);
        if (look.Facts.Kind != FileKind.BlockDevice)
            throw new LincowException(StoreErrors.TransientWouldOverwrite(path));
        return Free(look.Reopen(writable: true, direct, exclusiveDevice: true));
    }

    // What is there is overwritten: whoever names it means that, but for what an origin needs to be whole.
    private static LinuxFile Free(LinuxFile file)
    {
        try
        {
            CutCommit.RefuseToReplace(file);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static string DefaultDirectory() => Environment.GetEnvironmentVariable("TMPDIR") is { Length: > 0 } directory ? directory
        : "/var/tmp";
}
