using System.IO.Hashing;
using System.Text;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Stores;

namespace Lincow.Conversion;

/// <summary>
/// Where a conversion goes. A file bears another name, in the same directory, until it is complete and has been read back; then it is
/// renamed in one step. A block device has no other name: its first bytes are zero until everything behind them is on stable storage.
/// </summary>
internal sealed class ConvertTarget : IDisposable
{
    private const int HeadBytes = 64 << 10;

    private readonly string _path;
    private readonly bool _replace;
    private readonly LinuxFile? _replaced;
    private LinuxFile? _file, _seen;
    private bool _isPublished, _isBegun;

    private ConvertTarget(string path, string workPath, LinuxFile file, bool replace, LinuxFile? replaced) =>
        (_path, WorkPath, _file, _replace, _replaced) = (path, workPath, file, replace, replaced);

    /// <summary>The path under which it is written and read back.</summary>
    public string WorkPath { get; }

    public LinuxFile File => _file ?? throw new ObjectDisposedException(WorkPath);

    /// <summary>Opens it, and makes sure that nobody else uses it. Throws <see cref="LincowException"/>.</summary>
    public static ConvertTarget Open(string destination, bool force, OriginFile origin, FileFacts source)
    {
        var path = StorePath.FullPath(destination, "destination");
        LinuxFile? existing = null;
        try
        {
            if (Path.Exists(path))
            {
                existing = StorePath.Open(path);
                if (existing.Facts.IsSameFile(source))
                    throw new LincowException(ConversionErrors.DestinationIsSource(path));
                OverlayCreator.RequireFree(existing, origin, force);
                using (var look = existing)
                    existing = Claim(look);
                // Before it was locked, somebody may have put something there.
                OverlayCreator.RequireFree(existing, origin, force);
                if (existing.Facts.Kind == FileKind.BlockDevice)
                    return new ConvertTarget(path, path, existing, replace: false, replaced: null);
            }
            var workPath = Path.Combine(Path.GetDirectoryName(path)!, WorkName(Path.GetFileName(path)));
            return new ConvertTarget(path, workPath, CreateWorkFile(path, workPath), force, existing);
        }
        catch
        {
            existing?.Dispose();
            throw;
        }
    }

    /// <summary>Every check has been made: from here on, what is on a block device is lost.</summary>
    public void Begin()
    {
        _isBegun = true;
        if (WorkPath != _path)
            return;
        File.Write(new byte[Math.Min(HeadBytes, File.Facts.SizeBytes)], 0);
        File.Sync();
    }

    /// <summary>Everything has been written: what is read from now on comes from the disk, through another opening.</summary>
    public void BeginReadBack()
    {
        File.DropCache();
        // A block device is opened by one at a time.
        if (WorkPath != _path)
            return;
        _seen = _file!.Reopen(writable: false);
        _file.Dispose();
        _file = null;
    }

    /// <summary>Gives it its name.</summary>
    public void Publish()
    {
        if (WorkPath != _path)
        {
            try
            {
                LinuxFile.Rename(WorkPath, _path, _replace);
            }
            catch (LinuxException e) when (e.Errno == Errno.Exists)
            {
                throw new LincowException(ConversionErrors.DestinationAppeared(_path), e);
            }
            using var directory = LinuxFile.Open(Path.GetDirectoryName(_path)!, writable: false);
            directory.Sync();
        }
        _isPublished = true;
    }

    public void Dispose()
    {
        if (!_isPublished && WorkPath != _path)
            System.IO.File.Delete(WorkPath);
        else if (!_isPublished && _isBegun)
            Wipe();
        _file?.Dispose();
        _seen?.Dispose();
        _replaced?.Dispose();
    }

    // What was read back isn't what was to be written, or nothing was read back: it must not pass for complete.
    private void Wipe()
    {
        try
        {
            _file ??= _seen!.Reopen(writable: true, exclusiveDevice: true);
            _file.Write(new byte[Math.Min(HeadBytes, _file.Facts.SizeBytes)], 0);
            _file.Sync();
        }
        catch (LinuxException)
        {
            // The failure that led here is the one to tell.
        }
    }

    private static LinuxFile Claim(LinuxFile look)
    {
        var path = look.Path;
        LinuxFile file;
        try
        {
            file = StorePath.ReopenSeen(look, writable: true, direct: false, exclusive: true);
        }
        catch (LincowException e) when (e.InnerException is LinuxException { Errno: Errno.Busy })
        {
            throw new LincowException(ConversionErrors.DestinationDeviceInUse(path), e);
        }
        if (file.TryLock(OriginFile.LockByte, exclusive: true))
            return file;
        var holder = LockHolder.Find(file.Facts) ?? "another process";
        file.Dispose();
        throw new LincowException(ConversionErrors.FileInUse(path, holder));
    }

    private static LinuxFile CreateWorkFile(string path, string workPath)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                var file = LinuxFile.CreateNew(workPath);
                // Another byte than that of overlays, whose readers come when it is complete.
                file.TryLock(OriginFile.LockByte + 1, exclusive: true);
                return file;
            }
            catch (LinuxException e) when (e.Errno == Errno.Exists && attempt == 0)
            {
                RemoveLeftOver(path, workPath);
            }
            catch (LinuxException e)
            {
                throw new LincowException(ConversionErrors.Unmakeable(path, e), e);
            }
        }
    }

    /// <summary>The same for every conversion to a name, as far as a directory's entry, which has 255 bytes, has room for it.</summary>
    internal static string WorkName(string name)
    {
        const int roomBytes = 255 - 12, digitBytes = 9;
        var bytes = Encoding.UTF8.GetBytes(name);
        if (bytes.Length <= roomBytes)
            return $".{name}.converting";
        var end = roomBytes - digitBytes;
        // mutation: name-cut-within-a-character
        while ((bytes[end] & 0xc0) == 0x80)
            end--;
        return $".{Encoding.UTF8.GetString(bytes, 0, end)}-{XxHash32.HashToUInt32(bytes):x8}.converting";
    }

    // Of a conversion that was killed.
    private static void RemoveLeftOver(string path, string workPath)
    {
        using var left = StorePath.Open(workPath, writable: true);
        if (!left.TryLock(OriginFile.LockByte + 1, exclusive: true))
            throw new LincowException(ConversionErrors.DestinationInUse(path, LockHolder.Find(left.Facts) ?? "another process"));
        System.IO.File.Delete(workPath);
    }
}
