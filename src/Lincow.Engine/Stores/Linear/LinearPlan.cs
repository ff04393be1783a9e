using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.Linear;

/// <summary>
/// A linear overlay that is to be made. The superblocks are written last, so a creation that is cut off leaves something that isn't an
/// overlay.
/// </summary>
internal sealed class LinearPlan : IStorePlan
{
    /// <summary>How much of a device's map area is cleared at a time.</summary>
    private const int ClearBytes = 1 << 20;

    private readonly Superblock _superblock;

    public LinearPlan(StorePlanOptions options) : this(Plan(options.Origin, options.DeviceBytes, options.MaxDeviceBytes, options.ChunkShift,
        options.Create.Map is null ? null : LinuxPath.Full(options.Create.Overlay), options.Create.SectorBytes, options.OriginUri))
    {
    }

    public LinearPlan(Superblock superblock)
    {
        // Encoding checks the lengths of the paths, before anything is touched.
        superblock.Encode(new byte[Superblock.SizeBytes]);
        _superblock = superblock.Marked();
    }

    public Superblock Superblock => _superblock;

    public void RequireRoom(LinuxFile metadata, LinuxFile data) => RequireRoom(_superblock, metadata, data);

    public void Lay(LinuxFile metadata, LinuxFile data, bool preallocate) => Lay(_superblock, metadata, data, preallocate);

    public StoreFiles Take(LinuxFile metadata, LinuxFile data) =>
        new LinearFiles(data.Path, metadata, data, LinearFiles.ReadSuperblock(metadata));

    /// <summary>The superblock of a new overlay, before it is marked as this user's.</summary>
    /// <param name="separateData">Where the data lies, if not behind the map.</param>
    /// <param name="sectorBytes">The device's logical sectors, if the caller chose them.</param>
    /// <param name="originUri">What it is to remember of the origin's place; null for the origin's own name.</param>
    internal static Superblock Plan(OriginFile origin, long size, long maxSize, int chunkShift, string? separateData,
        int? sectorBytes = null, string? originUri = null) => new()
        {
            // Those of most disks need not be remembered.
            SectorBytes = sectorBytes ?? (SectorSize.Of(null, null, origin, size) is not SectorSize.Usual and var bytes ? bytes : null),
            Uuid = Guid.NewGuid(),
            Generation = 1,
            DeviceBytes = size,
            MaxDeviceBytes = maxSize,
            ChunkShift = chunkShift,
            Layout = separateData is null ? LinearLayout.Front : LinearLayout.Separate,
            DataOffset = separateData is null ? Superblock.ShiftFor(maxSize, chunkShift) : 0,
            Origin = origin.Identity,
            OriginUri = originUri ?? origin.Uri,
            DataPath = separateData ?? "",
        };

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
            throw new LincowException(StoreErrors.CannotReserve(dataFile.Path));
        if (!ReferenceEquals(mapFile, dataFile))
        {
            dataFile.TrySetAttribute(LinearFormat.MapAttribute, mapFile.Path);
            dataFile.TrySetAttribute(LinearFormat.UuidAttribute, superblock.Uuid.ToString());
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
                throw new LincowException(StoreErrors.DeviceTooSmall(file.Path, file.Facts.SizeBytes, needed));
        }
    }

    private static (LinuxFile File, long Bytes)[] Needs(Superblock superblock, LinuxFile mapFile, LinuxFile dataFile) =>
        ReferenceEquals(mapFile, dataFile)
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
}
