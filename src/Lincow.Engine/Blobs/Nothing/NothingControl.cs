using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>Nothing, of a size: no byte of it is ever read, for there is none.</summary>
internal sealed class NothingControl(string name, long sizeBytes) : ReadOnlyControl
{
    public override string Name => name;

    public override BlobFacts Facts { get; } = new(BlobKind.Nothing, sizeBytes);

    public override ValueTask<int> ReadAsync(long byteOffset, Memory<byte> target, CancellationToken stop = default) => new(0);

    public override IReadableBlob? OnLoop(IoLoop loop) => null;
}
