namespace Lincow;

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
}

/// <summary>The origin that an overlay remembers.</summary>
public sealed record OriginInfo(string Uri, long Size, bool Present);

/// <summary>Chunks of the device by state.</summary>
public sealed record ChunkCounts(long Total, long Data, long Zero, long Origin);
