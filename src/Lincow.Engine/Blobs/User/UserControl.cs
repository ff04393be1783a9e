using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>The control half of a program's origin.</summary>
internal sealed class UserControl(UserOrigin origin) : ReadOnlyControl
{
    public override string Name => origin.Name;

    public override BlobFacts Facts { get; } = new(BlobKind.File, origin.SizeBytes);

    public override async ValueTask<int> ReadAsync(long byteOffset, Memory<byte> target, CancellationToken stop = default)
    {
        stop.ThrowIfCancellationRequested();
        await BlobControlWait.LeaveLoop();
        if (origin.IsQuick)
            origin.Read(byteOffset, target.Span);
        else
            await origin.ReadAsync(byteOffset, target, stop).ConfigureAwait(false);
        return target.Length;
    }

    public override IReadableBlob OnLoop(IoLoop loop) => new UserBlob(origin, loop);

    public override void Dispose() => origin.Dispose();
}
