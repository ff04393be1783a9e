using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>Makes, describes, checks and empties exception stores on disk: what the commands need besides serving them.</summary>
internal static class SnapshotAdmin
{
    /// <summary>Lays an empty store into a file or device that is open: the list's first area, then the header, so that a cut leaves no store.</summary>
    /// <param name="file">The target.</param>
    /// <param name="storeBytes">Its size to be; null for what keeps every chunk of the device. A device has the size that it has.</param>
    /// <param name="geometry">The device.</param>
    /// <param name="origin">The origin, to be remembered.</param>
    /// <param name="preallocate">Reserve its space now.</param>
    public static void Lay(LinuxFile file, long? storeBytes, Geometry geometry, OriginFile origin, bool preallocate)
    {
        var bytes = RequireCapacity(file, storeBytes, geometry);
        if (file.Facts.Kind == FileKind.Regular)
            file.SetLength(bytes);
        if (preallocate && file.Facts.Kind == FileKind.Regular && !file.TryReserve(0, bytes))
            throw new LincowException($"{file.Path}: its file system can't reserve space. Leave out --preallocate");
        var header = new SnapshotHeader(IsValid: true, geometry.ChunkShift);
        SnapshotFile.Empty(file, header);
        OriginNote.Write(file, Guid.NewGuid(), geometry.DeviceBytes, origin.Identity, origin.Uri);
    }

    /// <summary>The bytes that a store in a file or device is to have. Throws <see cref="LincowException"/> when no chunk fits in.</summary>
    public static long RequireCapacity(LinuxFile file, long? storeBytes, Geometry geometry)
    {
        var layout = new SnapshotLayout(geometry.ChunkShift);
        var bytes = file.Facts.Kind == FileKind.Regular ? storeBytes ?? layout.StoreBytesFor(geometry.ChunkCount) : file.Facts.SizeBytes;
        return layout.Capacity(bytes) >= 1 ? bytes
            : throw new LincowException($"{file.Path}: {bytes} bytes hold a header and an area of {geometry.ChunkBytes} bytes each, and no chunk. Give a larger --store-size or a smaller --chunk");
    }

    /// <summary>Empties a store that nobody serves: the origin shows again. True when its space has been given back.</summary>
    public static bool Reset(string overlay, bool force)
    {
        using var store = SnapshotFile.Open(overlay, OverlayAccess.Write, rescue: true);
        return Reset(store, force);
    }

    internal static bool Reset(SnapshotFile store, bool force = false)
    {
        if (store.Header.IsCommitUnfinished && !force)
            throw UnfinishedCommit.Refusal(store.File.Path);
        if (store is { Header.IsCommitUnfinished: true, Note: { } note })
            // mutation: reset-vouches-for-the-note
            (note with { Identity = OriginIdentity.Unsettled(note.Identity, note.DeviceBytes) }).Restore(store.File);
        SnapshotFile.Empty(store.File, store.Header with { IsCommitUnfinished = false });
        var size = store.ReadSizeBytes();
        var isReturned = store.File.Facts.Kind != FileKind.Regular || store.File.TryPunchHole(store.Layout.AreaOffset(0), size - store.Layout.AreaOffset(0));
        if (store.File.Facts.Kind == FileKind.BlockDevice)
            store.File.TryDiscardDevice(store.Layout.ChunkOfData(0) << store.Layout.ChunkShift, size - (store.Layout.ChunkOfData(0) << store.Layout.ChunkShift));
        return isReturned;
    }

