using Lincow.Blobs;

namespace Lincow;

/// <summary>How an overlay is opened for use as a device.</summary>
public sealed record OverlayOptions
{
    /// <summary>The overlay's path; null for a transient one.</summary>
    public string? Overlay { get; init; }

    /// <summary>The origin, when it has moved (or, for a transient overlay, in any case).</summary>
    public string? Origin { get; init; }

    /// <summary>The origin that a program decides on; <see cref="Origin"/> is left out then. The session disposes of it.</summary>
    public UserOrigin? UserOrigin { get; init; }

    /// <summary>The separate map, when it isn't found by itself.</summary>
    public string? Map { get; init; }

    /// <summary>
    /// For a transient overlay: a directory, a new file or a block device for its data; null for the directory of temporary files.
    /// </summary>
    public string? TransientData { get; init; }

    /// <summary>For a transient overlay: chunk and device size in bytes.</summary>
    public long ChunkBytes { get; init; } = 4096;

    /// <summary>For a transient overlay: the device's size in bytes; null for the origin's.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>
    /// The device's logical sectors in bytes: 512, 1024, 2048 or 4096; null for what the overlay remembers, or else the origin's.
    /// </summary>
    public int? SectorBytes { get; init; }

    /// <summary>Writes are refused, and others may read the overlay too. Nothing of its files changes.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>With ReadOnly: look at the state on disk without a lock, also while somebody serves the overlay.</summary>
    internal bool Peek { get; init; }

    /// <summary>Who changes the origin meanwhile is of no interest: nothing is served.</summary>
    internal bool IsLook { get; init; }

    /// <summary>Bypass the page cache (O_DIRECT).</summary>
    public bool Direct { get; init; }

    /// <summary>
    /// Writes that find no room in the file system below wait until there is, and are tried again; otherwise they fail with ENOSPC. Closing
    /// and a reset end the wait, with ENOSPC. A dm-snapshot store that is full itself isn't waited for.
    /// </summary>
    public bool WaitForRoom { get; init; }

    /// <summary>
    /// Writes are answered once another process that opens the overlay would find them, should this one be killed (not: should the power
    /// go). For clients that connect again by themselves and go on where they were.
    /// </summary>
    public bool OutliveServer { get; init; }

    /// <summary>Go on with an origin that isn't as the overlay remembers it, and remember it as it is now.</summary>
    public bool AcceptOrigin { get; init; }

    /// <summary>
    /// Read the origin's holes as well, as if they were data: for a file system that calls data a hole, which nothing can tell.
    /// </summary>
    public bool IgnoreHoles { get; init; }

    /// <summary>Take an origin that is mounted for writing.</summary>
    public bool AcceptInUse { get; init; }

    /// <summary>Told of what a person should know and what keeps nothing from being opened.</summary>
    public Action<LincowError>? Warn { get; init; }

    /// <summary>Use a map that names another data file.</summary>
    public bool AcceptMap { get; init; }

    /// <summary>
    /// For a transient overlay: how its chunks lie, <c>linear</c> or <c>snapshot</c>. A persistent one is what it is.
    /// </summary>
    public string Store { get; init; } = StoreTraits.DefaultName;

    /// <summary>For a snapshot store: memory for areas of its list, in bytes.</summary>
    public long AreaCacheBytes { get; init; } = 16 << 20;

    /// <summary>
    /// For a snapshot store: when it is full, give it up as dm-snapshot's P and N do; else writes fail and the rest goes on, as with PO.
    /// </summary>
    public bool GiveUpWhenFull { get; init; }

    /// <summary>
    /// For a snapshot store: the origin is written to by the same process (<see cref="Operations.LiveOrigin"/>), so what it is like is not
    /// remembered meanwhile.
    /// </summary>
    public bool OriginIsLive { get; init; }

    /// <summary>For a snapshot store, with ReadOnly: open one that was given up or is damaged, and serve what is sound.</summary>
    public bool Rescue { get; init; }
}
