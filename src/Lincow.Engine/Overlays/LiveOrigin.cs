using Lincow.Device;
using Lincow.Linux;
using Lincow.Storage;

namespace Lincow.Overlays;

/// <summary>
/// An origin that is itself served for writing, with snapshots of it (dm's snapshot-origin). Claimed first, then the snapshots' sessions are opened
/// with <see cref="SessionOptions.OriginIsLive"/>, all on one loop, then the device is made.
/// </summary>
public sealed class LiveOrigin : IDisposable
{
    private readonly LinuxFile _file;
    private FileStorage? _storage;

    private LiveOrigin(LinuxFile file) => _file = file;

    public OriginDevice? Device { get; private set; }

    /// <summary>Opens the origin for writing while nobody else uses it. Throws <see cref="LincowException"/>.</summary>
    public static LiveOrigin Claim(string origin)
    {
        var path = OverlayFiles.FullPath(origin, "origin");
        using (OriginFile.Open(path))
        {
            // A file or block device, and no overlay.
        }
        var file = OverlayFiles.OpenPath(path, writable: true, direct: false, exclusive: false);
        try
        {
            if (!file.TryLock(OriginFile.LockByte, exclusive: true))
                throw new LincowException($"{path}: is in use by {LockHolder.Find(file.Facts) ?? "another process"}, and would change under it. Stop that process first");
            // Shared from here on, with its own snapshots; those of others see the other byte.
            if (!file.TryLock(OriginFile.LiveByte, exclusive: true) || !file.TryLock(OriginFile.LockByte, exclusive: false))
                throw new LincowException($"{path}: is in use by {LockHolder.Find(file.Facts) ?? "another process"}; stop that process first");
            if (file.Facts.SizeBytes == 0 || file.Facts.SizeBytes % 512 != 0)
                throw new LincowException($"{path}: has {file.Facts.SizeBytes} bytes, which is not a whole number of sectors");
            return new LiveOrigin(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Makes the device, on the loop of the sessions.</summary>
    public OriginDevice Begin(IReadOnlyList<OverlaySession> snapshots, IoLoop loop)
    {
        _storage = new FileStorage(_file, loop);
        var chunkShift = snapshots.Max(snapshot => snapshot.Device.Geometry.ChunkShift);
        return Device = new OriginDevice(new Geometry(_file.Facts.SizeBytes, chunkShift), _storage, [.. snapshots.Select(snapshot => snapshot.Device)]);
    }

    /// <summary>Ends it, on its loop, before the snapshots: waits for what is in flight and syncs. Throws <see cref="LincowException"/>.</summary>
    public void Close(IoLoop loop)
    {
        while (Device is { IsIdle: false })
            loop.RunOnce();
        try
        {
            _file.Sync();
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{e.Message}. Writes since the last flush may be lost", e);
        }
        finally
        {
            Dispose();
        }
    }

    public void Dispose()
    {
        if (_storage is not null)
            _storage.Dispose();
        else
            _file.Dispose();
    }
}
