using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>Under which paths an overlay can be meant: its data, its map, whichever of the two is named.</summary>
internal static class OverlayPaths
{
    /// <summary>The paths that are given, and those of the other half, as far as it is found. Never throws.</summary>
    /// <param name="overlay">The overlay, or its separate map; absolute or not.</param>
    /// <param name="map">Its map, if it is named.</param>
    public static IReadOnlyList<string> Of(string overlay, string? map)
    {
        var paths = new List<string> { LinuxPath.Full(overlay) };
        if (!string.IsNullOrEmpty(map))
            paths.Add(LinuxPath.Full(map));
        try
        {
            if (OtherHalf(paths[0]) is { } other)
                paths.Add(other);
        }
        catch (Exception e) when (e is LincowException or LinuxException or IOException or UnauthorizedAccessException)
        {
            // There is nothing there yet, or nothing that could be read.
        }
        return paths;
    }

    private static string? OtherHalf(string path)
    {
        // A file behind a mount without a server, or a pipe, is not looked at.
        if (!File.Exists(path))
            return null;
        using var file = LinuxFile.Open(path, writable: false);
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice))
            return null;
        foreach (var format in StoreFormats.All)
        {
            if (format.MetadataOf(file) is { } metadata)
                return metadata;
        }
        foreach (var format in StoreFormats.All)
        {
            if (format.DataOf(file) is { } data)
                return data;
        }
        return null;
    }
}
