using System.Numerics;
using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Operations;

/// <summary>What a new overlay is to be.</summary>
public sealed record CreateOptions
{
    /// <summary>A path for a file, or an existing block device.</summary>
    public required string Overlay { get; init; }

    /// <summary>A path, or zero:SIZE.</summary>
    public required string Origin { get; init; }

    /// <summary>Instead of <see cref="Origin"/>, which is then the empty string: an origin that a program decides on. It is disposed of.</summary>
    public UserOrigin? UserOrigin { get; init; }

    /// <summary>The separate map's path; null puts the map in front of the data.</summary>
    public string? Map { get; init; }

    public long ChunkBytes { get; init; } = 4096;

    /// <summary>The device's size in bytes; null for the origin's.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>What the device may grow to later; null for its size.</summary>
    public long? MaxSizeBytes { get; init; }

    /// <summary>Linear, or as dm-snapshot does it.</summary>
    public StoreKind Store { get; init; }

    /// <summary>For a snapshot store in a file: its size in bytes; null for what keeps every chunk of the device (sparse).</summary>
    public long? StoreBytes { get; init; }

    /// <summary>Reserve all of the data's space now.</summary>
    public bool Preallocate { get; init; }

    /// <summary>Replace what is there.</summary>
    public bool Force { get; init; }
}

/// <summary>Makes overlays. The superblocks are written last, so a creation that is cut off leaves something that isn't an overlay.</summary>
public static class OverlayCreator
{
    /// <summary>How much of a device's map area is cleared at a time.</summary>
    private const int ClearBytes = 1 << 20;

    /// <summary>Makes the overlay. Throws <see cref="LincowException"/>; files that it made are gone then.</summary>
    public static void Create(CreateOptions options)
    {
        var chunkShift = ChunkShift(options.ChunkBytes);
        OverlayFiles.FullPath(options.Overlay, "overlay");
        OverlayFiles.FullPath(options.Map ?? options.Overlay, "map");
        using var origin = OriginFile.Open(options.UserOrigin, options.Origin);
        var size = DeviceSize(options, origin);
        var maxSize = Math.Max(size, options.MaxSizeBytes ?? size);
        if (options.MaxSizeBytes < size)
            throw new LincowException($"--max-size {options.MaxSizeBytes} is smaller than the device's size, {size} bytes");
        RequireSize(maxSize, "--max-size");
        if (options.Store == StoreKind.Snapshot)
        {
            Make(options, made =>
            {
                using var file = OpenTarget(options.Overlay, options.Force, origin, made);
                SnapshotAdmin.RequireCapacity(file, options.StoreBytes, new Geometry(size, chunkShift));
                Clear(file);
                SnapshotAdmin.Lay(file, options.StoreBytes, new Geometry(size, chunkShift), origin, options.Preallocate);
            });
            return;
        }
        var superblock = Plan(origin, size, maxSize, chunkShift, options.Map is null ? null : Path.GetFullPath(options.Overlay));
        // Encoding checks the lengths of the paths, before anything is touched.
        superblock.Encode(new byte[Superblock.SizeBytes]);
        superblock = superblock.Marked();
        Make(options, made =>
        {
            // mutation: create-clears-before-the-checks
            using var data = OpenTarget(options.Overlay, options.Force, origin, made);
            RequireApart(options.Map, data);
            using var separate = options.Map is null ? null : OpenTarget(options.Map, options.Force, origin, made);
            RequireRoom(superblock, separate ?? data, data);
            Clear(data);
            if (separate is not null)
                Clear(separate);
            Lay(superblock, separate ?? data, data, options.Preallocate);
        });
    }

    private static void Make(CreateOptions options, Action<List<string>> lay)
    {
        if (options.Map is null)
            RequireNoMapBeside(Path.GetFullPath(options.Overlay));
        var made = new List<string>();
        try
        {
            lay(made);
            // A new file's name is only safe when its directory is.
            foreach (var path in made)
            {
                using var directory = LinuxFile.Open(Path.GetDirectoryName(path)!, writable: false);
                directory.Sync();
            }
        }
        catch (Exception e)
        {
            made.ForEach(File.Delete);
            if (e is LinuxException error)
                throw new LincowException($"{error.Message}{Advice(error.Errno)}", e);
            throw;
        }
    }

