using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Stores.DmSnapshot;
using Lincow.Tests.Engine.Device;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Stores.DmSnapshot;

/// <summary>
/// A new, empty store right on a simulated disk, which fails when a test says so and counts what it is asked for. The second half of its
/// origin is a hole.
/// </summary>
internal sealed class StoreOnSimulatedDisk : TestDevice
{
    private readonly BufferPool _buffers = new();
    private readonly SimulatedWorld _world;
    private readonly SnapshotLayout _layout;

    public StoreOnSimulatedDisk(long deviceBytes, int chunkBytes, bool isPersistent = true, long areaCacheBytes = 1 << 20, int seed = 7)
    {
        _world = new SimulatedWorld(new Random(seed));
        var geometry = new Geometry(deviceBytes, System.Numerics.BitOperations.Log2((uint)chunkBytes));
        _layout = new SnapshotLayout(geometry.ChunkShift);
        var bytes = _layout.StoreBytesFor(geometry.ChunkCount);
        Disk = new SimulatedBlob(_world, bytes, "store");
        OriginDisk = new SimulatedBlob(_world, deviceBytes, "origin");
        OriginContent = new byte[deviceBytes];
        OriginContent.AsSpan(0, OriginContent.Length / 2).Fill(7);
        OriginDisk.CopyIn(0, OriginContent.AsSpan(0, OriginContent.Length / 2));
        OriginDisk.Settle();
        Store = new SnapshotStore(geometry, Disk, isPersistent, new SnapshotOptions(areaCacheBytes, WhenFull.FailWrites), () =>
            bytes, _buffers)
        { Report = error => Reports.Add(error.Message) };
        var origin = new OriginLayer("/origin", new OriginIdentity(OriginKind.File, deviceBytes, 0, 0, 0), OriginDisk);
        Device = new CowDevice(new LayerStack(Store, Disk, origin), _buffers, isReadOnly: false);
    }

    public SimulatedBlob Disk { get; }

    public SimulatedBlob OriginDisk { get; }

    public SnapshotStore Store { get; }

    public override BufferPool Buffers => _buffers;

    public override byte[] OriginContent { get; }

    public override CowDevice Device { get; }

    public override void Open() => throw new NotSupportedException();

    public override int Close() => throw new NotSupportedException();

    public override void Reset() => throw new NotSupportedException();

    public void Turn()
    {
        Assert.True(_world.PendingCount > 0, "nothing is on its way");
        _world.Turn();
    }

    public override int Run(TestRequest request)
    {
        request.SubmitTo(Device);
        while (request.Result is null)
        {
            Assert.True(_world.PendingCount > 0,
                $"{request.Operation} at {request.ByteOffset} of {request.ByteLength} bytes waits for nothing");
            _world.Turn();
        }
        return request.Result.Value;
    }

    /// <summary>
    /// The power goes after so many turns of a request, or after its end: the device is to be disposed of then, nothing else. Null, or the
    /// result.
    /// </summary>
    public int? RunAndCut(TestRequest request, int turns)
    {
        request.SubmitTo(Device);
        for (; turns > 0 && request.Result is null; turns--)
            _world.Turn();
        var result = request.Result;
        Disk.Cut();
        try
        {
            AfterCut = ContentOnDisk();
        }
        finally
        {
            // For the memory that it holds.
            while (request.Result is null)
                _world.Turn();
        }
        return result;
    }

    /// <summary>What the device was like for who opened it after the cut.</summary>
    public byte[] AfterCut { get; private set; } = [];

    /// <summary>What the device is like by what is on the disk alone: the list, followed from its start, and where it leads.</summary>
    private byte[] ContentOnDisk()
    {
        var (content, area, places) = (OriginContent.ToArray(), new byte[_layout.ChunkBytes], new HashSet<ulong>());
        for (var number = 0L; ; number++)
        {
            Disk.CopyOut(_layout.AreaOffset(_layout.AreaOf(number)), area);
            var entry = ExceptionEntry.Read(area, _layout.IndexInArea(number));
            if (entry.NewChunk == 0)
                return content;
            Assert.True(entry.OldChunk < (ulong)(content.Length / _layout.ChunkBytes) && !_layout.IsMetadata(entry.NewChunk)
                && places.Add(entry.NewChunk),
                $"entry {number} puts chunk {entry.OldChunk} at chunk {entry.NewChunk}");
            Disk.CopyOut((long)entry.NewChunk << _layout.ChunkShift,
                content.AsSpan((int)entry.OldChunk * _layout.ChunkBytes, _layout.ChunkBytes));
        }
    }

    public override void Dispose()
    {
        Store.Dispose();
        Assert.Equal(0, _buffers.RentedBytes);
        _buffers.Dispose();
    }
}
