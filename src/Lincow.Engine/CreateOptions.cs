using Lincow.Blobs;

namespace Lincow;

/// <summary>What a new overlay is to be.</summary>
public sealed record CreateOptions
{
    /// <summary>A path for a file, or an existing block device.</summary>
    public required string Overlay { get; init; }

    /// <summary>A path, or zero:SIZE.</summary>
    public required string Origin { get; init; }

    /// <summary>
    /// Instead of <see cref="Origin"/>, which is then the empty string: an origin that a program decides on. It is disposed of.
    /// </summary>
    public UserOrigin? UserOrigin { get; init; }

    /// <summary>The separate map's path; null puts the map in front of the data.</summary>
    public string? Map { get; init; }

    /// <summary>Bytes of a chunk, a power of two from 512 to 64 MiB.</summary>
    public long ChunkBytes { get; init; } = 4096;

    /// <summary>The device's size in bytes; null for the origin's.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>The device's logical sectors in bytes: 512, 1024, 2048 or 4096; null for the origin's.</summary>
    public int? SectorBytes { get; init; }

    /// <summary>What the device may grow to later; null for its size.</summary>
    public long? MaxSizeBytes { get; init; }

    /// <summary>How it keeps its chunks: <c>linear</c>, lincow's own store, or <c>snapshot</c>, the kernel's dm-snapshot.</summary>
    public string Store { get; init; } = StoreTraits.DefaultName;

    /// <summary>For a snapshot store in a file: its size in bytes; null for what keeps every chunk of the device (sparse).</summary>
    public long? StoreBytes { get; init; }

    /// <summary>Reserve all of the data's space now.</summary>
    public bool Preallocate { get; init; }

    /// <summary>Remember the origin by its place relative to the overlay's, so that a directory with both can be moved.</summary>
    public bool RelativeOrigin { get; init; }

    /// <summary>Take an origin that is mounted for writing.</summary>
    public bool AcceptInUse { get; init; }

    /// <summary>Told of what a person should know and what keeps nothing from being made.</summary>
    public Action<LincowError>? Warn { get; init; }

    /// <summary>Replace what is there.</summary>
    public bool Force { get; init; }
}
