using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores;

/// <summary>What a store remembers of its origin.</summary>
/// <param name="Uri">Where it is, as it was recorded.</param>
/// <param name="Identity">What it was like.</param>
internal readonly record struct OriginRecord(string Uri, OriginIdentity Identity);

/// <summary>A store's files, found, opened, locked and recognised: everything that is done with one, but to serve it.</summary>
internal abstract class StoreFiles : IDisposable
{
    /// <summary>As the user named it, made absolute.</summary>
    public abstract string Path { get; }

    /// <summary>The file with the data.</summary>
    public abstract LinuxFile DataFile { get; }

    /// <summary>All of its files.</summary>
    public abstract IReadOnlyList<FileFacts> Facts { get; }

    /// <summary>The chunk size in bytes, as a power of two.</summary>
    public abstract int ChunkShift { get; }

    /// <summary>The device's size in bytes, as far as the store remembers it.</summary>
    public abstract long? DeviceBytes { get; }

    /// <summary>The device's logical sectors in bytes, if the store remembers them.</summary>
    public virtual int? SectorBytes => null;

    /// <summary>What it remembers of its origin; null when nothing.</summary>
    public abstract OriginRecord? Origin { get; }

    /// <summary>
    /// Why what it remembers of its origin must not be followed, a part of a sentence; null when this user wrote it on this machine.
    /// </summary>
    public abstract string? WhyForeign();

    /// <summary>Throws <see cref="LincowException"/> when what it remembers can't be followed for another reason.</summary>
    public abstract void RequireFollowable();

    /// <summary>What is wrong when <see cref="Origin"/> is null. Goes after the path.</summary>
    public virtual string WhyNoOrigin => "lincow has no note of its origin";

    /// <summary>Its commit was begun and isn't complete: only together with what it holds its origin is whole.</summary>
    public abstract bool IsCommitUnfinished { get; }

    /// <summary>The device's size over an origin.</summary>
    /// <param name="wanted">What the user asked for, in bytes; a store that remembers its device may not care.</param>
    /// <param name="origin">The origin.</param>
    public abstract long DeviceBytesOver(OriginFile origin, long? wanted);

    /// <summary>
    /// Builds the store on the loop's thread; for a writer it is marked as in use, and mended where a cut left something, before anything
    /// else is written. Throws
    /// <see cref="LincowException"/>.
    /// </summary>
    public abstract OpenStore Begin(OriginFile origin, OverlayOptions options, IoLoop loop);

    /// <summary>Describes it, also while it is served.</summary>
    /// <param name="origin">Its origin, for what it doesn't remember itself.</param>
    /// <param name="stop">Ends it.</param>
    public abstract OverlayInfo Describe(string? origin, CancellationToken stop = default);

    /// <summary>Examines all of its metadata.</summary>
    /// <param name="deviceBytes">The device's size, if it is known.</param>
    /// <param name="repair">Replace what a sound twin can replace, and clear what a cut has left; the files are open for writing.</param>
    /// <param name="progress">Told of the fraction done, from 0 to 1, where the check may end: it throws when it is to.</param>
    public abstract CheckReport Check(long? deviceBytes, bool repair, Action<double>? progress);

    /// <summary>Empties it: the origin shows again. True when all space has been given back.</summary>
    /// <param name="loop">What waits for the disk.</param>
    public abstract bool Reset(IoLoop loop);

    /// <summary>
    /// Begins, or goes on with, carrying what it holds into its origin. The files are the source's from here on, unless it throws.
    /// </summary>
    /// <param name="target">The origin.</param>
    /// <param name="open">Opens a device over this store and an origin that isn't read, for a store whose chunks are forgotten by ordinary
    /// flushes.</param>
    public abstract ICommitSource BeginCommit(CommitTarget target, Func<OriginFile, IStoreDevice> open);

    /// <summary>"process 12 (lincow)" when it is open for writing elsewhere; null when it is free.</summary>
    public string? Writer() => new FileControl(MetadataFile).FindHolderAsync(BlobLock.Content).Now();

    public abstract void Dispose();

    /// <summary>The file that is locked for the whole.</summary>
    protected abstract LinuxFile MetadataFile { get; }
}
