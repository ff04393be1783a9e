namespace Lincow;

/// <summary>What an overlay is: the answer of <c>lincow info</c>. Sizes and offsets in bytes, counts in chunks.</summary>
public sealed record OverlayInfo
{
    /// <summary>The overlay's path, absolute.</summary>
    public required string Overlay { get; init; }
    /// <summary>What it is known by, whatever its path; empty for a store that has none.</summary>
    public required string Uuid { get; init; }
    /// <summary>The origin that it remembers.</summary>
    public required OriginInfo Origin { get; init; }
    /// <summary>
    /// It remembers its origin; else that has to be named each time: a snapshot store on a file system without extended attributes, or on a
    /// block device.
    /// </summary>
    public bool RemembersOrigin { get; init; } = true;
    /// <summary>The device's size.</summary>
    public required long Size { get; init; }
    /// <summary>The device's logical sectors; null where neither the overlay remembers them nor the origin can be asked.</summary>
    public int? SectorSize { get; init; }
    /// <summary>What the device may grow to: its map has room for that.</summary>
    public required long MaxSize { get; init; }
    /// <summary>Bytes of a chunk.</summary>
    public required long ChunkSize { get; init; }
    /// <summary>How it keeps its chunks: <c>linear</c> or <c>snapshot</c>.</summary>
    public required string Store { get; init; }
    /// <summary>Where its map is: <c>front</c>, in front of the data, or <c>separate</c>, in a file of its own.</summary>
    public required string Layout { get; init; }
    /// <summary>Always <c>persistent</c>: nothing is left to look at of any other.</summary>
    public required string Mode { get; init; }
    /// <summary>The file or block device with its data.</summary>
    public required string DataPath { get; init; }

    /// <summary>The shift: device byte B lies at byte B + DataOffset of DataPath.</summary>
    public required long DataOffset { get; init; }

    /// <summary>The file or block device with its map.</summary>
    public required string MapPath { get; init; }
    /// <summary>Where in that the map begins.</summary>
    public required long MapOffset { get; init; }

    /// <summary>All of the map's pages, both slots, as the maximum size needs them.</summary>
    public required long MapBytes { get; init; }

    /// <summary>Chunks of the device by state, as of the last flush.</summary>
    public required ChunkCounts Chunks { get; init; }

    /// <summary>What the files take of their file systems; null for block devices.</summary>
    public required long? AllocatedBytes { get; init; }

    /// <summary>1, and one more with each reset; 0 for a snapshot store.</summary>
    public required ulong Generation { get; init; }
    /// <summary>It was closed in order: nobody has it open, and no crash came between.</summary>
    public required bool Clean { get; init; }

    /// <summary>A commit was begun and isn't complete: only together with what the overlay holds its origin is whole.</summary>
    public required bool UnfinishedCommit { get; init; }

    /// <summary>Who serves it now, as "process 12 (lincow)"; null when nobody does.</summary>
    public required string? InUseBy { get; init; }

    /// <summary>The overlay that it is over; null, for there are none over overlays yet.</summary>
    public required string? Parent { get; init; }
    /// <summary>The overlays that a read goes through, by path; the origin is not among them.</summary>
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
}

/// <summary>The origin that an overlay remembers.</summary>
/// <param name="Uri">An absolute path, zero:SIZE, or user:NAME.</param>
/// <param name="Size">Its size in bytes when it was last seen.</param>
/// <param name="Present">It is there now.</param>
/// <param name="Relative">Its place relative to the overlay's, if it is remembered by that; else null.</param>
public sealed record OriginInfo(string Uri, long Size, bool Present, string? Relative = null);

/// <summary>Chunks of the device by state.</summary>
/// <param name="Total">All of them.</param>
/// <param name="Data">Those that the overlay holds.</param>
/// <param name="Zero">Those that the overlay says are zero.</param>
/// <param name="Origin">Those that are the origin's.</param>
public sealed record ChunkCounts(long Total, long Data, long Zero, long Origin);
