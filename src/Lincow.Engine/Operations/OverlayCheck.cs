using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>Examines all of an overlay's metadata, and repairs what can be repaired.</summary>
internal static class OverlayCheck
{
    /// <summary>Checks an overlay that nobody is writing. Throws <see cref="LincowException"/> when it can't be opened at all.</summary>
    /// <param name="overlay">The overlay.</param>
    /// <param name="map">Its map, if it isn't found by itself.</param>
    /// <param name="repair">Replace what is damaged by its twin.</param>
    /// <param name="acceptMap">Use a map that names another data file.</param>
    /// <param name="origin">For a snapshot store that lincow has no note of: its origin, so that chunks beyond its end are found.</param>
    /// <param name="progress">Told how far it is.</param>
    /// <param name="stop">Ends it between two pages; what has been repaired until then stays.</param>
    public static CheckReport Run(string overlay, string? map, bool repair, bool acceptMap = false, string? origin = null,
        IProgress<OperationProgress>? progress = null, CancellationToken stop = default) => Operation.Guard(() =>
    {
        var options = new OverlayOptions { Overlay = overlay, Map = map, AcceptMap = acceptMap, Rescue = true };
        using var files = StoreFormats.Of(overlay, map).Open(options, repair ? OverlayAccess.Write : OverlayAccess.Read);
        return files.Check(StoreOrigin.DeviceBytes(files, origin), repair, Operation.Observe("map pages", progress, stop));
    });

    /// <inheritdoc cref="Run"/>
    public static Task<CheckReport> RunAsync(string overlay, string? map = null, bool repair = false, bool acceptMap = false,
        string? origin = null,
        IProgress<OperationProgress>? progress = null, CancellationToken stop = default) =>
            Operation.Start(() => Run(overlay, map, repair, acceptMap, origin, progress, stop), stop);
}
