using System.Globalization;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>An exception store that is to be made.</summary>
internal sealed class SnapshotPlan(StorePlanOptions options) : IStorePlan
{
    private readonly Geometry _geometry = new(options.DeviceBytes, options.ChunkShift);

    public void RequireRoom(LinuxFile metadata, LinuxFile data) => RequireCapacity(data, options.Create.StoreBytes, _geometry);

    public void Lay(LinuxFile metadata, LinuxFile data, bool preallocate)
    {
        Lay(data, options.Create.StoreBytes, _geometry, options.Origin, preallocate, options.OriginUri);
        if (options.Create.SectorBytes is { } sectorBytes)
            data.TrySetAttribute(OriginNote.SectorAttribute, string.Create(CultureInfo.InvariantCulture, $"{sectorBytes}"));
    }

    public StoreFiles Take(LinuxFile metadata, LinuxFile data) => SnapshotFile.Take(data, OverlayAccess.Peek, rescue: false);

    /// <summary>
    /// Lays an empty store into a file or device that is open: the list's first area, then the header, so that a cut leaves no store.
    /// </summary>
    /// <param name="file">The target.</param>
    /// <param name="storeBytes">Its size to be; null for what keeps every chunk of the device. A device has the size that it has.</param>
    /// <param name="geometry">The device.</param>
    /// <param name="origin">The origin, to be remembered.</param>
    /// <param name="preallocate">Reserve its space now.</param>
    /// <param name="originUri">What is remembered of the origin's place; null for the origin's own name.</param>
    public static void Lay(LinuxFile file, long? storeBytes, Geometry geometry, OriginFile origin, bool preallocate,
        string? originUri = null)
    {
        var bytes = RequireCapacity(file, storeBytes, geometry);
        if (file.Facts.Kind == FileKind.Regular)
            file.SetLength(bytes);
        if (preallocate && file.Facts.Kind == FileKind.Regular && !file.TryReserve(0, bytes))
            throw new LincowException(StoreErrors.CannotReserve(file.Path));
        var header = new SnapshotHeader(IsValid: true, geometry.ChunkShift);
        SnapshotFile.Empty(file, header);
        OriginNote.Write(file, Guid.NewGuid(), geometry.DeviceBytes, origin.Identity, originUri ?? origin.Uri);
    }

    /// <summary>
    /// The bytes that a store in a file or device is to have. Throws <see cref="LincowException"/> when no chunk fits in.
    /// </summary>
    private static long RequireCapacity(LinuxFile file, long? storeBytes, Geometry geometry)
    {
        var layout = new SnapshotLayout(geometry.ChunkShift);
        var bytes = file.Facts.Kind == FileKind.Regular ? storeBytes ?? layout.StoreBytesFor(geometry.ChunkCount) : file.Facts.SizeBytes;
        return layout.Capacity(bytes) >= 1 ? bytes
            : throw new LincowException(SnapshotErrors.HoldsNoChunk(file.Path, bytes, geometry.ChunkBytes));
    }
}
