using Lincow.Blobs;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Device;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Layers;

/// <summary>
/// A stack of linear overlays on simulated disks, next to an array of bytes: each overlay is written over those before it, then frozen.
/// What the nearest shows is in <see cref="Content"/>.
/// </summary>
internal sealed class TestStack : IDisposable
{
    private const int OriginBytes = 100_000;

    private readonly List<FrozenDisks> _frozen = [];
    private readonly List<SharedIndex> _indexes = [];
    private readonly SimulatedBlob _origin;

    public TestStack(int seed)
    {
        Random = new Random(seed);
        World = new SimulatedWorld(Random);
        _origin = new SimulatedBlob(World, OriginBytes, "origin");
        Content = new byte[OriginBytes];
        _origin.FillWithRuns(Random, Content);
    }

    public Random Random { get; }

    public SimulatedWorld World { get; }

    public BufferPool Buffers { get; } = new();

    /// <summary>What the nearest layer shows.</summary>
    public byte[] Content { get; private set; }

    public int Depth => _frozen.Count;

    public List<string> Reports { get; } = [];

    /// <summary>The disks of a layer, counted from the deepest.</summary>
    public SimulatedBlob MapOf(int layer) => _frozen[layer].Map;

    /// <summary>Writes one more layer and freezes it. Its size and that of its chunks may be others than those below it have.</summary>
    public void Grow(long? deviceBytes = null, int? chunkShift = null, int operations = 12, bool? isSeparate = null)
    {
        // Now and then a smaller one: what it cuts off doesn't come back when the next is larger again.
        var size = deviceBytes ?? (Depth == 0 ? Content.Length + (Random.Next(0, 200) * 512) : Random.Next(6) switch
        {
            0 => Math.Max(Content.Length / 2, OriginBytes / 2),
            1 or 2 => Content.Length + (Random.Next(0, 200) * 512),
            _ => Content.Length,
        });
        size = (size + 511) / 512 * 512;
        var disks = new FrozenDisks(this, size, chunkShift ?? Random.Next(9, 15), isSeparate ?? Random.Next(2) > 0);
        var content = new byte[size];
        Content.AsSpan(0, Math.Min(Content.Length, content.Length)).CopyTo(content);
        using var index = Depth == 0 ? null : new Joined(NewIndex());
        using var store = new LinearStore(disks.Superblock, disks.Map, Buffers);
        store.MarkInUse();
        var device = new CowDevice(new LayerStack(store, disks.Data, index is null ? NewOrigin() : Over(index.Index)), Buffers,
            isReadOnly: false);
        for (var i = 0; i < operations; i++)
            Change(device, content);
        Assert.Equal(0, Run(device, new TestRequest { Operation = BlockOperation.Flush }));
        // A layer whose process was killed after its last flush is as good as any.
        if (Random.Next(2) > 0)
            store.CloseCleanly(reclaimed: true);
        disks.Superblock = SuperblockFile.Read(disks.Map, Buffers).Current!;
        _frozen.Insert(0, disks);
        Content = content;
    }

    /// <summary>An index over all layers.</summary>
    public SharedIndex NewIndex()
    {
        var index = new SharedIndex([.. _frozen.Select(disks => disks.Superblock.Geometry)]);
        _indexes.Add(index);
        return index;
    }

    /// <summary>All layers, as one device sees them.</summary>
    public FrozenLayers Over(SharedIndex index)
    {
        Assert.True(index.TryJoin());
        return new FrozenLayers(index, [.. _frozen.Select(disks => new FrozenLinear(disks.Superblock, disks.Map, disks.Data))],
            NewOrigin(), Buffers)
        {
            Report = error => Reports.Add(error.Message),
        };
    }

    /// <summary>A device over all layers, whose own layer is forgotten, as large as the nearest or larger.</summary>
    public CowDevice OpenDevice(SharedIndex index, long? deviceBytes = null, int chunkShift = 12)
    {
        var geometry = new Geometry(deviceBytes ?? Content.Length, chunkShift);
        var superblock = _frozen[0].Superblock with
        {
            DeviceBytes = geometry.DeviceBytes,
            MaxDeviceBytes = geometry.DeviceBytes,
            ChunkShift = chunkShift,
            DataOffset = 0
        };
        var data = new SimulatedBlob(World, geometry.DeviceBytes, "top");
        return new CowDevice(new LayerStack(new LinearStore(superblock, null, Buffers), data, Over(index)), Buffers, isReadOnly: false);
    }

    public int Run(CowDevice device, TestRequest request) => request.RunOn(device, World);

    /// <summary>Reads; fails when that fails.</summary>
    public byte[] Read(CowDevice device, long byteOffset, int byteLength)
    {
        using var request = new TestRequest { Operation = BlockOperation.Read, ByteOffset = byteOffset, ByteLength = byteLength };
        Assert.Equal(0, Run(device, request));
        return request.Content.ToArray();
    }

    /// <summary>One random write or zeroing, of the device and of the array.</summary>
    public void Change(CowDevice device, byte[] content)
    {
        var from = Random.Next(content.Length);
        var length = Math.Min(content.Length - from, Random.Next(1, Random.Next(2) > 0 ? 2000 : 60_000));
        using var request = new TestRequest { ByteOffset = from, ByteLength = length };
        if (Random.Next(3) > 0)
        {
            request.Operation = BlockOperation.Write;
            Random.NextBytes(request.Content);
            request.Content.CopyTo(content.AsSpan(from));
        }
        else
        {
            request.Operation = BlockOperation.WriteZeroes;
            content.AsSpan(from, length).Clear();
        }
        Assert.Equal(0, Run(device, request));
    }

    public void Dispose()
    {
        _indexes.ForEach(index => index.Leave());
        Buffers.Dispose();
    }

    private OriginLayer NewOrigin() => new("/origin", new OriginIdentity(OriginKind.File, OriginBytes, 0, 0, 0), _origin);

    /// <summary>An index that is left at the end of a block.</summary>
    private sealed class Joined(SharedIndex index) : IDisposable
    {
        public SharedIndex Index => index;

        public void Dispose() => index.Leave();
    }

    private sealed class FrozenDisks
    {
        public FrozenDisks(TestStack stack, long deviceBytes, int chunkShift, bool isSeparate)
        {
            Superblock = new Superblock
            {
                Uuid = Guid.NewGuid(),
                Generation = 1,
                DeviceBytes = deviceBytes,
                MaxDeviceBytes = deviceBytes,
                ChunkShift = chunkShift,
                Layout = isSeparate ? LinearLayout.Separate : LinearLayout.Front,
                DataOffset = isSeparate ? 0 : Superblock.ShiftFor(deviceBytes, chunkShift),
                Origin = new OriginIdentity(OriginKind.File, OriginBytes, 0, 0, 0),
                OriginUri = "/origin",
            };
            Map = new SimulatedBlob(stack.World, Superblock.MapFileBytes, "map");
            Data = isSeparate ? new SimulatedBlob(stack.World, Superblock.DataFileBytes, "data") : Map;
            SuperblockFile.Update(Map, Superblock, stack.Buffers);
        }

        public Superblock Superblock { get; set; }

        public SimulatedBlob Map { get; }

        public SimulatedBlob Data { get; }
    }
}
