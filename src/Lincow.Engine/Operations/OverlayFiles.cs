using Lincow.Linux;
using Lincow.Stores.Linear;

namespace Lincow.Operations;

/// <summary>How an overlay's files are opened.</summary>
internal enum OverlayAccess
{
    /// <summary>Looks only, also while somebody else writes.</summary>
    Peek,

    /// <summary>Reads a state that nobody changes meanwhile: shared lock.</summary>
    Read,

    /// <summary>The one writer: exclusive lock.</summary>
    Write,
}

/// <summary>
/// An overlay's files, found, opened, locked and checked against each other: the one with the superblock and the map, and the one with the
/// data (the same in the front layout).
///
/// Which is which, for a path that the user gives: the map named with --map; else the map that the data file names in its extended attribute
/// or that lies beside it as PATH.map; else the superblock at the path's own start. In that order, because a separate data file begins with
/// the guest's bytes, and a guest must not be able to pass for a superblock.
/// </summary>
internal sealed class OverlayFiles : IDisposable
{
    public const string MapAttribute = "user.lincow.map";
    public const string UuidAttribute = "user.lincow.uuid";

    private OverlayFiles(string path, LinuxFile mapFile, LinuxFile dataFile, SuperblockReading reading)
    {
        (Path, MapFile, DataFile, Reading) = (path, mapFile, dataFile, reading);
    }

    /// <summary>As the user named it.</summary>
    public string Path { get; }

    public LinuxFile MapFile { get; }

    public LinuxFile DataFile { get; }

    public SuperblockReading Reading { get; }

    public Superblock Superblock => Reading.Current!;

    /// <summary>Opens an overlay. Throws <see cref="LincowException"/>.</summary>
    public static OverlayFiles Open(string overlay, string? map, OverlayAccess access, bool direct = false, bool acceptMap = false)
    {
        var path = FullPath(overlay, "overlay");
        var (mapPath, dataPath) = Locate(path, map);
        var files = new List<LinuxFile>();
        try
        {
            var mapFile = OpenLocked(mapPath, access, direct, overlay, files);
            var reading = ReadSuperblock(mapFile);
            var dataFile = mapFile;
            if (reading.Current!.Layout == LinearLayout.Separate)
            {
                dataPath ??= FindNamed(reading.Current, mapPath);
                dataFile = OpenLocked(dataPath, access, direct, overlay, files);
                RequireSamePair(mapFile, dataFile, reading.Current, acceptMap);
            }
            else if (map is not null)
            {
                throw new LincowException($"{mapPath}: is an overlay with its map at the front, not a separate map. Leave out --map");
            }
            return Take(path, mapFile, dataFile, reading, access);
        }
        catch
        {
            files.ForEach(file => file.Dispose());
            throw;
        }
    }

    /// <summary>Files that are open and locked become an overlay, if they can be one.</summary>
    internal static OverlayFiles Take(string path, LinuxFile mapFile, LinuxFile dataFile, SuperblockReading reading, OverlayAccess access)
    {
        if (access == OverlayAccess.Write && reading.Current!.ForbidsWriting is { } bit)
            throw new LincowException($"{mapFile.Path}: uses {bit}, which this lincow doesn't know, so it can't write to it. Serve it with --read-only, or use a newer lincow");
        // mutation: open-trusts-the-cache
        if (access == OverlayAccess.Write && reading.Current!.InUse)
            reading = ForgetCache(mapFile, dataFile);
        var result = new OverlayFiles(path, mapFile, dataFile, reading);
        result.RequireLengths();
        return result;
    }

    // Whoever wrote last didn't close. If that was because a sync failed, the page cache may show what the disk never got: what is still
    // dirty goes to the disk now, and everything is read from there.
    private static SuperblockReading ForgetCache(LinuxFile mapFile, LinuxFile dataFile)
    {
        mapFile.Sync();
        dataFile.Sync();
        mapFile.DropCache();
        dataFile.DropCache();
        return ReadSuperblock(mapFile);
    }

    /// <summary>"process 12 (lincow)" when the overlay is open for writing elsewhere; null when it is free.</summary>
    public string? Writer() => MapFile.IsLockedElsewhere(OriginFile.LockByte) ? LockHolder.Find(MapFile.Facts) ?? "another process" : null;

    public void Dispose()
    {
        MapFile.Dispose();
        DataFile.Dispose();
    }

    /// <summary>A path as the user gave it, made absolute.</summary>
    internal static string FullPath(string path, string what) => path.Length > 0
        ? System.IO.Path.GetFullPath(path)
        : throw new LincowException($"the path of the {what} is empty; give a file or block device");

