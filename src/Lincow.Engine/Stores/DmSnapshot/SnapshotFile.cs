using Lincow.Linux;
using Lincow.Operations;

namespace Lincow.Stores.DmSnapshot;

/// <summary>A store on disk: the file or block device, opened, locked and recognised by its header.</summary>
internal sealed class SnapshotFile : IDisposable
{
    private SnapshotFile(LinuxFile file, SnapshotHeader header, bool isBlank) => (File, Header, IsBlank, Note) = (file, header, isBlank, OriginNote.Read(file));

    public LinuxFile File { get; }

    public SnapshotHeader Header { get; }

    /// <summary>A reset was cut off behind its first step, or nothing was ever here: the list is to be taken as empty.</summary>
    public bool IsBlank { get; }

    /// <summary>What is remembered of the origin; null when nothing is.</summary>
    public OriginNote? Note { get; }

    public SnapshotLayout Layout => new(Header.ChunkShift);

    /// <summary>The store's size now: it may grow while it is used.</summary>
    public long ReadSizeBytes() => File.ReadFacts().SizeBytes;

    /// <summary>
    /// Whether a path holds an exception store. Asked after a linear overlay has been ruled out by what lies beside the file: the content of a
    /// separate data file is the guest's, who must not be able to pass for a store.
    /// </summary>
    public static bool Is(string overlay, string? map)
    {
        var path = OverlayFiles.FullPath(overlay, "overlay");
        if (map is not null || !System.IO.File.Exists(path) || OverlayFiles.FindBeside(path) is not null)
            return false;
        using var file = OverlayFiles.OpenPath(path, writable: false, direct: false, exclusive: false);
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice)
            || file.GetAttribute(OverlayFiles.MapAttribute) is not null || file.GetAttribute(OverlayFiles.UuidAttribute) is not null)
            return false;
        Span<byte> sector = stackalloc byte[SnapshotHeader.SizeBytes];
        return file.Read(sector, 0) == sector.Length && (SnapshotHeader.HasMagic(sector) || ResetHeader(sector) is not null);
    }

    /// <summary>Opens a store. Throws <see cref="LincowException"/> for one that the kernel would refuse, unless it is to be rescued.</summary>
    public static SnapshotFile Open(string overlay, OverlayAccess access, bool direct = false, bool rescue = false)
    {
        var file = OverlayFiles.OpenLocked(OverlayFiles.FullPath(overlay, "overlay"), access, direct, overlay);
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
            ?? throw new LincowException($"{file.Path}: is not an exception store that lincow can use (header at byte 0): {problem}") { IsDamage = true };
        // mutation: invalid-store-opened
        if (!header.IsValid && !rescue)
            throw new LincowException($"{file.Path}: is an exception store that was given up (valid is 0 in its header): it was full, or its disk failed, and later writes to its origin may be missing from it. 'lincow serve --read-only --rescue' shows what it holds; 'lincow reset' makes it empty");
        return new SnapshotFile(file, header, isBlank: false);
    }

    /// <summary>
    /// Makes the store empty: first its magic number goes, which the kernel, too, takes for an empty store; then area 0 is zeroed, for it would
    /// be read again; then the header comes back.
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

    public void Dispose() => File.Dispose();

    private static void RequireRoom(LinuxFile file, SnapshotLayout layout)
    {
        if (file.ReadFacts().SizeBytes is var bytes && bytes < layout.AreaOffset(0) + layout.ChunkBytes)
            throw new LincowException($"{file.Path}: its {bytes} bytes don't hold a header and an area of {layout.ChunkBytes} bytes each. If it was cut short, make it longer; else make it anew with 'lincow create --force'") { IsDamage = true };
    }

    private static byte[] ReadHeader(LinuxFile file)
    {
        using var sector = new AlignedBytes(Math.Max(SnapshotHeader.SizeBytes, file.IsDirect ? file.LogicalBlockBytes : 1));
        if (file.Read(sector.Span, 0) < SnapshotHeader.SizeBytes)
            throw new LincowException($"{file.Path}: is not an exception store: it is shorter than a header") { IsDamage = true };
        return sector.Span[..SnapshotHeader.SizeBytes].ToArray();
    }

    // A header but for its magic number: what a reset leaves for a moment. Nothing else may be in the sector.
    private static SnapshotHeader? ResetHeader(ReadOnlySpan<byte> sector)
    {
        if (!SnapshotHeader.IsBlank(sector) || sector[16..].IndexOfAnyExcept((byte)0) >= 0)
            return null;
        Span<byte> whole = stackalloc byte[SnapshotHeader.SizeBytes];
        sector.CopyTo(whole);
        BitConverter.TryWriteBytes(whole, SnapshotHeader.Magic);
        return SnapshotHeader.Decode(whole, out _);
    }
}
