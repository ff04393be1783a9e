using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores;

/// <summary>Origins, opened for stores: the checks that every store makes are made here, once.</summary>
internal static class StoreOrigin
{
    /// <summary>The origin that a program gives, or else the one of that name. Throws <see cref="LincowException"/>.</summary>
    /// <param name="user">The program's.</param>
    /// <param name="uri">The name.</param>
    /// <param name="direct">Bypass the page cache where the origin's size allows it.</param>
    /// <param name="isLive">This process writes to it meanwhile.</param>
    /// <param name="isRemembered">An overlay remembers it, so it was looked at when it was named.</param>
    /// <param name="warn">Told of what keeps it from being known or held as others are.</param>
    /// <param name="stop">Nobody waits for it any longer.</param>
    public static ValueTask<OriginFile> OpenAsync(UserOrigin? user, string uri, bool direct = false, bool isLive = false,
        bool isRemembered = false, Action<LincowError>? warn = null, CancellationToken stop = default)
    {
        if (user is not null)
            return OriginFile.OfAsync(user, stop);
        var reference = OriginReference.Parse(uri);
        // mutation: raw-origin-looked-at
        Func<IBlobControl, CancellationToken, ValueTask> refuse = reference.IsRaw ? static (_, _) => default
            : isRemembered ? RefuseStoresAsync : RequireDiskAsync;
        return OriginFile.OpenAsync(reference, refuse, direct, isLive, warn, stop);
    }

    /// <summary>
    /// Any origin by its name, for callers with a thread to spare. Throws <see cref="LincowException"/> with a sentence for everything that
    /// can't be one.
    /// </summary>
    /// <param name="uri">A path, or zero:SIZE.</param>
    public static OriginFile Open(string uri) => OpenAsync(null, uri).Now();

    /// <summary>A transient overlay's.</summary>
    public static async ValueTask<OriginFile> OpenTransientAsync(OverlayOptions options, CancellationToken stop)
    {
        var origin = await OpenAsync(options.UserOrigin, options.Origin ?? (options.UserOrigin is null
            ? throw new LincowException(StoreErrors.TransientNeedsOrigin()) : ""), options.Direct, warn: options.Warn, stop: stop)
            .ConfigureAwait(false);
        try
        {
            OriginUse.Require(origin, options.AcceptInUse, options.Warn);
            return origin;
        }
        catch
        {
            origin.Dispose();
            throw;
        }
    }

    /// <summary>As <see cref="OpenAsync(StoreFiles, OverlayOptions, CancellationToken)"/>, for callers with a thread to spare.</summary>
    public static OriginFile Open(StoreFiles store, OverlayOptions options) => OpenAsync(store, options).Now();

