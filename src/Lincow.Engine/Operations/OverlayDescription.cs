using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>Says what an overlay is: the answer of <c>lincow info</c>.</summary>
internal static class OverlayDescription
{
    /// <summary>
    /// Reads it from the overlay's files, also while it is served (then as of the last flush). Throws <see cref="LincowException"/>.
    /// </summary>
    /// <param name="overlay">The overlay.</param>
    /// <param name="map">Its separate map, if it isn't found by itself.</param>
    /// <param name="acceptMap">Use a map that names another data file.</param>
    /// <param name="origin">For a snapshot store that lincow has no note of: its origin.</param>
    /// <param name="stop">Ends it.</param>
    public static OverlayInfo Read(string overlay, string? map, bool acceptMap = false, string? origin = null,
        CancellationToken stop = default)
    {
        var options = new OverlayOptions { Overlay = overlay, Map = map, AcceptMap = acceptMap, Rescue = true };
        using var files = StoreFormats.Of(overlay, map).Open(options, OverlayAccess.Peek);
        return files.Describe(origin, stop);
    }

    /// <inheritdoc cref="Read"/>
    public static Task<OverlayInfo> ReadAsync(string overlay, string? map = null, bool acceptMap = false, string? origin = null,
        CancellationToken stop = default) =>
        Operation.Start(() => Read(overlay, map, acceptMap, origin, stop), stop);
}
