using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>An overlay, or a part of one, that was found in a directory.</summary>
/// <param name="Path">The overlay's path: its data, where that lies apart from its map. Of a map without data: the map's.</param>
/// <param name="MissingPart">Where its other half should be and isn't; null when nothing is missing.</param>
/// <param name="IsMap">It is a map whose data is missing.</param>
/// <param name="Info">What it is; null when it can't be described.</param>
/// <param name="Problem">Why it can't be described.</param>
internal sealed record ListedOverlay(string Path, string? MissingPart, bool IsMap, OverlayInfo? Info, LincowError? Problem);

/// <summary>Finds overlays in a directory. Block devices and what lies behind other names are not looked at.</summary>
internal static class OverlayListing
{
    /// <summary>By path. Throws <see cref="LincowException"/> when the directory can't be read.</summary>
    /// <param name="directory">The directory.</param>
    /// <param name="recursive">Its subdirectories as well, symbolic links not followed.</param>
    /// <param name="unreadable">Told of each file that can't be read, and why.</param>
    public static List<ListedOverlay> Read(string directory, bool recursive, Action<string> unreadable)
    {
        var found = new Dictionary<string, ListedOverlay>();
        foreach (var file in Files(directory, recursive))
        {
            try
            {
                if (Look(file) is { } overlay)
                    found.TryAdd(overlay.Path, overlay);
            }
            catch (Exception e) when (e is LincowException or IOException or UnauthorizedAccessException)
            {
                unreadable(SystemReason.WithPath(e));
            }
        }
        List<ListedOverlay> result = [.. found.Select(overlay => overlay.Value)];
        result.Sort((left, right) => string.CompareOrdinal(left.Path, right.Path));
        return result;
    }

    private static List<string> Files(string directory, bool recursive)
    {
        // Symbolic links would lead elsewhere, or round in circles.
        var options = new EnumerationOptions
        {
            AttributesToSkip = FileAttributes.ReparsePoint,
            IgnoreInaccessible = recursive,
            RecurseSubdirectories = recursive
        };
        // .NET says that nothing is there.
        if (File.Exists(directory))
            throw new LincowException(OperationErrors.DirectoryUnreadable(directory, new LinuxException("open", directory,
                Errno.NotDirectory)));
        try
        {
            // What is ignored in its subdirectories is an error of the directory itself.
            _ = Directory.EnumerateFileSystemEntries(directory).Any();
            return [.. Directory.EnumerateFiles(LinuxPath.Full(directory), "*", options).Where(LinuxPath.IsRegularFile)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new LincowException(OperationErrors.DirectoryUnreadable(directory, e), e);
        }
    }

    /// <summary>Null when a file is no overlay, nor a part of one.</summary>
    private static ListedOverlay? Look(string path)
    {
        string? metadata, data;
        using (var file = LinuxFile.Open(path, writable: false))
        {
            using var head = new AlignedBytes(StoreFormats.HeadBytes);
            if (StoreFormats.Recognise(file, head.Span[..file.Read(head.Span, 0)]) is not { } format)
                return null;
            (metadata, data) = (format.MetadataOf(file), format.DataOf(file));
        }
        if (metadata is not null && !File.Exists(metadata))
            return new ListedOverlay(path, metadata, IsMap: false, null, null);
        if (data is not null && !File.Exists(data))
            return new ListedOverlay(path, data, IsMap: true, null, null);
        var overlay = data ?? path;
        try
        {
            return new ListedOverlay(overlay, null, IsMap: false, OverlayDescription.Read(overlay, data is null ? null : path), null);
        }
        catch (LincowException e)
        {
            return new ListedOverlay(overlay, null, IsMap: false, null, e.Error);
        }
    }
}
