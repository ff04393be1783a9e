using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// The control half of a file or block device. The kernel has no calls for this that don't wait, so they are made on the caller's thread,
/// and on one of the pool where that one runs a loop.
/// </summary>
internal sealed class FileControl(LinuxFile file) : IBlobControl
{
    /// <summary>The byte that <see cref="BlobLock.Content"/> locks: "LINCOW" as a number, beyond anyone's content.</summary>
    public const long ContentByte = 0x4c494e434f57;

    /// <summary>The byte that <see cref="BlobLock.Live"/> locks.</summary>
    public const long LiveByte = ContentByte + 1;

    private const string UnknownHolder = "another process";

    /// <summary>Whether a lock failed because the file system, or the system itself, has none.</summary>
    public static bool HasNoLocks(LinuxException failure) =>
        failure.Errno is Errno.NoLocks or Errno.NoSystemCall or Errno.NotSupported or Errno.Invalid;

    /// <summary>For what only a file of this machine's kernel has: claims of block devices, loop devices over it.</summary>
    public LinuxFile File => file;

    public string Name => file.Path;

    public int AlignmentBytes => file.IsDirect ? file.LogicalBlockBytes : 1;

    public int SectorBytes => file.Facts.Kind == FileKind.BlockDevice ? file.LogicalBlockBytes : 0;

    public BlobFacts Facts { get; } = BlobFacts.Of(file.Facts);

    public async ValueTask<BlobFacts> ReadFactsAsync(CancellationToken stop = default)
    {
        await BlobControlWait.LeaveLoop();
        var facts = BlobFacts.Of(file.ReadFacts());
        return facts.Kind == BlobKind.File && file.HasTimesOfItsMount ? facts.WithoutTime() : facts;
    }

    public async ValueTask<int> ReadAsync(long byteOffset, Memory<byte> target, CancellationToken stop = default)
    {
        stop.ThrowIfCancellationRequested();
        await BlobControlWait.LeaveLoop();
        if (!file.IsDirect)
            return file.Read(target.Span, byteOffset);
        using var aligned = new AlignedBytes(target.Length);
        var byteCount = file.Read(aligned.Span, byteOffset);
        aligned.Span[..byteCount].CopyTo(target.Span);
        return byteCount;
    }

    public async ValueTask<string?> LockAsync(BlobLock what, bool exclusive, bool outlast = false)
    {
        await BlobControlWait.LeaveLoop();
        var lockByte = ByteOf(what);
        if (!outlast)
            return file.TryLock(lockByte, exclusive) ? null : LockHolder.Find(file.Facts) ?? UnknownHolder;
        return LockHolder.Outlast(() => file.TryLock(lockByte, exclusive) ? file : null, () => LockHolder.Find(file.Facts), out var holder)
            is null ? holder ?? UnknownHolder : null;
    }

    public async ValueTask<string?> FindHolderAsync(BlobLock what)
    {
        await BlobControlWait.LeaveLoop();
        return file.IsLockedElsewhere(ByteOf(what)) ? LockHolder.Find(file.Facts) ?? UnknownHolder : null;
    }

    public async ValueTask<string?> GetLabelAsync(string name)
    {
        await BlobControlWait.LeaveLoop();
        return file.GetAttribute(name);
    }

    public async ValueTask<bool> TrySetLabelAsync(string name, string value)
    {
        await BlobControlWait.LeaveLoop();
        return file.TrySetAttribute(name, value);
    }

    public async ValueTask RemoveLabelAsync(string name)
    {
        await BlobControlWait.LeaveLoop();
        file.RemoveAttribute(name);
    }

    public async ValueTask ResizeAsync(long sizeBytes)
    {
        await BlobControlWait.LeaveLoop();
        file.SetLength(sizeBytes);
    }

    public async ValueTask SyncAsync()
    {
        await BlobControlWait.LeaveLoop();
        file.Sync();
    }

    public async ValueTask<IBlobControl> WithoutCacheAsync()
    {
        await BlobControlWait.LeaveLoop();
        if (file.Facts.SizeBytes % file.LogicalBlockBytes != 0)
            return this;
        try
        {
            var direct = file.Reopen(writable: false, direct: true);
            file.Dispose();
            return new FileControl(direct);
        }
        // A file system without it: what can't be left out for an origin isn't.
        catch (LinuxException e) when (e.Errno == Errno.Invalid)
        {
            return this;
        }
    }

    public IReadableBlob OnLoop(IoLoop loop) => new FileBlob(file, loop);

    public void Dispose() => file.Dispose();

    private static long ByteOf(BlobLock what) => what == BlobLock.Live ? LiveByte : ContentByte;
}
