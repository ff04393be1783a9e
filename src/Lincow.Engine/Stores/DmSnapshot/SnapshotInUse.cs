using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>An exception store under an open device.</summary>
internal sealed class SnapshotInUse : OpenStore
{
    private readonly SnapshotStore _store;
    private readonly Action<OriginIdentity>? _noteOrigin;

    /// <param name="store">The store.</param>
    /// <param name="data">Where it lies.</param>
    /// <param name="isCommitUnfinished">As its header says, and goes on saying.</param>
    /// <param name="noteOrigin">For a snapshot of a live origin: remembers what that is like.</param>
    public SnapshotInUse(SnapshotStore store, IBlob data, bool isCommitUnfinished = false, Action<OriginIdentity>? noteOrigin = null)
        : base(store, data) =>
        (_store, IsCommitUnfinished, _noteOrigin) = (store, isCommitUnfinished, noteOrigin);

    public override bool IsCommitUnfinished { get; }

    public override bool IsGivenUp => _store.IsGivenUp;

    // dm-snap.c, snapshot_status.
    public override string? DmStatus => _store.IsGivenUp ? "Invalid"
        : _store.IsFull ? "Overflow"
        : string.Create(System.Globalization.CultureInfo.InvariantCulture,
            $"{_store.AllocatedSectors}/{_store.TotalSectors} {_store.MetadataSectors}");

    public override (int Areas, long Hits, long Misses)? AreaCache => _store is { MetadataBlob: not null, Cache: var cache }
        ? (cache.Capacity, cache.Hits, cache.Misses) : null;

    public override string? WhyNoReset => "has dm-snapshot's store, which can't be reset while it is served: stop its server first";

    public override void Restart() => throw new NotSupportedException(WhyNoReset);

    public override void NoteOrigin(OriginIdentity identity) => _noteOrigin?.Invoke(identity);

    /// <summary>Reads the list, judges it, mends what a cut has left.</summary>
    public static SnapshotInUse Begin(SnapshotFile file, OriginFile origin, OverlayOptions options, IoLoop loop)
    {
        var geometry = new Geometry(file.DeviceBytesOver(origin, options.SizeBytes), file.Header.ChunkShift);
        if (!options.ReadOnly && file.IsBlank)
            SnapshotFile.Restart(file.File, file.Header);
        var data = new FileBlob(file.File, loop);
        SnapshotStore? store = null;
        try
        {
            // mutation: store-forgets-a-cut-commit (2 lines)
            store = new SnapshotStore(geometry, data, isPersistent: true, SnapshotOptions.Of(options, file.Header.IsCommitUnfinished),
                file.File.TryReadSizeBytes, loop.Buffers);
            var scan = file.IsBlank ? new SnapshotScan()
                : SnapshotScan.Run(file.File, file.Layout, file.ReadSizeBytes(), geometry.ChunkCount, store.Adopt);
            // mutation: damaged-store-opened
            if (scan is { Findings: [var finding, ..] } && !options.Rescue)
            {
                throw new LincowException(SnapshotErrors.ExceptionsDamaged(file.File.Path, finding.StoreOffset, finding.Problem));
            }
            if (scan.HasLeftOver && !options.ReadOnly)
                // mutation: left-over-joins-the-list
                file.ClearLeftOver(scan);
            var result = store.Continue(scan);
            if (result < 0)
                throw new LincowException(SnapshotErrors.AreaUnreadable(file.File.Path, -result));
            if (!options.ReadOnly)
                Remember(file, geometry, origin.Uri, Known(file, origin.Identity, geometry, options.OriginIsLive));
            return new SnapshotInUse(store, data, file.Header.IsCommitUnfinished, options is { OriginIsLive: true, ReadOnly: false }
                ? identity => Remember(file, geometry, origin.Uri, identity) : null);
        }
        catch
        {
            store?.Dispose();
            throw;
        }
    }

    // What is written to, or was half written to by a commit, isn't known.
    // mutation: cut-store-commit-settles-its-origin (2 lines)
    private static OriginIdentity Known(SnapshotFile file, OriginIdentity origin, Geometry geometry, bool isLive) =>
        file.Header.IsCommitUnfinished ? OriginIdentity.Unsettled(origin, geometry.DeviceBytes)
        : isLive ? OriginIdentity.Unsettled(origin, origin.SizeBytes) : origin;

    // Before anything is served for writing, and not of a store that is refused.
    private static void Remember(SnapshotFile file, Geometry geometry, string originUri, OriginIdentity identity)
    {
        var note = OriginNote.Read(file.File);
        originUri = RelativeOrigin.Keep(note?.OriginUri ?? "", originUri, file.File);
        if (note is null || note.Identity != identity || note.OriginUri != originUri || note.DeviceBytes != geometry.DeviceBytes
            || (note.WhyForeign(file.File) is not null && !HostMark.IsLent(file.File, note.Mark)))
            OriginNote.Write(file.File, note?.Uuid ?? Guid.NewGuid(), geometry.DeviceBytes, identity, originUri);
    }
}
