using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>
/// Makes overlays. What makes a file an overlay is written last, so a creation that is cut off leaves something that isn't one.
/// </summary>
internal static class OverlayCreator
{
    /// <summary>Makes the overlay, and says what it is. Throws <see cref="LincowException"/>; files that it made are gone then.</summary>
    public static OverlayInfo Create(CreateOptions options) => CreateHere(options, CancellationToken.None);

    /// <inheritdoc cref="Create"/>
    /// <param name="options">What it is to be.</param>
    /// <param name="stop">
    /// Has it make nothing. From where it begins to write it goes on to its end, which takes as long as to sync a few pages; with
    /// <see cref="CreateOptions.Preallocate"/>, and where files have no holes, as the file system takes.
    /// </param>
    public static Task<OverlayInfo> CreateAsync(CreateOptions options, CancellationToken stop = default) =>
        Operation.Start(() => CreateHere(options, stop), stop);

    private static OverlayInfo CreateHere(CreateOptions options, CancellationToken stop)
    {
        var format = StoreFormats.Named(options.Store);
        if (options.Map is not null && !format.Traits.TakesMap)
            throw new LincowException(OperationErrors.StoreTakesNoMap(options.Map, format.Traits.Name));
        var chunkShift = DeviceSize.ChunkShift(options.ChunkBytes);
        StorePath.FullPath(options.Overlay, "overlay");
        StorePath.FullPath(options.Map ?? options.Overlay, "map");
        using var origin = StoreOrigin.OpenAsync(options.UserOrigin, options.Origin, warn: options.Warn, stop: stop).Now();
        OriginUse.Require(origin, options.AcceptInUse, options.Warn);
        if (origin.Identity.IsTimeless)
            options.Warn?.Invoke(OriginErrors.Timeless(origin.Reference.Place));
        var size = SizeOf(options, origin);
        var maxSize = Math.Max(size, options.MaxSizeBytes ?? size);
        if (options.MaxSizeBytes < size)
            throw new LincowException(OperationErrors.MaxSizeTooSmall(maxSize, size));
        DeviceSize.Require(maxSize, null, "max-size");
        if (options.SectorBytes is { } sectorBytes)
            SectorSize.Require(sectorBytes, size);
        var plan = format.Plan(new StorePlanOptions(options, origin, size, maxSize, chunkShift));
        return Make(options, made =>
        {
            // mutation: create-clears-before-the-checks
            using var data = OpenTarget(options.Overlay, options.Force, origin, made);
            OriginUse.RequireElsewhere(origin, data.Facts, data.Path);
            RequireApart(options.Map, data);
            using var separate = options.Map is null ? null : OpenTarget(options.Map, options.Force, origin, made);
            plan.RequireRoom(separate ?? data, data);
            stop.ThrowIfCancellationRequested();
            Clear(data);
            if (separate is not null)
                Clear(separate);
            plan.Lay(separate ?? data, data, options.Preallocate);
            // mutation: key-lost-without-a-word
            if ((origin.Reference.FilePath is not null || separate is not null) && HostMark.WhyUnkept() is { } why)
                options.Warn?.Invoke(StoreErrors.KeyUnkept(data.Path, why));
            return Describe(plan.Take(separate ?? data, data), origin, size);
        });
    }

    // What a store has no place for is known now, and has to be said at each use from here on.
    private static OverlayInfo Describe(StoreFiles files, OriginFile origin, long size) =>
        files.Origin is not null || !origin.IsFile && !origin.Reference.IsNothing ? files.Describe(null)
            : files.Describe(origin.Uri) with { Size = size, MaxSize = size };

    /// <summary>
    /// Throws <see cref="LincowException"/> when a file beside a path would be taken for a part of an overlay that is made there.
    /// </summary>
    internal static void RequireFreeName(string path)
    {
        foreach (var format in StoreFormats.All)
            format.RequireFreeName(path);
    }

