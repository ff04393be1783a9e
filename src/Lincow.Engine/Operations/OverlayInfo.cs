using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Operations;

/// <summary>What an overlay is: the answer of <c>lincow info</c>. Sizes and offsets in bytes, counts in chunks.</summary>
public sealed record OverlayInfo
{
    public required string Overlay { get; init; }
    public required string Uuid { get; init; }
    public required OriginInfo Origin { get; init; }
    public required long Size { get; init; }
    public required long MaxSize { get; init; }
    public required long ChunkSize { get; init; }
    public required string Store { get; init; }
    public required string Layout { get; init; }
    public required string Mode { get; init; }
    public required string DataPath { get; init; }

    /// <summary>The shift: device byte B lies at byte B + DataOffset of DataPath.</summary>
    public required long DataOffset { get; init; }

    public required string MapPath { get; init; }
    public required long MapOffset { get; init; }

    /// <summary>All of the map's pages, both slots, as the maximum size needs them.</summary>
    public required long MapBytes { get; init; }

    public required ChunkCounts Chunks { get; init; }

    /// <summary>What the files take of their file systems; null for block devices.</summary>
    public required long? AllocatedBytes { get; init; }

    public required ulong Generation { get; init; }
    public required bool Clean { get; init; }

    /// <summary>A commit was begun and isn't complete: only together with what the overlay holds its origin is whole.</summary>
    public required bool UnfinishedCommit { get; init; }

    /// <summary>Who serves it now, as "process 12 (lincow)"; null when nobody does.</summary>
    public required string? InUseBy { get; init; }

    public required string? Parent { get; init; }
    public required IReadOnlyList<string> Layers { get; init; }

    /// <summary>Damaged map pages met while counting; their chunks are not in the counts.</summary>
    public required long DamagedPages { get; init; }

    /// <summary>For a snapshot store: it hasn't been given up. Null for a linear one, as are the next three.</summary>
    public bool? Valid { get; init; }

    /// <summary>For a snapshot store: its size.</summary>
    public long? StoreBytes { get; init; }

    /// <summary>For a snapshot store: what dmsetup status shows.</summary>
    public string? DmStatus { get; init; }

    /// <summary>What dmsetup table shows.</summary>
    public string? DmTable { get; init; }

    /// <summary>Reads it from the overlay's files, also while it is served (then as of the last flush). Throws <see cref="LincowException"/>.</summary>
    /// <param name="overlay">The overlay.</param>
    /// <param name="map">Its separate map, if it isn't found by itself.</param>
    /// <param name="acceptMap">Use a map that names another data file.</param>
    /// <param name="origin">For a snapshot store that lincow has no note of: its origin.</param>
    public static OverlayInfo Read(string overlay, string? map, bool acceptMap = false, string? origin = null)
    {
        if (SnapshotFile.Is(overlay, map))
            return SnapshotAdmin.Read(overlay, origin);
        using var files = OverlayFiles.Open(overlay, map, OverlayAccess.Peek, acceptMap: acceptMap);
        var superblock = files.Superblock;
        long data = 0, zero = 0, damaged = 0;
        MapScan.ForEach(files.MapFile, superblock, (page, pair) =>
        {
            var verdict = MapPageJudge.Judge(pair, superblock, page, !superblock.InUse);
            // A page that is being written while we look may be seen half done.
            for (var attempt = 0; verdict.IsDamaged && attempt < 3; attempt++)
            {
                Thread.Sleep(1);
                var again = new byte[MapFormat.PairBytes];
                files.MapFile.Read(again, LinearStore.PageOffset(page, 0));
                pair = again;
                verdict = MapPageJudge.Judge(pair, superblock, page, !superblock.InUse);
            }
            if (verdict.IsDamaged)
                damaged++;
            if (verdict.Slot < 0)
                return;
            var counts = MapScan.Count(pair.Slice(verdict.Slot * MapFormat.PageBytes, MapFormat.PageBytes), page, superblock.Geometry);
            data += counts.Data;
            zero += counts.Zero;
        }, (_, _) => damaged++);
        var total = superblock.Geometry.ChunkCount;
        var mapFacts = files.MapFile.ReadFacts();
        var isSeparate = superblock.Layout == LinearLayout.Separate;
        return new OverlayInfo
        {
            Overlay = files.Path,
            Uuid = superblock.Uuid.ToString(),
            Origin = new OriginInfo(superblock.OriginUri, superblock.Origin.SizeBytes, IsPresent(superblock)),
            Size = superblock.DeviceBytes,
            MaxSize = superblock.MaxDeviceBytes,
            ChunkSize = superblock.Geometry.ChunkBytes,
            Store = "linear",
            Layout = isSeparate ? "separate" : "front",
            Mode = "persistent",
            DataPath = files.DataFile.Path,
            DataOffset = superblock.DataOffset,
            MapPath = files.MapFile.Path,
            MapOffset = Superblock.MapOffsetBytes,
            MapBytes = superblock.MapBytes,
            Chunks = new ChunkCounts(total, data, zero, total - data - zero),
            AllocatedBytes = mapFacts.Kind == FileKind.Regular
                ? mapFacts.AllocatedBytes + (isSeparate ? files.DataFile.ReadFacts().AllocatedBytes : 0)
                : null,
            Generation = superblock.Generation,
            Clean = !superblock.InUse,
            UnfinishedCommit = superblock.IsCommitUnfinished,
            InUseBy = files.Writer(),
            Parent = null,
            Layers = [files.Path],
            DamagedPages = damaged,
            DmTable = $"0 {superblock.DeviceBytes / 512} cow {superblock.OriginUri} {files.DataFile.Path} P {superblock.Geometry.ChunkBytes / 512}{(isSeparate ? " " + files.MapFile.Path : "")}",
        };
    }

    private static bool IsPresent(Superblock superblock) => superblock.Origin.Kind == OriginKind.Zero || File.Exists(superblock.OriginUri);
}

/// <summary>The origin that an overlay remembers.</summary>
public sealed record OriginInfo(string Uri, long Size, bool Present);

/// <summary>Chunks of the device by state.</summary>
public sealed record ChunkCounts(long Total, long Data, long Zero, long Origin);