    /// <summary>The superblock of a new overlay, before it is marked as this user's.</summary>
    /// <param name="separateData">Where the data lies, if not behind the map.</param>
    internal static Superblock Plan(OriginFile origin, long size, long maxSize, int chunkShift, string? separateData) => new()
    {
        Uuid = Guid.NewGuid(),
        Generation = 1,
        DeviceBytes = size,
        MaxDeviceBytes = maxSize,
        ChunkShift = chunkShift,
        Layout = separateData is null ? LinearLayout.Front : LinearLayout.Separate,
        DataOffset = separateData is null ? Superblock.ShiftFor(maxSize, chunkShift) : 0,
        Origin = origin.Identity,
        OriginUri = origin.Uri,
        DataPath = separateData ?? "",
    };

    internal static void RequireNoMapBeside(string path)
    {
        if (OverlayFiles.FindBeside(path) is { } beside)
            throw new LincowException($"{beside}: is the map of an earlier overlay at {path}, and would be taken for this one's. Remove it, or give another path");
    }

    internal static int ChunkShift(long chunkBytes)
    {
        if (chunkBytes < Geometry.MinChunkBytes || chunkBytes > Geometry.MaxChunkBytes || !BitOperations.IsPow2(chunkBytes))
            throw new LincowException($"chunk size {chunkBytes}: must be a power of two from 512 bytes to 64 MiB, for example 4K or 64K");
        return BitOperations.Log2((ulong)chunkBytes);
    }

    internal static void RequireSize(long bytes, string what)
    {
        if (bytes <= 0)
            throw new LincowException($"{what}: the device would have no bytes. Give its size with --size");
        if (bytes % 512 != 0)
            throw new LincowException($"{what}: {bytes} bytes is not a multiple of 512. Give a size with --size, for example {(bytes + 511) / 512 * 512}");
        if (bytes > Geometry.MaxDeviceBytes)
            throw new LincowException($"{what}: {bytes} bytes is more than 2^60, the largest device");
    }

    private static long DeviceSize(CreateOptions options, OriginFile origin)
    {
        var size = options.SizeBytes ?? origin.Identity.SizeBytes;
        RequireSize(size, options.SizeBytes is null ? origin.Uri : "--size");
        if (origin.Identity.SizeBytes > size)
            throw new LincowException($"{origin.Uri}: the origin has {origin.Identity.SizeBytes} bytes and the device would have {size}. Give --size {(origin.Identity.SizeBytes + 511) / 512 * 512} or more, or leave --size out");
        return size;
    }

    private static void RequireApart(string? map, LinuxFile data)
    {
        if (map is null || !File.Exists(map))
            return;
        using var look = OverlayFiles.OpenPath(Path.GetFullPath(map), writable: false, direct: false, exclusive: false);
        if (look.Facts.IsSameFile(data.Facts))
            throw new LincowException($"{map}: the map and the overlay are the same file. Give --map a path of its own, or leave it out");
    }

    /// <summary>Opens a target and makes sure that it is free; nothing of what is there changes yet.</summary>
    private static LinuxFile OpenTarget(string target, bool force, OriginFile origin, List<string> made)
    {
        var path = Path.GetFullPath(target);
        LinuxFile file;
        try
        {
            file = LinuxFile.CreateNew(path);
            made.Add(path);
            file.TryLock(OriginFile.LockByte, exclusive: true);
            return file;
        }
        catch (LinuxException e) when (e.Errno == Errno.Exists)
        {
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{path}: can't be made: {e.Reason}", e);
        }
        using (var look = OverlayFiles.OpenPath(path, writable: false, direct: false, exclusive: false))
        {
            RequireFree(look, origin, force);
            file = OverlayFiles.ReopenSeen(look, writable: true, direct: false, exclusive: true);
        }
        if (!file.TryLock(OriginFile.LockByte, exclusive: true))
        {
            var holder = LockHolder.Find(file.Facts) ?? "another process";
            file.Dispose();
            throw new LincowException($"{path}: is in use by {holder}; stop that process first");
        }
        try
        {
            // Before it was locked, somebody may have put something there.
            RequireFree(file, origin, force);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    // The last of all checks has been made.
    private static void Clear(LinuxFile file)
    {
        if (file.Facts.Kind != FileKind.Regular)
            return;
        file.SetLength(0);
        // They would lead to the map of the overlay that was here before.
        file.RemoveAttribute(OverlayFiles.MapAttribute);
        file.RemoveAttribute(OverlayFiles.UuidAttribute);
        file.RemoveAttribute(OriginNote.Attribute);
    }

    internal static void RequireFree(LinuxFile file, OriginFile origin, bool force)
    {
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice))
            throw new LincowException($"{file.Path}: is not a file or block device, so it can't be an overlay");
        if (origin.Facts is { } facts && facts.IsSameFile(file.Facts))
            throw new LincowException($"{file.Path}: is the origin itself. An overlay needs a file or device of its own");
        // mutation: create-over-a-cut-commit
        UnfinishedCommit.RefuseToReplace(file);
        if (force)
            return;
        var head = new byte[2 * Superblock.SizeBytes];
        var isBlank = file.Read(head, 0) == 0 || head.AsSpan().IndexOfAnyExcept((byte)0) < 0;
        var isOverlay = SuperblockFile.Decode(head, file.Path).Current is not null;
        isOverlay |= SnapshotHeader.HasMagic(head);
        if (isOverlay)
            throw new LincowException($"{file.Path}: is an overlay already. 'lincow reset' takes it back to its origin; --force makes it anew and loses what it holds");
        if (file.Facts.Kind == FileKind.Regular && file.Facts.SizeBytes > 0)
            throw new LincowException($"{file.Path}: exists already. Give another path, or --force to replace it and lose what it holds");
        if (!isBlank)
            throw new LincowException($"{file.Path}: the block device holds something (its first bytes are not zero). Give --force to overwrite it");
    }

