using Lincow.Blobs;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Tests.Serving.Frontends;

/// <summary>
/// A device of any size that keeps nothing and remembers what it was asked: for what front ends make of the longest requests.
/// </summary>
internal sealed class HugeDevice(IoLoop loop, int chunkShift = 12, bool isReadOnly = false) : BlockDevice(new NothingBlob())
{
    public const long Bytes = Geometry.MaxDeviceBytes;

    public List<(BlockOperation Operation, long ByteOffset, long ByteLength, BlockFlags Flags)> Asked { get; } = [];

    /// <summary>Requests that stay in flight, when they do, until the test completes them on the loop.</summary>
    public List<IoCompletion>? Held { get; set; }

    public override Geometry Geometry { get; } = new(Bytes, chunkShift);

    public override bool IsReadOnly => isReadOnly;

    public override bool CanDiscard => true;

    public override long MaxZeroBytes => Bytes;

    public override long MaxExtentsBytes => Bytes;

    public override bool IsPersistent => true;

    public override bool HasUncommitted => false;

    public override long RequestCount => Asked.Count;

    public override bool IsIdle => true;

    public override bool IsFastToZero(long byteOffset, long byteLength) => true;

    private protected override void Start(BlockRequest request)
    {
        lock (Asked)
            Asked.Add((request.Operation, request.ByteOffset, request.ByteLength, request.Flags));
        if (request.Operation == BlockOperation.Read)
            GuardedMemory.Clear(request.Buffer, (nuint)request.ByteLength);
        if (request.Operation == BlockOperation.Extents)
            unsafe
            {
                *(BlockExtent*)request.Buffer = new BlockExtent(request.ByteLength, RunSource.OriginHole);
                request.ExtentCount = 1;
            }
        if (Held is not null)
            Held.Add(new Completed(this, request));
        else
            loop.CompleteSoon(new Completed(this, request), 0);
    }

    private protected override void Tell(BlockRequest request, int result) => request.OnCompleted(result);

    private sealed class Completed(HugeDevice device, BlockRequest request) : IoCompletion
    {
        public override void Complete(int result) => device.Complete(request, result);
    }
}
