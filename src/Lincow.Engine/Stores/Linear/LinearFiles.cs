using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.Linear;

/// <summary>
/// An overlay's files, found, opened, locked and checked against each other: the one with the superblock and the map, and the one with the
/// data (the same in the front layout).
///
/// Which is which, for a path that the user gives: the map named with --map; else the map that the data file names in its extended
/// attribute or that lies beside it as PATH.map; else the superblock at the path's own start. In that order, because a separate data file
/// begins with the guest's bytes, and a guest must not be able to pass for a superblock.
/// </summary>
internal sealed class LinearFiles : StoreFiles
{
    /// <summary>Files that were just laid: nothing of them has to be checked.</summary>
    public LinearFiles(string path, LinuxFile mapFile, LinuxFile dataFile, SuperblockReading reading)
    {
        (Path, MapFile, DataFile, Reading) = (path, mapFile, dataFile, reading);
    }

    public override string Path { get; }

    public LinuxFile MapFile { get; }

    public override LinuxFile DataFile { get; }

    public SuperblockReading Reading { get; }

    public Superblock Superblock => Reading.Current!;

    public override IReadOnlyList<FileFacts> Facts => [MapFile.Facts, DataFile.Facts];

    public override int ChunkShift => Superblock.ChunkShift;

    public override long? DeviceBytes => Superblock.DeviceBytes;

    public override int? SectorBytes => Superblock.SectorBytes;

    public override OriginRecord? Origin => new OriginRecord(RelativeOrigin.Resolve(Superblock.OriginUri, MapFile),
        Superblock.Origin);

    public override void RequireFollowable() => RelativeOrigin.RequireWithoutLinks(Superblock.OriginUri, MapFile);

    public override string? WhyForeign() => Superblock.WhyForeign(MapFile);

    public override bool IsCommitUnfinished => Superblock.IsCommitUnfinished;

    protected override LinuxFile MetadataFile => MapFile;

