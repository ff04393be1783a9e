using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>
/// An origin that is open for writing, and that nobody else uses under any of its names: as it is, as the file behind loop devices, as a
/// loop device over a file. Each name is claimed first and looked at then, so that nobody comes in between.
/// </summary>
internal sealed class OriginClaim : IDisposable
{
    private readonly List<LinuxFile> _held = [];
    private readonly string _because;

    private OriginClaim(LinuxFile file, string because) => (File, _because) = (file, because);

    /// <summary>The origin. Disposed of with the claim.</summary>
    public LinuxFile File { get; }

    /// <summary>Claims the very file that was recognised, which is closed for it. Throws <see cref="LincowException"/>.</summary>
    /// <param name="seen">The origin, a file or block device.</param>
    /// <param name="because">Why nobody else may use it, a sentence.</param>
    public static OriginClaim Take(OriginFile seen, string because)
    {
        OriginClaim claim;
        // Its own lock, shared, would be in the way of the exclusive one.
        using (seen)
            claim = new OriginClaim(Reopen(seen, because), because);
        try
        {
            claim.Lock(claim.File, $"{claim.File.Path}:");
            // Before it was locked, somebody may have written to it.
            if (OriginIdentity.Of(claim.File) != seen.Identity)
                throw new LincowException(OriginErrors.Changed(claim.File.Path, because));
            // mutation: claimed-under-a-writer
            if (FileWriters.Of(claim.File).Processes is { Count: > 0 } writers)
                throw new LincowException(OriginErrors.InUse($"{claim.File.Path}:", string.Join(", ", writers), because));
            // mutation: origin-without-its-other-names
            claim.HoldDevicesOver(claim.File.Facts);
            // mutation: origin-without-what-lies-behind
            claim.HoldFileBehind(claim.File);
            return claim;
        }
        catch
        {
            claim.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        File.Dispose();
        foreach (var file in _held)
            file.Dispose();
    }

    private static LinuxFile Reopen(OriginFile seen, string because)
    {
        try
        {
            return seen.Reopen();
        }
        catch (LinuxException e) when (e.Errno == Errno.Busy)
        {
            throw new LincowException(OriginErrors.DeviceInUse(seen.Uri, because), e);
        }
        catch (LinuxException e)
        {
            throw new LincowException(OriginErrors.Unwritable(seen.Uri, e), e);
        }
    }

    private void Lock(LinuxFile file, string shown)
    {
        if (new FileControl(file).LockAsync(BlobLock.Content, exclusive: true).Now() is { } holder)
            throw new LincowException(OriginErrors.InUse(shown, holder, _because));
    }

    private void HoldDevicesOver(FileFacts file, string? except = null)
    {
        foreach (var device in LoopBlockDevice.Over(file).Where(device => device != except))
        {
            List<string> holders;
            try
            {
                if (LinuxBlockDevice.TryClaim(device, out holders) is { } held)
                    _held.Add(held);
            }
            catch (LinuxException e) when (e.Errno is Errno.Access or Errno.Perm)
            {
                // Without root, looking is all that can be done.
                holders = DeviceHolders.Of(device);
            }
            catch (LinuxException)
            {
                // It has gone meanwhile.
                continue;
            }
            if (holders.Count > 0)
                throw new LincowException(OriginErrors.InUseAs(File.Path, device, string.Join(", ", holders), _because));
        }
    }

    // Loop devices may lie on each other.
    private void HoldFileBehind(LinuxFile device)
    {
        if (device.Facts.Kind != FileKind.BlockDevice || LoopBlockDevice.FileBehind(device) is not { } behind)
            return;
        LinuxFile file;
        try
        {
            file = LinuxFile.Open(behind.Path, writable: true, exclusiveDevice: behind.BlockDevice != default);
        }
        catch (LinuxException e) when (e.Errno == Errno.Busy)
        {
            throw new LincowException(OriginErrors.LiesInUsed(File.Path, behind.Path,
                string.Join(", ", DeviceHolders.Of(behind.Path).DefaultIfEmpty(DeviceHolders.Unseen)), _because), e);
        }
        catch (LinuxException)
        {
            // Not to be had by that name, or not for writing: nobody who can be told of uses it.
            return;
        }
        _held.Add(file);
        if (!behind.IsFile(file.Facts))
            return;
        Lock(file, $"{File.Path}: lies in {file.Path}, which");
        HoldDevicesOver(file.Facts, except: behind.LoopDevice);
        HoldFileBehind(file);
    }
}
