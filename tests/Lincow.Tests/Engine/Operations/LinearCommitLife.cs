using System.Buffers.Binary;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Device;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Operations;

/// <summary>
/// A linear overlay that is committed: filled by the product itself, over an origin that may have to grow, and sometimes not closed before.
/// </summary>
internal sealed class LinearCommitLife : CommitLife
{
    private SimulatedDisk _overlay = null!;
    private long _batchBytes;
    private long _stamp = 0x2000000;

    public static LinearCommitLife Make(SimulatedMachine machine, ref SimulationRandom random)
    {
        // Sometimes more than one map page.
        var shift = 9 + random.Next(4);
        var deviceBytes = random.OneIn(8) ? 512L * random.Next(16_000, 34_000) : 512L * random.Next(8, 2000);
        var kind = random.OneIn(2) ? FileKind.Regular : FileKind.BlockDevice;
        var superblock = new Superblock
        {
            Uuid = new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
            Generation = 1,
            DeviceBytes = deviceBytes,
            MaxDeviceBytes = deviceBytes,
            ChunkShift = shift,
            Layout = LinearLayout.Front,
            DataOffset = Superblock.ShiftFor(deviceBytes, shift),
            Origin = default,
            OriginUri = "/origin",
        };
        var overlay = new SimulatedDisk("overlay", kind,
            4096)
        { CanPunch = !random.OneIn(4), MapEnd = Superblock.MapOffsetBytes + superblock.MapBytes };
        var origin = new SimulatedDisk("origin", kind, 4096) { CanPunch = !random.OneIn(4) };
        overlay.Blank(superblock.MapFileBytes);
        origin.Blank(kind == FileKind.Regular && random.OneIn(2) ? 512 * random.Next(1, (int)(deviceBytes / 512)) : deviceBytes);
        machine.Disks.AddRange([overlay, origin]);
        var life = new LinearCommitLife
        {
            Machine = machine,
            Origin = origin,
            _overlay = overlay,
            Expected = new byte[deviceBytes],
            _batchBytes = random.OneIn(2) ? 1 << 14 : 1 << 20
        };
        for (var at = 0; at < origin.Length; at += 512)
            BinaryPrimitives.WriteInt64LittleEndian(life.Expected.AsSpan(at), 0x1000000L + at);
        origin.Write(0, life.Expected.AsSpan(0, (int)origin.Length));
        origin.Sync(long.MaxValue);
        var file = new SimulatedFile(machine, overlay);
        LinearPlan.Lay(superblock with { Origin = OriginIdentity.Of(new SimulatedFile(machine, origin)) }, file, file,
            preallocate: false);
        life.Fill(ref random);
        return life;
    }

    public override void Commit()
    {
        var origin = new SimulatedFile(Machine, Origin);
        // Without a look at its content, on which most cuts would fall.
        var seen = new OriginIdentity(Origin.Kind == FileKind.Regular ? OriginKind.File : OriginKind.BlockDevice, Origin.Length, 0, 0, 0);
        var files = Files(OverlayAccess.Write);
        var target = new CommitTarget("/origin", seen, Origin.Kind == FileKind.Regular, Expected.Length);
        using var merge = LinearMerge.Open(files, target, unread => OverlayReader.Over(files, unread, NewLoop()), _batchBytes);
        OverlayCommit.Run(merge, origin);
    }

    public override byte[] Show()
    {
        using var reader = Read();
        var device = new byte[Expected.Length];
        reader.Read(0, device);
        return device;
    }

    public override bool IsUnfinished => Files(OverlayAccess.Read).Superblock.IsCommitUnfinished;

    public override void Reset(bool force) => OverlayReset.Reset(Files(OverlayAccess.Write), NewLoop(), force);

    public override void AssertEmpty()
    {
        using (var reader = Read())
            Assert.All(reader.Extents(), extent =>
                Assert.True(extent.Source is RunSource.Origin or RunSource.OriginHole, $"{extent} is in the overlay"));
        Assert.Equal(Expected.Length, Origin.Length);
        var files = Files(OverlayAccess.Read);
        Assert.Equal(OriginIdentity.Of(new SimulatedFile(Machine, Origin)), files.Superblock.Origin);
        Assert.Empty(files.Check(null, repair: false, progress: null).Findings);
    }

    private void Fill(ref SimulationRandom random)
    {
        var loop = NewLoop();
        var session = OverlaySession.Open(Files(OverlayAccess.Write), RecordedOrigin(), new OverlayOptions(), loop);
        var chunkBytes = (int)session.Device.Geometry.ChunkBytes;
        var unit = random.OneIn(3) ? 512 : chunkBytes;
        for (var left = random.Next(60); left > 0; left--)
        {
            var start = random.Next(Expected.Length / unit + 1) * (long)unit;
            var length = Math.Min(Expected.Length - start, (long)unit * random.Next(1, random.OneIn(8) ? 500 : 6));
            if (length == 0)
                continue;
            using var request = new TestRequest
            {
                Operation = random.OneIn(4) ? BlockOperation.WriteZeroes : BlockOperation.Write,
                ByteOffset = start,
                ByteLength = length
            };
            if (request.Operation == BlockOperation.Write)
            {
                request.Content.Clear();
                for (var at = 0; at < length; at += 512)
                    BinaryPrimitives.WriteInt64LittleEndian(request.Content[at..], ++_stamp);
                request.Content.CopyTo(Expected.AsSpan((int)start));
            }
            else
            {
                Expected.AsSpan((int)start, (int)length).Clear();
            }
            Assert.Equal(0, Run(session.Device, loop, request));
        }
        using var flush = new TestRequest { Operation = BlockOperation.Flush };
        Assert.Equal(0, Run(session.Device, loop, flush));
        if (random.OneIn(3))
            Machine.Cut(SimulationSite.Result);
        try
        {
            session.Close();
        }
        catch (LincowException) when (Machine.IsOff)
        {
            Machine.Boot();
        }
    }

    private static int Run(CowDevice device, IoLoop loop, TestRequest request)
    {
        request.SubmitTo(device);
        while (request.Result is null)
            loop.RunOnce();
        return request.Result.Value;
    }

    private SimulatedLoop NewLoop()
    {
        Machine.Loop?.Dispose();
        Machine.Loop = new SimulatedLoop(Machine);
        return Machine.Loop;
    }

    private LinearFiles Files(OverlayAccess access)
    {
        var file = new SimulatedFile(Machine, _overlay);
        return LinearFiles.Take("/overlay", file, file, LinearFiles.ReadSuperblock(file), access);
    }

    // As any open, it accepts the origin only if it is as recorded.
    private OriginFile RecordedOrigin()
    {
        var file = new SimulatedFile(Machine, Origin);
        var identity = OriginIdentity.Of(file);
        Assert.Null(identity.DifferenceFrom(Files(OverlayAccess.Read).Superblock.Origin));
        return new OriginFile("/origin", identity, file);
    }

    private OverlayReader Read()
    {
        var loop = NewLoop();
        var options = new OverlayOptions { ReadOnly = true };
        return new OverlayReader(OverlaySession.Open(Files(OverlayAccess.Read), RecordedOrigin(), options, loop), loop);
    }
}