    private static (string MapPath, string? DataPath) Locate(string path, string? map)
    {
        if (map is not null)
            return (FullPath(map, "map"), path);
        using var file = OpenPath(path, writable: false, direct: false, exclusive: false);
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice))
            throw new LincowException($"{path}: is not a file or block device, so it can't be an overlay");
        return FindMapOf(file) is { } found ? (found, path) : (path, null);
    }

    /// <summary>The map of the overlay whose data lies in a file: the one that it names, or PATH.map. Null when its map is in front.</summary>
    internal static string? FindMapOf(LinuxFile data) => data.GetAttribute(MapAttribute) is { } named ? FindMoved(named, data.Path) : FindBeside(data.Path);

    /// <summary>PATH.map, if it is the map of an overlay whose data lies apart.</summary>
    internal static string? FindBeside(string path)
    {
        var beside = path + ".map";
        return File.Exists(beside) && HasSuperblock(beside) ? beside : null;
    }

    // The map alone was given. One from elsewhere could name any file as its data, and that file would be written to.
    // mutation: foreign-data-followed
    private static string FindNamed(Superblock superblock, string mapPath) => superblock.IsOwn
        ? FindMoved(superblock.DataPath, mapPath)
        : throw new LincowException($"{mapPath}: is a separate map that this user didn't make on this machine, and the data file that it names, {superblock.DataPath}, is not opened on its word. If it is the right one, give the data file itself, and this map with --map");

    // Files that were moved or copied together find each other: a copy must never find the original's other half.
    internal static string FindMoved(string recorded, string sibling)
    {
        var beside = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(sibling)!, System.IO.Path.GetFileName(recorded));
        return File.Exists(beside) ? beside : recorded;
    }

    private static bool HasSuperblock(string path)
    {
        using var file = OpenPath(path, writable: false, direct: false, exclusive: false);
        var both = new byte[2 * Superblock.SizeBytes];
        file.Read(both, 0);
        return SuperblockFile.Decode(both, path).Current?.Layout == LinearLayout.Separate;
    }

    /// <summary>Opens one file of an overlay, and locks it as the access needs; it is put on the list first, if there is one.</summary>
    internal static LinuxFile OpenLocked(string path, OverlayAccess access, bool direct, string overlay, List<LinuxFile>? opened = null)
    {
        var isWriter = access == OverlayAccess.Write;
        using var look = OpenPath(path, writable: false, direct: false, exclusive: false);
        var file = LockHolder.Outlast(() => TryReopen(look, isWriter, direct), () => null, out _)
            ?? throw new LincowException($"{path}: the block device is in use (mounted, claimed, or served by another process). Stop its user first");
        opened?.Add(file);
        if (access != OverlayAccess.Peek && LockHolder.Outlast(() => file.TryLock(OriginFile.LockByte, isWriter) ? file : null, () => LockHolder.Find(file.Facts), out var holder) is null)
        {
            if (opened is null)
                file.Dispose();
            throw new LincowException($"{overlay}: is in use by {holder ?? "another process"}. An overlay has one writer at a time; stop that process first") { IsInUse = true };
        }
        return file;
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

    /// <summary>Opens the very file that was looked at, in another way; a block device exclusively if so wanted. Throws <see cref="LincowException"/>.</summary>
    internal static LinuxFile ReopenSeen(LinuxFile look, bool writable, bool direct, bool exclusive)
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

    internal static LinuxFile OpenPath(string path, bool writable, bool direct, bool exclusive)
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

    internal static SuperblockReading ReadSuperblock(LinuxFile file)
    {
        const int bytes = 2 * Superblock.SizeBytes;
        using var both = new AlignedBytes(bytes);
        var length = file.Read(both.Span, 0);
        var reading = SuperblockFile.Decode(both.Span, file.Path);
        if (reading.Current is not null)
            return reading;
        if (reading.First is SlotProblem.Checksum or SlotProblem.Fields || reading.Second is SlotProblem.Checksum or SlotProblem.Fields)
            throw new LincowException($"{file.Path}: both superblocks are damaged (bytes 0 to {2 * Superblock.SizeBytes - 1}), so nothing in it can be trusted. Restore them from a copy, or make the overlay anew") { IsDamage = true };
        var hint = length < bytes ? $"it has only {length} bytes" : "there is no superblock at its start and no map beside it";
        throw new LincowException($"{file.Path}: is not a lincow overlay ({hint}). If its map lies elsewhere, give it with --map; 'lincow create' makes overlays");
    }

    private static void RequireSamePair(LinuxFile mapFile, LinuxFile dataFile, Superblock superblock, bool acceptMap)
    {
        var tag = dataFile.GetAttribute(UuidAttribute);
        var isNamed = superblock.DataPath == dataFile.Path;
        if (tag is null ? isNamed || acceptMap : tag == superblock.Uuid.ToString() && (isNamed || acceptMap || !IsCopyOfHalf(mapFile, dataFile, superblock)))
            return;
        if (tag == superblock.Uuid.ToString())
            throw new LincowException($"{mapFile.Path}: is the map of {superblock.DataPath}, which still exists, and {dataFile.Path} is a copy of it. Copy the map as well, beside the data; or add --accept-map if this is the one to use");
        var reason = tag is not null
            ? $"it belongs to overlay {superblock.Uuid}, and the data file is tagged {tag}"
            : $"it was made for {superblock.DataPath}, and the data file bears no tag. If it is the same file at a new place, add --accept-map";
        throw new LincowException($"{mapFile.Path}: is the wrong map for {dataFile.Path}: {reason}");
    }

    // The copy bears the original's tag; but the map, which was not copied, belongs to the original.
    private static bool IsCopyOfHalf(LinuxFile mapFile, LinuxFile dataFile, Superblock superblock)
    {
        // Both halves copied together lie together, under their own names.
        var isPair = System.IO.Path.GetDirectoryName(mapFile.Path) == System.IO.Path.GetDirectoryName(dataFile.Path)
            && System.IO.Path.GetFileName(superblock.DataPath) == System.IO.Path.GetFileName(dataFile.Path);
        if (isPair || !File.Exists(superblock.DataPath))
            return false;
        using var original = OpenPath(superblock.DataPath, writable: false, direct: false, exclusive: false);
        return !original.Facts.IsSameFile(dataFile.Facts);
    }

    private void RequireLengths()
    {
        RequireLength(MapFile, Superblock.MapFileBytes);
        RequireLength(DataFile, Superblock.DataFileBytes);
    }

    private static void RequireLength(LinuxFile file, long needed)
    {
        if (file.Facts.SizeBytes < needed)
            throw new LincowException($"{file.Path}: is truncated: it has {file.Facts.SizeBytes} bytes and needs {needed}. What lies beyond its end is lost; restore it from a copy") { IsDamage = true };
    }
}
