using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>The control half of what nobody writes, and so nobody locks: there is nothing to label or resize either.</summary>
internal abstract class ReadOnlyControl : IBlobControl
{
    public abstract string Name { get; }

    public abstract BlobFacts Facts { get; }

    public int AlignmentBytes => 1;

    public ValueTask<BlobFacts> ReadFactsAsync(CancellationToken stop = default) => new(Facts);

    public abstract ValueTask<int> ReadAsync(long byteOffset, Memory<byte> target, CancellationToken stop = default);

    public ValueTask<string?> LockAsync(BlobLock what, bool exclusive, bool outlast = false) => default;

    public ValueTask<string?> FindHolderAsync(BlobLock what) => default;

    public ValueTask<string?> GetLabelAsync(string name) => default;

    public ValueTask<bool> TrySetLabelAsync(string name, string value) => default;

    public ValueTask RemoveLabelAsync(string name) => default;

    public ValueTask ResizeAsync(long sizeBytes) => throw new NotSupportedException($"{Name}: has a size of its own");

    public ValueTask SyncAsync() => default;

    public ValueTask<IBlobControl> WithoutCacheAsync() => new(this);

    public abstract IReadableBlob? OnLoop(IoLoop loop);

    public virtual void Dispose()
    {
    }
}
