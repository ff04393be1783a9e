namespace Lincow;

/// <summary>What is to be converted.</summary>
public sealed record ConvertOptions
{
    /// <summary>What holds the changes: an overlay, or a COW file of User-mode Linux.</summary>
    public required string Source { get; init; }

    /// <summary>The path to write them to: a file that is made, or a block device.</summary>
    public required string Destination { get; init; }

    /// <summary>The format to write; null for linear, or for what the destination's name ends with.</summary>
    public string? To { get; init; }

    /// <summary>The origin, where the source doesn't name one that may be followed.</summary>
    public string? Origin { get; init; }

    /// <summary>The destination's chunk size; null for the source's.</summary>
    public long? ChunkBytes { get; init; }

    /// <summary>Go on with an origin that isn't as the source remembers it.</summary>
    public bool AcceptOrigin { get; init; }

    /// <summary>Read the origin's holes as well, as if they were data.</summary>
    public bool IgnoreHoles { get; init; }

    /// <summary>Replace what is at the destination.</summary>
    public bool Force { get; init; }
}

/// <summary>What a conversion did. Sizes in bytes.</summary>
/// <param name="Source">The source's path, absolute.</param>
/// <param name="SourceFormat">Its format.</param>
/// <param name="Destination">The destination's path, absolute.</param>
/// <param name="DestinationFormat">Its format.</param>
/// <param name="Origin">The origin of both.</param>
/// <param name="Size">The device's size.</param>
/// <param name="ChunkSize">The destination's chunk size.</param>
/// <param name="ChangedRanges">Ranges that the source holds.</param>
/// <param name="DataBytes">Bytes written as data: changed ones, and what fills up the destination's chunks.</param>
/// <param name="ZeroBytes">Bytes marked as zero.</param>
/// <param name="VerifiedBytes">Bytes read back from the destination and found equal.</param>
public sealed record ConvertReport(string Source, string SourceFormat, string Destination, string DestinationFormat, string Origin,
    long Size, long ChunkSize,
    long ChangedRanges, long DataBytes, long ZeroBytes, long VerifiedBytes);
