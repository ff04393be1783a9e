using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>A store on disk: the file or block device, opened, locked and recognised by its header.</summary>
internal sealed class SnapshotFile : StoreFiles
{
    private SnapshotFile(LinuxFile file, SnapshotHeader header, bool isBlank) =>
        (File, Header, IsBlank, Note) = (file, header, isBlank, OriginNote.Read(file));

    public LinuxFile File { get; }

    public SnapshotHeader Header { get; }

    /// <summary>A reset was cut off behind its first step, or nothing was ever here: the list is to be taken as empty.</summary>
    public bool IsBlank { get; }

    /// <summary>What is remembered of the origin; null when nothing is.</summary>
    public OriginNote? Note { get; }

    public override string Path => File.Path;

    public override LinuxFile DataFile => File;

    public override IReadOnlyList<FileFacts> Facts => [File.Facts];

    public override int ChunkShift => Header.ChunkShift;

    public override long? DeviceBytes => Note?.DeviceBytes;

    public override int? SectorBytes => OriginNote.ReadSectorBytes(File);

    public override OriginRecord? Origin => Note is { } note ? new OriginRecord(RelativeOrigin.Resolve(note.OriginUri, File),
        note.Identity) : null;

    public override void RequireFollowable() => RelativeOrigin.RequireWithoutLinks(Note?.OriginUri ?? "", File);

    public override string? WhyForeign() => Note?.WhyForeign(File);

    public override string WhyNoOrigin =>
        "an exception store doesn't say what its origin is, and lincow has no note of it";

    public override bool IsCommitUnfinished => Header.IsCommitUnfinished;

    protected override LinuxFile MetadataFile => File;

    public SnapshotLayout Layout => new(Header.ChunkShift);

    /// <summary>The store's size now: it may grow while it is used.</summary>
    public long ReadSizeBytes() => File.ReadFacts().SizeBytes;