    private static T Make<T>(CreateOptions options, Func<List<string>, T> lay)
    {
        if (options.Map is null)
            RequireFreeName(LinuxPath.Full(options.Overlay));
        var made = new List<string>();
        try
        {
            var result = lay(made);
            // A new file's name is only safe when its directory is.
            foreach (var path in made)
            {
                using var directory = LinuxFile.Open(Path.GetDirectoryName(path)!, writable: false);
                directory.Sync();
            }
            return result;
        }
        catch (Exception e)
        {
            made.ForEach(File.Delete);
            if (e is LinuxException error)
                throw new LincowException(OperationErrors.CreateFailed(error), e);
            throw;
        }
    }

    private static long SizeOf(CreateOptions options, OriginFile origin)
    {
        var size = options.SizeBytes ?? origin.Identity.SizeBytes;
        DeviceSize.Require(size, options.SizeBytes is null ? origin.Uri : null);
        if (origin.Identity.SizeBytes > size)
            throw new LincowException(OperationErrors.OriginLargerThanSize(origin.Uri, origin.Identity.SizeBytes, size));
        return size;
    }

    private static void RequireApart(string? map, LinuxFile data)
    {
        if (map is null || !File.Exists(map))
            return;
        using var look = StorePath.Open(LinuxPath.Full(map));
        if (look.Facts.IsSameFile(data.Facts))
            throw new LincowException(OperationErrors.MapIsData(map));
    }

    /// <summary>Opens a target and makes sure that it is free; nothing of what is there changes yet.</summary>
    private static LinuxFile OpenTarget(string target, bool force, OriginFile origin, List<string> made)
    {
        var path = LinuxPath.Full(target);
        LinuxFile file;
        try
        {
            file = LinuxFile.CreateNew(path);
            made.Add(path);
            StorePath.Lock(file, isWriter: true);
            return file;
        }
        catch (LinuxException e) when (e.Errno == Errno.Exists)
        {
        }
        catch (LinuxException e)
        {
            throw new LincowException(OperationErrors.Unmakeable(path, e), e);
        }
        using (var look = StorePath.Open(path))
        {
            RequireFree(look, origin, force);
            file = StorePath.ReopenSeen(look, writable: true, direct: false, exclusive: true);
        }
        try
        {
            if (StorePath.Lock(file, isWriter: true) is { } holder)
                throw new LincowException(OperationErrors.FileInUse(path, holder));
            // Before it was locked, somebody may have put something there.
            RequireFree(file, origin, force);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    // The last of all checks has been made.
    private static void Clear(LinuxFile file)
    {
        var blob = new FileControl(file);
        if (blob.Facts.Kind != BlobKind.File)
            return;
        blob.ResizeAsync(0).Now();
        // They say something of the overlay that was here before.
        foreach (var format in StoreFormats.All)
        {
            foreach (var attribute in format.Attributes)
                blob.RemoveLabelAsync(attribute).Now();
        }
    }

    internal static void RequireFree(LinuxFile file, OriginFile origin, bool force)
    {
        if (file.Facts.Kind is not (FileKind.Regular or FileKind.BlockDevice))
            throw new LincowException(StoreErrors.NotAFile(file.Path));
        if (origin.Facts.IsSame(BlobFacts.Of(file.Facts)))
            throw new LincowException(OperationErrors.OverlayIsOrigin(file.Path));
        // mutation: create-over-a-cut-commit
        CutCommit.RefuseToReplace(file);
        if (force)
            return;
        var head = new byte[StoreFormats.HeadBytes];
        var isBlank = file.Read(head, 0) == 0 || head.AsSpan().IndexOfAnyExcept((byte)0) < 0;
        if (StoreFormats.Any(head, file.Path, said => said.IsMarked))
            throw new LincowException(OperationErrors.OverlayExists(file.Path));
        if (file.Facts.Kind == FileKind.Regular && file.Facts.SizeBytes > 0)
            throw new LincowException(OperationErrors.FileExists(file.Path));
        if (!isBlank)
            throw new LincowException(OperationErrors.DeviceNotBlank(file.Path));
    }
}
