namespace Lincow;

/// <summary>A range of an overlay's device and where its content comes from.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes, at least 1.</param>
/// <param name="Kind">Where the content comes from.</param>
public readonly record struct OverlayExtent(long Offset, long Length, ExtentKind Kind)
{
    /// <summary>The byte after the last.</summary>
    public long End => Offset + Length;
}

/// <summary>Where the content of a range comes from.</summary>
public enum ExtentKind
{
    /// <summary>The overlay holds it.</summary>
    Data,

    /// <summary>The overlay says that it reads as zeroes: discarded or zeroed.</summary>
    Zero,

    /// <summary>The origin holds it; the overlay has nothing there.</summary>
    Origin,

    /// <summary>A hole of the origin, or beyond its end, and the overlay has nothing there: zeroes.</summary>
    OriginHole,
}