    /// <summary>Lays a new overlay into its files, which are empty or to be overwritten.</summary>
    internal static void Lay(Superblock superblock, LinuxFile mapFile, LinuxFile dataFile, bool preallocate)
    {
        Prepare(superblock, mapFile, dataFile, preallocate);
        SuperblockFile.Create(mapFile, superblock);
        // mutation: create-without-sync
        mapFile.Sync();
    }

    /// <summary>All but the superblocks, without which it isn't an overlay.</summary>
    internal static void Prepare(Superblock superblock, LinuxFile mapFile, LinuxFile dataFile, bool preallocate)
    {
        RequireRoom(superblock, mapFile, dataFile);
        foreach (var (file, needed) in Needs(superblock, mapFile, dataFile))
        {
            if (file.Facts.Kind == FileKind.Regular)
                file.SetLength(needed);
        }
        if (mapFile.Facts.Kind == FileKind.BlockDevice)
            // mutation: device-not-cleared
            ClearMap(mapFile, Superblock.MapOffsetBytes + superblock.MapBytes);
        if (preallocate && dataFile.Facts.Kind == FileKind.Regular && !dataFile.TryReserve(superblock.DataOffset, superblock.DeviceBytes))
            throw new LincowException($"{dataFile.Path}: its file system can't reserve space. Leave out --preallocate");
        if (!ReferenceEquals(mapFile, dataFile))
        {
            dataFile.TrySetAttribute(OverlayFiles.MapAttribute, mapFile.Path);
            dataFile.TrySetAttribute(OverlayFiles.UuidAttribute, superblock.Uuid.ToString());
            dataFile.Sync();
        }
        // What was there before is gone for good before anything new is there.
        // mutation: create-over-what-was-there (2 lines)
        if (mapFile.Facts.SizeBytes > 0)
            mapFile.Sync();
    }

    /// <summary>Throws <see cref="LincowException"/> when a block device is too small.</summary>
    internal static void RequireRoom(Superblock superblock, LinuxFile mapFile, LinuxFile dataFile)
    {
        foreach (var (file, needed) in Needs(superblock, mapFile, dataFile))
        {
            if (file.Facts.Kind != FileKind.Regular && file.Facts.SizeBytes < needed)
                throw new LincowException($"{file.Path}: the block device has {file.Facts.SizeBytes} bytes and the overlay needs {needed}");
        }
    }

    private static (LinuxFile File, long Bytes)[] Needs(Superblock superblock, LinuxFile mapFile, LinuxFile dataFile) => ReferenceEquals(mapFile, dataFile)
        ? [(mapFile, superblock.MapFileBytes)]
        : [(mapFile, superblock.MapFileBytes), (dataFile, superblock.DataFileBytes)];

    // A device may hold the pages of an earlier overlay; they must read as never written. Superblocks first: from here on it is no overlay.
    private static void ClearMap(LinuxFile device, long byteLength)
    {
        device.Write(new byte[2 * Superblock.SizeBytes], 0);
        device.Sync();
        if (device.TryPunchHole(0, byteLength))
            return;
        var zeroes = new byte[ClearBytes];
        for (long offset = 0; offset < byteLength; offset += ClearBytes)
            device.Write(zeroes.AsSpan(0, (int)Math.Min(ClearBytes, byteLength - offset)), offset);
        device.Sync();
    }

    private static string Advice(int errno) => errno switch
    {
        Errno.NoSpace or Errno.Quota => ". Make room, or leave out --preallocate",
        Errno.FileTooBig => ". The file system allows no file of this length; use xfs, a larger --chunk or a block device",
        _ => "",
    };
}
