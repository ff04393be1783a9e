using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>Examines all of an overlay's metadata, and repairs what can be repaired.</summary>
public static class OverlayCheck
{
    /// <summary>Checks an overlay that nobody is writing. Throws <see cref="LincowException"/> when it can't be opened at all.</summary>
    /// <param name="overlay">The overlay.</param>
    /// <param name="map">Its map, if it isn't found by itself.</param>
    /// <param name="repair">Replace what is damaged by its twin.</param>
    /// <param name="acceptMap">Use a map that names another data file.</param>
    /// <param name="progress">Told of the fraction done, from 0 to 1.</param>
    /// <param name="origin">For a snapshot store that lincow has no note of: its origin, so that chunks beyond its end are found.</param>
    public static CheckReport Run(string overlay, string? map, bool repair, bool acceptMap = false, Action<double>? progress = null, string? origin = null)
    {
        try
        {
            var options = new SessionOptions { Overlay = overlay, Map = map, AcceptMap = acceptMap, Rescue = true };
            using var files = StoreFormats.Of(overlay, map).Open(options, repair ? OverlayAccess.Write : OverlayAccess.Read);
            return files.Check(StoreOrigin.DeviceBytes(files, origin), repair, progress);
        }
        catch (LinuxException e)
        {
            throw new LincowException(e.Message, e);
        }
    }
}
