using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// The persistent exception store of the kernel's dm-snapshot, and its transient one (docs/dm-snapshot.md). Such a store names no origin
/// and no size: where lincow has no note of them, the origin is the user's word, and the device is as large as it.
/// </summary>
internal sealed class DmSnapshotFormat : IStoreFormat
{
    public StoreTraits Traits { get; } = new("snapshot", "snapshot") { CanBeFull = true };

    public IReadOnlyList<string> Attributes { get; } =
        [OriginNote.Attribute, OriginNote.SamplesAttribute, OriginNote.SectorAttribute];

    // The list is read and judged as a store is opened.
    public bool ShowsDamageWhenRead => false;

    public bool IsPartOf(LinuxFile file) => false;

    public bool HasMagic(ReadOnlySpan<byte> head) => head.Length >= SnapshotHeader.SizeBytes && SnapshotHeader.HasMagic(head);

    public bool HasRemains(ReadOnlySpan<byte> head) => head.Length >= SnapshotHeader.SizeBytes
        && SnapshotFile.ResetHeader(head[..SnapshotHeader.SizeBytes]) is not null;

    public StoreHead ReadHead(ReadOnlySpan<byte> head, string path)
    {
        var header = head.Length < SnapshotHeader.SizeBytes ? null : SnapshotHeader.Decode(head[..SnapshotHeader.SizeBytes], out _);
        return new StoreHead(SnapshotHeader.HasMagic(head), header is not null, header is { IsCommitUnfinished: true });
    }

    public string? MetadataOf(LinuxFile data) => null;

    public string? DataOf(LinuxFile metadata) => null;

    public void RequireFreeName(string path)
    {
    }

    public void RequireUsable(OverlayOptions options)
    {
        if (options is { Rescue: true, ReadOnly: false })
            throw new LincowException(SnapshotErrors.RescueNeedsReadOnly(options.Overlay));
    }

    public StoreFiles Open(OverlayOptions options, OverlayAccess access) =>
        SnapshotFile.Open(options.Overlay!, access, options.Direct, options.Rescue);

    public IStorePlan Plan(StorePlanOptions options) => new SnapshotPlan(options);

    public LinuxFile OpenTransient(string? place, Geometry geometry, bool direct) =>
        TransientFile.OpenStore(place, geometry.ChunkCount << geometry.ChunkShift, direct);

    /// <summary>As dm-snapshot's N: chunks from the device's start on, in order of arrival.</summary>
    public OpenStore BeginTransient(LinuxFile file, Geometry geometry, OriginFile origin, OverlayOptions options, IoLoop loop)
    {
        var data = new FileBlob(file, loop);
        return new SnapshotInUse(new SnapshotStore(geometry, data, isPersistent: false, SnapshotOptions.Of(options), file.TryReadSizeBytes,
            loop.Buffers), data);
    }

    public void RequireConvertible(string path)
    {
        // A block device may be part of a snapshot of the kernel's at this moment; and a blank one, which would be opened, holds no
        // snapshot.
        using var store = StorePath.OpenUnused(path);
        var head = new byte[SnapshotHeader.SizeBytes];
        store.Read(head, 0);
        if (!SnapshotHeader.HasMagic(head))
            throw new LincowException(SnapshotErrors.NotAStore(path));
    }

    public IChangeSink CreateSink(ChangeSinkOptions options) => new SnapshotSink(options);
}
