using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>Takes an overlay back to its origin.</summary>
internal static class OverlayReset
{
    /// <summary>
    /// Resets an overlay that nobody serves. Returns whether all space has been given back already. Throws <see cref="LincowException"/>.
    /// </summary>
    /// <param name="overlay">The overlay.</param>
    /// <param name="map">Its map, if it isn't found by itself.</param>
    /// <param name="acceptMap">Use a map that names another data file.</param>
    /// <param name="force">Also where a commit was cut off, and what it has not yet carried into the origin goes.</param>
    public static bool Reset(string overlay, string? map, bool acceptMap = false, bool force = false)
    {
        using var files = StoreFormats.Of(overlay, map)
            .Open(new OverlayOptions { Overlay = overlay, Map = map, AcceptMap = acceptMap, Rescue = true }, OverlayAccess.Write);
        using var loop = new PosixLoop();
        return Reset(files, loop, force);
    }

    /// <inheritdoc cref="Reset(string, string?, bool, bool)"/>
    /// <param name="stop">Has it not begin. One that has begun is short, and goes on to its end.</param>
    public static Task<bool> ResetAsync(string overlay, string? map = null, bool acceptMap = false, bool force = false,
        CancellationToken stop = default) =>
        Operation.Start(() => Reset(overlay, map, acceptMap, force), stop);

    internal static bool Reset(StoreFiles files, IoLoop loop, bool force = false)
    {
        // mutation: reset-after-a-cut-commit
        if (files.IsCommitUnfinished && !force)
            throw new LincowException(StoreErrors.CommitUnfinished(files.Path));
        return Operation.Guard(() => files.Reset(loop));
    }
}