    /// <summary>Opens an overlay. Throws <see cref="LincowException"/>.</summary>
    public static LinearFiles Open(string overlay, string? map, OverlayAccess access, bool direct = false, bool acceptMap = false)
    {
        var path = StorePath.FullPath(overlay, "overlay");
        var (mapPath, dataPath) = Locate(path, map);
        var files = new List<LinuxFile>();
        try
        {
            var mapFile = StorePath.OpenLocked(mapPath, access, direct, overlay, files);
            var reading = ReadSuperblock(mapFile);
            var dataFile = mapFile;
            if (reading.Current!.Layout == LinearLayout.Separate)
            {
                dataPath ??= FindNamed(reading.Current, mapFile);
                dataFile = StorePath.OpenLocked(dataPath, access, direct, overlay, files);
                RequireSamePair(mapFile, dataFile, reading.Current, acceptMap);
            }
            else if (map is not null)
            {
                throw new LincowException(LinearErrors.MapIsOverlay(mapPath));
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
    internal static LinearFiles Take(string path, LinuxFile mapFile, LinuxFile dataFile, SuperblockReading reading, OverlayAccess access)
    {
        if (access == OverlayAccess.Write && reading.Current!.ForbidsWriting is { } bit)
            throw new LincowException(LinearErrors.FeatureForbidsWriting(mapFile.Path, bit));
        // mutation: open-trusts-the-cache
        if (access == OverlayAccess.Write && reading.Current!.InUse)
            reading = ForgetCache(mapFile, dataFile);
        var result = new LinearFiles(path, mapFile, dataFile, reading);
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

    public override long DeviceBytesOver(OriginFile origin, long? wanted) => Superblock.DeviceBytes;

    public override OpenStore Begin(OriginFile origin, OverlayOptions options, IoLoop loop)
    {
        var blob = new FileBlob(MapFile, loop);
        var data = ReferenceEquals(MapFile, DataFile) ? blob : new FileBlob(DataFile, loop);
        var superblock = Superblock;
        if (!options.ReadOnly)
        {
            if (Reading.NeedsRepair)
                SuperblockFile.Repair(blob, Reading, loop.Buffers);
            superblock = superblock.Over(RelativeOrigin.Keep(Superblock.OriginUri, origin.Uri, MapFile), origin.Identity);
            if (superblock.Layout == LinearLayout.Separate)
            {
                superblock = superblock with { DataPath = DataFile.Path };
                DataFile.TrySetAttribute(LinearFormat.MapAttribute, MapFile.Path);
            }
            // Somebody else's file, whose paths stay as they are, stays theirs: who was lent it names the origin each time.
            // mutation: lent-overlay-taken-over
            if ((superblock.OriginUri, superblock.DataPath) != (Superblock.OriginUri, Superblock.DataPath)
                || !HostMark.IsLent(MapFile, superblock.Mark))
                superblock = superblock.Marked();
        }
        var store = new LinearStore(superblock, blob, loop.Buffers);
        try
        {
            if (!options.ReadOnly)
                store.MarkInUse();
            return new LinearInUse(store, data);
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    public override OverlayInfo Describe(string? origin, CancellationToken stop = default) => LinearInfo.Of(this, stop);

    public override CheckReport Check(long? deviceBytes, bool repair, Action<double>? progress) => LinearCheck.Run(this, repair, progress);

    public override bool Reset(IoLoop loop) => LinearReset.Run(this, loop);

    public override ICommitSource BeginCommit(CommitTarget target, Func<OriginFile, IStoreDevice> open) =>
        LinearMerge.Open(this, target, open);

    public override void Dispose()
    {
        MapFile.Dispose();
        DataFile.Dispose();
    }

    private static (string MapPath, string? DataPath) Locate(string path, string? map)
    {
        if (map is not null)
            return (StorePath.FullPath(map, "map"), path);
        using var file = StorePath.Open(path);
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice))
            throw new LincowException(StoreErrors.NotAFile(path));
        return LinearFormat.FindMapOf(file) is { } found ? (found, path) : (path, null);
    }

    // The map alone was given. One from elsewhere could name any file as its data, and that file would be written to.
    // mutation: foreign-data-followed
    private static string FindNamed(Superblock superblock, LinuxFile map) => superblock.WhyForeign(map) is not { } why
        ? LinearFormat.FindMoved(superblock.DataPath, map.Path)
        : throw new LincowException(LinearErrors.DataForeign(map.Path, superblock.DataPath, why));

    internal static SuperblockReading ReadSuperblock(LinuxFile file)
    {
        const int bytes = 2 * Superblock.SizeBytes;
        using var both = new AlignedBytes(bytes);
        var length = file.Read(both.Span, 0);
        var reading = SuperblockFile.Decode(both.Span, file.Path);
        if (reading.Current is not null)
            return reading;
        if (reading.First is SlotProblem.Checksum or SlotProblem.Fields || reading.Second is SlotProblem.Checksum or SlotProblem.Fields)
            throw new LincowException(LinearErrors.SuperblocksDamaged(file.Path, bytes));
        var hint = length < bytes ? $"it has only {length} bytes" : "there is no superblock at its start and no map beside it";
        throw new LincowException(LinearErrors.NotAnOverlay(file.Path, hint));
    }

    private static void RequireSamePair(LinuxFile mapFile, LinuxFile dataFile, Superblock superblock, bool acceptMap)
    {
        var tag = dataFile.GetAttribute(LinearFormat.UuidAttribute);
        var isNamed = superblock.DataPath == dataFile.Path;
        if (tag is null ? isNamed || acceptMap : tag == superblock.Uuid.ToString()
            && (isNamed || acceptMap || !IsCopyOfHalf(mapFile, dataFile, superblock)))
            return;
        if (tag == superblock.Uuid.ToString())
            throw new LincowException(LinearErrors.MapOfOriginal(mapFile.Path, superblock.DataPath, dataFile.Path));
        throw new LincowException(tag is not null ? LinearErrors.MapWrong(mapFile.Path, dataFile.Path, superblock.Uuid, tag)
            : LinearErrors.MapOfUntagged(mapFile.Path, dataFile.Path, superblock.DataPath));
    }

    // The copy bears the original's tag; but the map, which was not copied, belongs to the original.
    private static bool IsCopyOfHalf(LinuxFile mapFile, LinuxFile dataFile, Superblock superblock)
    {
        // Both halves copied together lie together, under their own names.
        var isPair = System.IO.Path.GetDirectoryName(mapFile.Path) == System.IO.Path.GetDirectoryName(dataFile.Path)
            && System.IO.Path.GetFileName(superblock.DataPath) == System.IO.Path.GetFileName(dataFile.Path);
        if (isPair || !File.Exists(superblock.DataPath))
            return false;
        using var original = StorePath.Open(superblock.DataPath);
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
            throw new LincowException(LinearErrors.Truncated(file.Path, file.Facts.SizeBytes, needed));
    }
}
