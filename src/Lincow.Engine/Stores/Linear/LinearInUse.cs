using Lincow.Blobs;

namespace Lincow.Stores.Linear;

/// <summary>A linear overlay under an open device.</summary>
internal sealed class LinearInUse(LinearStore store, IBlob data) : OpenStore(store, data)
{
    public override bool IsCommitUnfinished => store.Superblock.IsCommitUnfinished;

    public override bool IsReclaimPending => (store.Superblock.Flags & SuperblockFlags.ReclaimPending) != 0;

    public override long ReclaimShift => store.Superblock.DataOffset;

    public override string? WhyNoReset => null;

    public override void Restart() => store.Restart();
}
