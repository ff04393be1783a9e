using Lincow.Linux;
using Lincow.Overlays;

namespace Lincow.Conversion;

/// <summary>A source whose changes lie somewhere in a store of its own, and everything else in an origin file.</summary>
internal abstract class StoreSource(LinuxFile store, OriginFile origin) : IChangeSource
{
    protected LinuxFile Store => store;

    public abstract long DeviceBytes { get; }

    public abstract int GranularityBytes { get; }

    public string OriginUri => origin.Uri;

    /// <summary>Where the store may end although the device goes on: there are zeroes.</summary>
    protected virtual long StoreEnd => long.MaxValue;

    public abstract IEnumerable<ChangedRange> Changes();

    public void Read(long byteOffset, Span<byte> buffer)
    {
        while (buffer.Length > 0)
        {
            var place = Locate(byteOffset, buffer.Length, out var runBytes);
            var run = buffer[..(int)runBytes];
            if (place is not { } at)
                origin.Read(run, byteOffset);
            else if (store.Read(run, at) is var read && at + read < Math.Min(at + run.Length, StoreEnd))
                throw new LincowException($"{store.Path}: is truncated: the content of device byte {byteOffset} should be at byte {at}, and the file has {store.Facts.SizeBytes}. Restore it from a copy") { IsDamage = true };
            else
                run[read..].Clear();
            buffer = buffer[run.Length..];
            byteOffset += run.Length;
        }
    }

    public virtual void Dispose()
    {
        store.Dispose();
        origin.Dispose();
    }

    /// <summary>Where in the store a byte of the device lies, null if it isn't there; and how many of the bytes that follow lie alike.</summary>
    protected abstract long? Locate(long byteOffset, long byteLength, out long runBytes);

    /// <summary>Opens a store that nobody else is writing.</summary>
    public static LinuxFile OpenStore(string path)
    {
        LinuxFile file;
        try
        {
            file = LinuxFile.Open(path, writable: false, exclusiveDevice: true);
        }
        catch (LinuxException e) when (e.Errno == Errno.Busy)
        {
            throw new LincowException($"{path}: the block device is in use (mounted, or part of a device-mapper device). Take it out of use first: 'dmsetup ls' shows who has it", e);
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{path}: can't be opened: {e.Reason}", e);
        }
        // User-mode Linux locks its files as a whole; lincow has a byte of its own.
        if (!file.IsLockedElsewhere(0) && !file.IsLockedElsewhere(OriginFile.LockByte))
            return file;
        file.Dispose();
        throw new LincowException($"{path}: is in use by {LockHolder.Find(file.Facts) ?? "another process"}. Stop it first, so that what is read is one state");
    }
}
