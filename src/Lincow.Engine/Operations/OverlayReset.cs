using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>Takes an overlay back to its origin.</summary>
public static class OverlayReset
{
    /// <summary>Resets an overlay that nobody serves. Returns whether all space has been given back already. Throws <see cref="LincowException"/>.</summary>
    /// <param name="overlay">The overlay.</param>
    /// <param name="map">Its map, if it isn't found by itself.</param>
    /// <param name="acceptMap">Use a map that names another data file.</param>
    /// <param name="force">Also where a commit was cut off, and what it has not yet carried into the origin goes.</param>
    public static bool Reset(string overlay, string? map, bool acceptMap = false, bool force = false)
    {
        using var files = StoreFormats.Of(overlay, map).Open(new SessionOptions { Overlay = overlay, Map = map, AcceptMap = acceptMap, Rescue = true }, OverlayAccess.Write);
        using var loop = new PosixLoop();
        return Reset(files, loop, force);
    }

    internal static bool Reset(StoreFiles files, IoLoop loop, bool force = false)
    {
        // mutation: reset-after-a-cut-commit
        if (files.IsCommitUnfinished && !force)
            throw UnfinishedCommit.Refusal(files.Path);
        try
        {
            return files.Reset(loop);
        }
        catch (LinuxException e)
        {
            throw new LincowException(e.Message, e);
        }
    }
}
