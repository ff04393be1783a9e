using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores.Linear;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Device;

/// <summary>What a simulated overlay is like.</summary>
public sealed record OverlayShape(long DeviceBytes, int ChunkShift, bool IsSeparate, long OriginBytes);

/// <summary>A device over simulated disks, which can lose power and be opened again.</summary>
internal sealed class TestOverlay : TestDevice
{
    private readonly BufferPool _buffers = new();
    private readonly OverlayShape _shape;
    private CowDevice _device = null!;

    public TestOverlay(Random random, OverlayShape shape)
    {
        _shape = shape;
        World = new SimulatedWorld(random);
        var superblock = new Superblock
        {
            Uuid = new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
            Generation = 1,
            DeviceBytes = shape.DeviceBytes,
            MaxDeviceBytes = shape.DeviceBytes,
            ChunkShift = shape.ChunkShift,
            Layout = shape.IsSeparate ? LinearLayout.Separate : LinearLayout.Front,
            DataOffset = shape.IsSeparate ? 0 : Superblock.ShiftFor(shape.DeviceBytes, shape.ChunkShift),
            Origin = new OriginIdentity(OriginKind.File, shape.OriginBytes, 0, 0, 0),
            OriginUri = "/origin",
        };
        MapDisk = new SimulatedBlob(World, superblock.MapFileBytes, "map");
        DataDisk = shape.IsSeparate ? new SimulatedBlob(World, superblock.DataFileBytes, "data") : MapDisk;
        OriginDisk = new SimulatedBlob(World, shape.OriginBytes, "origin");
        OriginContent = new byte[shape.DeviceBytes];
        OriginDisk.FillWithRuns(random, OriginContent.AsSpan(0, (int)shape.OriginBytes));
        SuperblockFile.Update(MapDisk, superblock, _buffers);
        Open();
    }

    public override BufferPool Buffers => _buffers;

    public SimulatedWorld World { get; }

    public SimulatedBlob MapDisk { get; }

    public SimulatedBlob DataDisk { get; }

    public SimulatedBlob OriginDisk { get; }

    public override byte[] OriginContent { get; }

    public LinearStore Store { get; private set; } = null!;

    public override CowDevice Device => _device;

    public override void Open()
    {
        var reading = SuperblockFile.Read(MapDisk, _buffers);
        if (reading.NeedsRepair)
            SuperblockFile.Repair(MapDisk, reading, _buffers);
        Store = new LinearStore(reading.Current!, MapDisk, _buffers) { Report = error => Reports.Add(error.Message) };
        Store.MarkInUse();
        var identity = new OriginIdentity(OriginKind.File, _shape.OriginBytes, 0, 0, 0);
        _device = new CowDevice(new LayerStack(Store, DataDisk, new OriginLayer("/origin", identity, OriginDisk)), _buffers,
            isReadOnly: false);
    }

    public override int Close()
    {
        var result = Run(new TestRequest { Operation = BlockOperation.Flush });
        if (result == 0)
            Store.CloseCleanly(reclaimed: true);
        Store.Map.Dispose();
        return result;
    }

    /// <summary>The power goes: what is in flight is lost, and disks keep what they like of what was not flushed.</summary>
    public void CutPower()
    {
        World.DropPending();
        MapDisk.Cut();
        if (!ReferenceEquals(MapDisk, DataDisk))
            DataDisk.Cut();
        Store.Map.Dispose();
    }

    /// <summary>As the command does it: the generation goes up.</summary>
    public override void Reset()
    {
        Assert.Equal(0, Close());
        Open();
        Store.Superblock = SuperblockFile.Update(MapDisk, Store.Superblock with { Generation = Store.Superblock.Generation + 1 }, _buffers);
        CutPower();
        Open();
    }

    public override int Run(TestRequest request) => request.RunOn(Device, World);

    public override void Dispose() => _buffers.Dispose();
}

/// <summary>A request with memory of its own, and its result.</summary>
internal sealed unsafe class TestRequest : BlockRequest, IDisposable
{
    private bool _isSubmitting;

    public int? Result { get; private set; }

    public Action<int>? Completed { get; set; }

    public Span<byte> Content
    {
        get
        {
            if (Buffer == 0)
            {
                Buffer = (nint)NativeMemory.AlignedAlloc((nuint)Math.Max(ByteLength, 1), 4096);
                // Whatever isn't filled in shows.
                new Span<byte>((void*)Buffer, (int)ByteLength).Fill(0xee);
            }
            return new Span<byte>((void*)Buffer, (int)ByteLength);
        }
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree((void*)Buffer);
        Buffer = 0;
    }

    /// <summary>Submits anew, with room for data where the operation needs it.</summary>
    public void SubmitTo(BlockDevice device)
    {
        Result = null;
        if (Operation is BlockOperation.Read or BlockOperation.Write)
            _ = Content;
        _isSubmitting = true;
        device.Submit(this);
        _isSubmitting = false;
    }

    /// <summary>Submits, and lets the world turn until it has ended.</summary>
    public int RunOn(BlockDevice device, SimulatedWorld world)
    {
        SubmitTo(device);
        while (Result is null)
        {
            if (world.PendingCount == 0)
                throw new InvalidOperationException($"{Operation} at {ByteOffset} of {ByteLength} bytes waits for nothing");
            world.Turn();
        }
        return Result.Value;
    }

    protected internal override void OnCompleted(int result)
    {
        if (_isSubmitting)
            throw new InvalidOperationException("the request ended inside the call that submitted it");
        Result = result;
        Completed?.Invoke(result);
    }
}