    /// <summary>Describes a store, also while it is served. Without a note, and without the origin being named, the device's size isn't known.</summary>
    public static OverlayInfo Read(string overlay, string? origin)
    {
        using var store = SnapshotFile.Open(overlay, OverlayAccess.Peek, rescue: true);
        var device = DeviceBytes(store, origin);
        var chunks = device is { } bytes ? new Geometry(bytes, store.Header.ChunkShift).ChunkCount : (long?)null;
        var size = store.ReadSizeBytes();
        var scan = store.IsBlank ? new SnapshotScan() : SnapshotScan.Run(store.File, store.Layout, size, chunks);
        var facts = store.File.ReadFacts();
        var uri = origin is not null ? OriginFile.Normalize(origin) : store.Note?.OriginUri ?? "";
        var data = scan.EntryCount - scan.Damaged.Count;
        return new OverlayInfo
        {
            Overlay = store.File.Path,
            Uuid = store.Note?.Uuid.ToString() ?? "",
            Origin = new OriginInfo(uri, store.Note?.Identity.SizeBytes ?? device ?? 0, uri.Length > 0 && (!OriginFile.IsPath(uri) || File.Exists(uri))),
            Size = device ?? 0,
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
            InUseBy = store.File.IsLockedElsewhere(OriginFile.LockByte) ? LockHolder.Find(store.File.Facts) ?? "another process" : null,
            Parent = null,
            Layers = [store.File.Path],
            DamagedPages = scan.Findings.Count,
            UnfinishedCommit = store.Header.IsCommitUnfinished,
            Valid = store.Header.IsValid,
            StoreBytes = size,
            DmStatus = DmStatus(store, scan, size),
            DmTable = device is { } length ? $"0 {length / 512} snapshot {(uri.Length > 0 ? uri : "-")} {store.File.Path} P {store.Layout.ChunkBytes / 512}" : null,
        };
    }

    /// <summary>Examines the header and every entry of the list. What a cut left behind the list's end is cleared with <paramref name="repair"/>.</summary>
    public static CheckReport Check(string overlay, string? origin, bool repair, Action<double>? progress)
    {
        using var store = SnapshotFile.Open(overlay, repair ? OverlayAccess.Write : OverlayAccess.Read, rescue: true);
        return Check(store, DeviceBytes(store, origin), repair, progress);
    }

    internal static CheckReport Check(SnapshotFile store, long? device, bool repair, Action<double>? progress = null)
    {
        var findings = new List<CheckFinding>();
        var path = store.File.Path;
        if (!store.Header.IsValid)
            findings.Add(new CheckFinding("valid is 0: the store was given up, because it was full or its disk failed", path, 4, -1, -1, false, false));
        if (store.IsBlank)
        {
            if (repair)
                SnapshotFile.Restart(store.File, store.Header);
            return new CheckReport(path, repair, false, 0, 0, findings);
        }
        var chunks = device is { } bytes ? new Geometry(bytes, store.Header.ChunkShift).ChunkCount : (long?)null;
        var scan = SnapshotScan.Run(store.File, store.Layout, store.ReadSizeBytes(), chunks, null, progress);
        foreach (var finding in scan.Findings)
        {
            var start = finding.OldChunk is { } chunk && chunk < (ulong)(long.MaxValue >> store.Header.ChunkShift) ? (long)chunk << store.Header.ChunkShift : -1;
            findings.Add(new CheckFinding(finding.Problem, path, finding.StoreOffset, start, start < 0 ? -1 : start + store.Layout.ChunkBytes, false, false));
        }
        var isClean = !scan.HasLeftOver;
        if (scan.HasLeftOver && repair && findings.Count == 0)
        {
            store.ClearLeftOver(scan);
            isClean = true;
        }
        return new CheckReport(path, isClean, store.Header.IsCommitUnfinished, scan.AreaCount, 0, findings);
    }

    // dm-snap.c, snapshot_status: what "dmsetup status" shows behind the target's name.
    private static string DmStatus(SnapshotFile store, SnapshotScan scan, long size) => !store.Header.IsValid ? "Invalid"
        : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{store.Layout.ChunkOfData(scan.NextNumber) * (store.Layout.ChunkBytes / 512)}/{size / 512} {(store.Layout.AreaOf(scan.EntryCount) + 2) * (store.Layout.ChunkBytes / 512)}");

    private static long? DeviceBytes(SnapshotFile store, string? origin)
    {
        if (origin is null)
            return store.Note?.DeviceBytes;
        using var file = OriginFile.Open(origin);
        return store.Note?.DeviceBytes ?? file.Identity.SizeBytes;
    }
}