    /// <summary>
    /// Opens a store. Throws <see cref="LincowException"/> for one that the kernel would refuse, unless it is to be rescued.
    /// </summary>
    public static SnapshotFile Open(string overlay, OverlayAccess access, bool direct = false, bool rescue = false)
    {
        var file = StorePath.OpenLocked(StorePath.FullPath(overlay, "overlay"), access, direct, overlay);
        try
        {
            return Take(file, access, rescue);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>A file that is open and locked becomes a store, if it can be one.</summary>
    internal static SnapshotFile Take(LinuxFile file, OverlayAccess access, bool rescue)
    {
        if (access == OverlayAccess.Write)
        {
            // Whoever wrote last may have ended because a sync failed, and the page cache may show what the disk never got.
            file.Sync();
            file.DropCache();
        }
        var sector = ReadHeader(file);
        if (ResetHeader(sector) is { } reset)
            return new SnapshotFile(file, reset, isBlank: true);
        var header = SnapshotHeader.Decode(sector, out var problem)
            ?? throw new LincowException(SnapshotErrors.HeaderDamaged(file.Path, problem));
        // mutation: invalid-store-opened
        if (!header.IsValid && !rescue)
            throw new LincowException(SnapshotErrors.GivenUp(file.Path));
        return new SnapshotFile(file, header, isBlank: false);
    }

    /// <summary>
    /// Makes the store empty: first its magic number goes, which the kernel, too, takes for an empty store; then area 0 is zeroed, for it
    /// would be read again; then the header comes back.
    /// </summary>
    public static void Empty(LinuxFile file, SnapshotHeader header)
    {
        RequireRoom(file, new SnapshotLayout(header.ChunkShift));
        var unit = Math.Max(SnapshotHeader.SizeBytes, file.IsDirect ? file.LogicalBlockBytes : 1);
        using var sector = new AlignedBytes(unit);
        header.Encode(sector.Span);
        // mutation: reset-skips-the-header (3 lines)
        sector.Span[..sizeof(uint)].Clear();
        file.Write(sector.Span, 0);
        file.Sync();
        Restart(file, header);
    }

    /// <summary>Makes a store of one that is blank.</summary>
    public static void Restart(LinuxFile file, SnapshotHeader header)
    {
        var layout = new SnapshotLayout(header.ChunkShift);
        RequireRoom(file, layout);
        using var bytes = new AlignedBytes(layout.ChunkBytes);
        // mutation: reset-leaves-area-0 (2 lines)
        file.Write(bytes.Span, layout.AreaOffset(0));
        file.Sync();
        (header with { IsValid = true }).Encode(bytes.Span);
        file.Write(bytes.Span, 0);
        file.Sync();
    }

    /// <summary>Clears what a cut has left behind the end of the list, before the list grows over it.</summary>
    public void ClearLeftOver(SnapshotScan scan)
    {
        using var area = new AlignedBytes(Layout.ChunkBytes);
        var offset = Layout.AreaOffset(scan.AreaCount - 1);
        File.Read(area.Span, offset);
        area.Span[(Layout.IndexInArea(scan.EntryCount) * ExceptionEntry.SizeBytes)..].Clear();
        File.Write(area.Span, offset);
        File.Sync();
    }

    public override long DeviceBytesOver(OriginFile origin, long? wanted) => wanted ?? Note?.DeviceBytes ?? origin.Identity.SizeBytes;

    public override OpenStore Begin(OriginFile origin, OverlayOptions options, IoLoop loop) =>
        SnapshotInUse.Begin(this, origin, options, loop);

    public override OverlayInfo Describe(string? origin, CancellationToken stop = default) => SnapshotInfo.Of(this, origin, stop);

    public override CheckReport Check(long? deviceBytes, bool repair, Action<double>? progress) =>
        SnapshotCheck.Run(this, deviceBytes, repair, progress);

    public override bool Reset(IoLoop loop)
    {
        if (this is { Header.IsCommitUnfinished: true, Note: { } note })
            // mutation: reset-vouches-for-the-note
            (note with { Identity = OriginIdentity.Unsettled(note.Identity, note.DeviceBytes) }).Restore(File);
        Empty(File, Header with { IsCommitUnfinished = false });
        var size = ReadSizeBytes();
        var isReturned = File.Facts.Kind != FileKind.Regular || File.TryPunchHole(Layout.AreaOffset(0), size - Layout.AreaOffset(0));
        if (File.Facts.Kind == FileKind.BlockDevice)
            File.TryDiscardDevice(Layout.ChunkOfData(0) << Layout.ChunkShift, size - (Layout.ChunkOfData(0) << Layout.ChunkShift));
        return isReturned;
    }

    public override ICommitSource BeginCommit(CommitTarget target, Func<OriginFile, IStoreDevice> open) =>
        new SnapshotMerge(this, target.Uri, target.Identity, target.DeviceBytes);

    public override void Dispose() => File.Dispose();

    private static void RequireRoom(LinuxFile file, SnapshotLayout layout)
    {
        if (file.ReadFacts().SizeBytes is var bytes && bytes < layout.AreaOffset(0) + layout.ChunkBytes)
            throw new LincowException(SnapshotErrors.CutShort(file.Path, bytes, layout.ChunkBytes));
    }

    private static byte[] ReadHeader(LinuxFile file)
    {
        using var sector = new AlignedBytes(Math.Max(SnapshotHeader.SizeBytes, file.IsDirect ? file.LogicalBlockBytes : 1));
        if (file.Read(sector.Span, 0) < SnapshotHeader.SizeBytes)
            throw new LincowException(SnapshotErrors.ShorterThanHeader(file.Path));
        return sector.Span[..SnapshotHeader.SizeBytes].ToArray();
    }

    // A header but for its magic number: what a reset leaves for a moment. Nothing else may be in the sector.
    public static SnapshotHeader? ResetHeader(ReadOnlySpan<byte> sector)
    {
        if (!SnapshotHeader.IsBlank(sector) || sector[16..].IndexOfAnyExcept((byte)0) >= 0)
            return null;
        Span<byte> whole = stackalloc byte[SnapshotHeader.SizeBytes];
        sector.CopyTo(whole);
        BitConverter.TryWriteBytes(whole, SnapshotHeader.Magic);
        return SnapshotHeader.Decode(whole, out _);
    }
}
