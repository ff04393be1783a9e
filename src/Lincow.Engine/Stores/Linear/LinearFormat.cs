using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.Linear;

/// <summary>
/// lincow's own store: each chunk at its own offset, a map of states before the data or in a file of its own (docs/format.md).
/// </summary>
internal sealed class LinearFormat : IStoreFormat
{
    /// <summary>In the data's extended attributes, when it lies apart: where its map is.</summary>
    public const string MapAttribute = "user.lincow.map";

    /// <summary>As <see cref="MapAttribute"/>: which overlay's data it is.</summary>
    public const string UuidAttribute = "user.lincow.uuid";

    public StoreTraits Traits { get; } = new(StoreTraits.DefaultName, "cow") { TakesMap = true };

    public IReadOnlyList<string> Attributes { get; } = [MapAttribute, UuidAttribute];

    public bool ShowsDamageWhenRead => true;

    public bool IsPartOf(LinuxFile file) => file.GetAttribute(MapAttribute) is not null || file.GetAttribute(UuidAttribute) is not null
        || FindBeside(file.Path) is not null;

    public bool HasMagic(ReadOnlySpan<byte> head) => Superblock.HasMagic(head);

    public bool HasRemains(ReadOnlySpan<byte> head) => head.Length > Superblock.SizeBytes
        && Superblock.HasMagic(head[Superblock.SizeBytes..]);

    public StoreHead ReadHead(ReadOnlySpan<byte> head, string path)
    {
        var current = head.Length < 2 * Superblock.SizeBytes ? null : SuperblockFile.Decode(head[..(2 * Superblock.SizeBytes)], path)
            .Current;
        return new StoreHead(current is not null, current is not null, current is { IsCommitUnfinished: true });
    }

    public string? MetadataOf(LinuxFile data) => FindMapOf(data);

    public string? DataOf(LinuxFile metadata)
    {
        using var head = new AlignedBytes(2 * Superblock.SizeBytes);
        metadata.Read(head.Span, 0);
        return SuperblockFile.Decode(head.Span, metadata.Path).Current is { Layout: LinearLayout.Separate, DataPath: { Length: > 0 } data }
            ? FindMoved(data, metadata.Path) : null;
    }

    public void RequireFreeName(string path)
    {
        if (FindBeside(path) is { } beside)
            throw new LincowException(LinearErrors.MapBeside(beside, path));
    }

    public void RequireUsable(OverlayOptions options)
    {
        if (options.OriginIsLive)
            throw new LincowException(LinearErrors.CannotBeLive(options.Overlay!));
    }

    public StoreFiles Open(OverlayOptions options, OverlayAccess access) =>
        LinearFiles.Open(options.Overlay!, options.Map, access, options.Direct, options.AcceptMap);

    public IStorePlan Plan(StorePlanOptions options) => new LinearPlan(options);

    public LinuxFile OpenTransient(string? place, Geometry geometry, bool direct) =>
        TransientFile.Open(place, geometry.DeviceBytes, direct);

    public OpenStore BeginTransient(LinuxFile file, Geometry geometry, OriginFile origin, OverlayOptions options, IoLoop loop)
    {
        var superblock = new Superblock
        {
            Uuid = Guid.NewGuid(),
            Generation = 1,
            DeviceBytes = geometry.DeviceBytes,
            MaxDeviceBytes = geometry.DeviceBytes,
            ChunkShift = geometry.ChunkShift,
            Layout = LinearLayout.Separate,
            DataOffset = 0,
            Origin = origin.Identity,
            OriginUri = origin.Uri,
        };
        return new LinearInUse(new LinearStore(superblock, mapBlob: null, loop.Buffers), new FileBlob(file, loop));
    }

    public void RequireConvertible(string path)
    {
    }

    public IChangeSink CreateSink(ChangeSinkOptions options) => new LinearSink(options);

    /// <summary>
    /// The map of the overlay whose data lies in a file: the one that it names, or PATH.map. Null when its map is in front.
    /// </summary>
    internal static string? FindMapOf(LinuxFile data) => data.GetAttribute(MapAttribute) is { } named ? FindMoved(named, data.Path)
        : FindBeside(data.Path);

    /// <summary>PATH.map, if it is the map of an overlay whose data lies apart.</summary>
    internal static string? FindBeside(string path)
    {
        var beside = path + ".map";
        return File.Exists(beside) && HasSuperblock(beside) ? beside : null;
    }

    // Files that were moved or copied together find each other: a copy must never find the original's other half.
    internal static string FindMoved(string recorded, string sibling)
    {
        var beside = Path.Combine(Path.GetDirectoryName(sibling)!, Path.GetFileName(recorded));
        return File.Exists(beside) ? beside : recorded;
    }

    private static bool HasSuperblock(string path)
    {
        using var file = StorePath.Open(path);
        var both = new byte[2 * Superblock.SizeBytes];
        file.Read(both, 0);
        return SuperblockFile.Decode(both, path).Current?.Layout == LinearLayout.Separate;
    }
}
