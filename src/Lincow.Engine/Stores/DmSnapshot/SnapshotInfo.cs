using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// Describes a store, also while it is served. Without a note, and without the origin being named, the device's size isn't known.
/// </summary>
internal static class SnapshotInfo
{
    public static OverlayInfo Of(SnapshotFile store, string? origin, CancellationToken stop)
    {
        var device = StoreOrigin.DeviceBytes(store, origin);
        var chunks = device is { } bytes ? new Geometry(bytes, store.Header.ChunkShift).ChunkCount : (long?)null;
        var size = store.ReadSizeBytes();
        var scan = store.IsBlank ? new SnapshotScan()
            : SnapshotScan.Run(store.File, store.Layout, size, chunks, progress: _ => stop.ThrowIfCancellationRequested());
        var facts = store.File.ReadFacts();
        var reference = OriginReference.Parse(origin ?? store.Origin?.Uri ?? "");
        var uri = reference.Text;
        var data = scan.EntryCount - scan.Damaged.Count;
        return new OverlayInfo
        {
            Overlay = store.File.Path,
            Uuid = store.Note?.Uuid.ToString() ?? "",
            Origin = new OriginInfo(uri, store.Note?.Identity.SizeBytes ?? device ?? 0, reference.IsPresent,
                origin is null ? RelativeOrigin.PathIn(store.Note?.OriginUri ?? "") : null),
            RemembersOrigin = store.Note is not null,
            Size = device ?? 0,
            SectorSize = StoreOrigin.SectorBytes(store, origin),
            MaxSize = device ?? 0,
            ChunkSize = store.Layout.ChunkBytes,
            Store = "snapshot",
            Layout = "front",
            Mode = "persistent",
            DataPath = store.File.Path,
            DataOffset = store.Layout.ChunkOfData(0) << store.Header.ChunkShift,
            MapPath = store.File.Path,
            MapOffset = store.Layout.AreaOffset(0),
            MapBytes = (scan.AreaCount + 1) << store.Header.ChunkShift,
            Chunks = new ChunkCounts(chunks ?? 0, data, 0, Math.Max(0, (chunks ?? 0) - data)),
            AllocatedBytes = facts.Kind == FileKind.Regular ? facts.AllocatedBytes : null,
            Generation = 0,
            Clean = !scan.HasLeftOver && !store.IsBlank,
            InUseBy = store.Writer(),
            Parent = null,
            Layers = [store.File.Path],
            DamagedPages = scan.Findings.Count,
            UnfinishedCommit = store.Header.IsCommitUnfinished,
            Valid = store.Header.IsValid,
            StoreBytes = size,
            DmStatus = DmStatus(store, scan, size),
            DmTable = device is { } length
                ? $"0 {length / 512} snapshot {(uri.Length > 0 ? DmWords.Escape(reference.Place) : "-")} "
                    + $"{DmWords.Escape(store.File.Path)} P "
                    + $"{store.Layout.ChunkBytes / 512}" : null,
        };
    }

    // dm-snap.c, snapshot_status: what "dmsetup status" shows behind the target's name.
    private static string DmStatus(SnapshotFile store, SnapshotScan scan, long size) => !store.Header.IsValid ? "Invalid"
        : string.Create(System.Globalization.CultureInfo.InvariantCulture,
            $"{store.Layout.ChunkOfData(scan.NextNumber) * (store.Layout.ChunkBytes / 512)}/{size / 512} "
                + $"{(store.Layout.AreaOf(scan.EntryCount) + 2) * (store.Layout.ChunkBytes / 512)}");
}
