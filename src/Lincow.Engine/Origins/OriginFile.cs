using System.Buffers;
using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>An origin that is open. Opened read-only; a shared lock keeps overlays that are being written from serving as one.</summary>
internal sealed class OriginFile : IDisposable
{
    /// <inheritdoc cref="FileControl.ContentByte"/>
    public const long LockByte = FileControl.ContentByte;

    private readonly IBlobControl _blob;

    /// <summary>As it was recognised before; null for an origin that isn't read.</summary>
    internal OriginFile(string uri, OriginIdentity identity, LinuxFile? file)
        : this(OriginReference.Parse(uri), identity, file is null ? new NothingControl(uri, identity.SizeBytes) : new FileControl(file))
    {
    }

    private OriginFile(OriginReference reference, OriginIdentity identity, IBlobControl blob, int sectorBytes = SectorSize.Usual) =>
        (Reference, Identity, _blob, SectorBytes) = (reference, identity, blob, sectorBytes);

    public OriginReference Reference { get; }

    /// <summary>The reference's text: an absolute path, zero:SIZE, or user:NAME.</summary>
    public string Uri => Reference.Text;

    public OriginIdentity Identity { get; private set; }

    /// <summary>Its logical sectors (<see cref="SectorSize"/>), in bytes.</summary>
    public int SectorBytes { get; }

    public int AlignmentBytes => _blob.AlignmentBytes;

    public BlobFacts Facts => _blob.Facts;

    /// <summary>It is a file or block device of this machine, which can be claimed and written to.</summary>
    public bool IsFile => _blob is FileControl;

    /// <summary>What it is open as, for reading; null for what is no file or block device of this machine.</summary>
    public LinuxFile? File => (_blob as FileControl)?.File;

    /// <summary>
    /// Opens it and looks at it. Waits for what it lies on, never on a loop's thread. Throws <see cref="LincowException"/> with a sentence
    /// for everything that can't be an origin.
    /// </summary>
    /// <param name="reference">What the user named, or an overlay remembers.</param>
    /// <param name="refuse">Told of what was opened; throws when this one can't be an origin, for it is an overlay's.</param>
    /// <param name="direct">Bypass the page cache where the origin's size allows it.</param>
    /// <param name="warn">Told of what keeps it from being known or held as others are.</param>
    /// <param name="isLive">It is written to meanwhile, by this process, which sees to it that overlays don't notice.</param>
    /// <param name="stop">Nobody waits for it any longer.</param>
    public static async ValueTask<OriginFile> OpenAsync(OriginReference reference, Func<IBlobControl, CancellationToken, ValueTask> refuse,
        bool direct = false, bool isLive = false, Action<LincowError>? warn = null, CancellationToken stop = default)
    {
        var blob = await reference.Scheme.OpenAsync(reference.Text, stop).ConfigureAwait(false);
        try
        {
            var identity = await OriginIdentity.OfAsync(blob, stop).ConfigureAwait(false);
            if (direct)
                blob = await blob.WithoutCacheAsync().ConfigureAwait(false);
            await LockAsync(blob, warn).ConfigureAwait(false);
            if (identity.Samples?.FirstUnreadable() is { } range)
                warn?.Invoke(OriginErrors.SampleUnreadable(blob.Name, range.Start, range.End));
            if (!isLive && await blob.FindHolderAsync(BlobLock.Live).ConfigureAwait(false) is { } server)
                throw new LincowException(OriginErrors.Live(blob.Name, server));
            await refuse(blob, stop).ConfigureAwait(false);
            return new OriginFile(reference, identity, blob, await SectorSize.OfAsync(blob, stop).ConfigureAwait(false));
        }
        catch
        {
            blob.Dispose();
            throw;
        }
    }

    // What only reads needs no lock; it is there to keep a writer of lincow's away.
    internal static async ValueTask LockAsync(IBlobControl blob, Action<LincowError>? warn)
    {
        try
        {
            if (await blob.LockAsync(BlobLock.Content, exclusive: false).ConfigureAwait(false) is { } writer)
                throw new LincowException(OriginErrors.BeingWritten(blob.Name, writer));
        }
        // mutation: origin-without-locks-refused
        catch (LinuxException e) when (FileControl.HasNoLocks(e))
        {
            warn?.Invoke(OriginErrors.Unlockable(blob.Name, e));
        }
    }

    /// <summary>The origin that a program gives; it is the origin's own affair to close it when this fails.</summary>
    public static async ValueTask<OriginFile> OfAsync(UserOrigin user, CancellationToken stop = default)
    {
        DeviceSize.Require(user.SizeBytes, user.Name);
        var blob = new UserControl(user);
        return new OriginFile(OriginReference.Program(user.Name), await OriginIdentity.OfAsync(blob, stop).ConfigureAwait(false), blob,
            await SectorSize.OfAsync(blob, stop).ConfigureAwait(false));
    }

    /// <summary>It has been recognised: what an overlay knows of the samples that can't be read now stays known.</summary>
    public void Recognise(OriginIdentity recorded) => Identity = Identity.Over(recorded);

    /// <summary>The very same file or block device, for writing; a block device is claimed. Throws <see cref="LinuxException"/>.</summary>
    public LinuxFile Reopen() => (_blob as FileControl ?? throw new InvalidOperationException($"{Uri} is no file")).File
        .Reopen(writable: true, exclusiveDevice: true);

    /// <param name="loop">Its owner's.</param>
    /// <param name="ignoreHoles">Everything is read, whatever is said to be a hole.</param>
    public OriginLayer OnLoop(IoLoop loop, bool ignoreHoles = false) => new(Uri, Identity, _blob.OnLoop(loop), _blob, ignoreHoles);

    /// <summary>Reads it in place; beyond its end there are zeroes. For callers with a thread to spare.</summary>
    public void Read(Span<byte> buffer, long byteOffset)
    {
        var byteCount = (int)Math.Clamp(Identity.SizeBytes - byteOffset, 0, buffer.Length);
        var bytes = ArrayPool<byte>.Shared.Rent(byteCount);
        var read = byteCount == 0 ? 0 : _blob.ReadAsync(byteOffset, bytes.AsMemory(0, byteCount)).Now();
        bytes.AsSpan(0, read).CopyTo(buffer);
        ArrayPool<byte>.Shared.Return(bytes);
        buffer[read..].Clear();
    }

    public void Dispose() => _blob.Dispose();
}