    /// <summary>
    /// The origin that the user names, or that a store remembers and this user wrote down. Throws <see cref="LincowException"/> when it
    /// isn't the right one.
    /// </summary>
    public static async ValueTask<OriginFile> OpenAsync(StoreFiles store, OverlayOptions options, CancellationToken stop = default)
    {
        var isNamed = options is not { Origin: null, UserOrigin: null };
        if (!isNamed && store.Origin is null)
            throw new LincowException(StoreErrors.OriginUnknown(store.Path, store.WhyNoOrigin));
        // Before the path is so much as looked at: to open some devices is to act on them.
        // mutation: foreign-origin-followed
        if (!isNamed && store.Origin is { Uri: var named } && !OriginReference.Parse(named).IsNothing && store.WhyForeign() is { } why)
            throw new LincowException(StoreErrors.OriginForeign(store.Path, named, why));
        if (!isNamed)
            store.RequireFollowable();
        var origin = await OpenAsync(options.UserOrigin, options.Origin ?? store.Origin?.Uri ?? "", options.Direct, options.OriginIsLive,
            !isNamed, options.Warn, stop).ConfigureAwait(false);
        try
        {
            // A live one too: old content of a wrong one would be copied into the snapshot for good.
            // mutation: live-origin-not-compared
            if (store.Origin is { } recorded && !options.AcceptOrigin)
                RequireRecognised(store, origin, recorded);
            if (options is { OriginIsLive: false, IsLook: false, Peek: false })
                OriginUse.Require(origin, options.AcceptInUse, options.Warn);
            var size = store.DeviceBytesOver(origin, options.SizeBytes);
            DeviceSize.Require(size, origin.Uri);
            if (origin.Identity.SizeBytes > size)
                throw new LincowException(StoreErrors.OriginLargerThanDevice(origin.Uri, origin.Identity.SizeBytes, size));
            return origin;
        }
        catch
        {
            origin.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The device's size in bytes, as a store remembers it, or else that of an origin which the user names; null when neither is there.
    /// </summary>
    public static long? DeviceBytes(StoreFiles store, string? origin)
    {
        if (store.DeviceBytes is not null || origin is null)
            return store.DeviceBytes;
        using var file = Open(origin);
        return file.Identity.SizeBytes;
    }

    /// <summary>
    /// The device's logical sectors, as a store remembers them, or else as its origin says; null where that can't be asked.
    /// </summary>
    public static int? SectorBytes(StoreFiles store, string? origin)
    {
        if (store.SectorBytes is not null || (origin ?? store.Origin?.Uri) is not { } uri)
            return store.SectorBytes;
        try
        {
            if (origin is null)
            {
                // mutation: foreign-origin-asked-for-its-sectors
                if (store.WhyForeign() is not null)
                    return null;
                store.RequireFollowable();
            }
            var reference = OriginReference.Parse(uri);
            using var blob = reference.Scheme.OpenAsync(reference.Text, CancellationToken.None).Now();
            var bytes = SectorSize.OfAsync(blob, CancellationToken.None).Now();
            return (store.DeviceBytes ?? 0) % bytes == 0 ? bytes : SectorSize.Usual;
        }
        catch (Exception e) when (e is LincowException or IOException)
        {
            return null;
        }
    }

    /// <summary>
    /// Throws <see cref="LincowException"/> when direct I/O on an overlay or its origin needs larger units than the device has.
    /// </summary>
    public static void RequireAlignment(Geometry geometry, LinuxFile data, OriginFile origin)
    {
        if (!data.IsDirect)
            return;
        var block = Math.Max(data.LogicalBlockBytes, origin.AlignmentBytes);
        if (geometry.ChunkBytes < block || geometry.DeviceBytes % block != 0)
            throw new LincowException(StoreErrors.DirectNeedsBlocks(data.Path, block));
    }

    private static void RequireRecognised(StoreFiles store, OriginFile origin, OriginRecord recorded)
    {
        if (origin.Identity.DifferenceFrom(recorded.Identity) is { } difference)
        {
            throw new LincowException(StoreErrors.OriginDiffers(origin.Uri, store.Path, difference));
        }
        origin.Recognise(recorded.Identity);
        if (store.IsCommitUnfinished)
            CutCommit.RequireSamePlace(store.Path, origin, recorded.Uri);
    }

    private static async ValueTask RequireDiskAsync(IBlobControl blob, CancellationToken stop)
    {
        await RefuseStoresAsync(blob, stop).ConfigureAwait(false);
        // The data of one whose map lies apart begins with the guest's bytes.
        if (blob.Facts.Kind is BlobKind.File or BlobKind.BlockDevice && MapOf(blob) is { } map)
            throw new LincowException(StoreErrors.OriginIsData(blob.Name, map));
        await OriginShape.RequireDiskAsync(blob, stop).ConfigureAwait(false);
    }

    // A store's raw bytes, with its metadata in front, are not what anybody means by an origin.
    private static async ValueTask RefuseStoresAsync(IBlobControl blob, CancellationToken stop)
    {
        if (blob.Facts.Kind == BlobKind.Nothing)
            return;
        var head = new byte[StoreFormats.HeadBytes];
        int bytes;
        try
        {
            bytes = await blob.ReadAsync(0, head, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is LinuxException or IOException)
        {
            // The first sector of a failing disk: nobody could open it as an overlay either.
            return;
        }
        // mutation: overlay-as-origin-without-cache
        if (StoreFormats.Any(head.AsSpan(0, bytes), blob.Name, said => said.IsSound))
            throw new LincowException(StoreErrors.OriginIsOverlay(blob.Name));
    }

    private static string? MapOf(IBlobControl blob)
    {
        if (blob is not FileControl { File: var file })
            return null;
        foreach (var format in StoreFormats.All)
        {
            if (format.MetadataOf(file) is { } map && File.Exists(map))
                return map;
        }
        return null;
    }
}
