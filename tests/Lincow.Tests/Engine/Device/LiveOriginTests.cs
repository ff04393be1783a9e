using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Lincow.Blobs;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores;
using Lincow.Stores.DmSnapshot;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Device;

public class LiveOriginTests
{
    private const int Seeds = 300;

    [Fact]
    public void Whatever_is_written_to_a_live_origin_and_whenever_the_power_goes_its_snapshot_shows_it_as_it_was()
    {
        var single = Environment.GetEnvironmentVariable("LINCOW_SEED");
        var (first, end) = single is null ? (1UL, Seeds + 1UL) : (ulong.Parse(single), ulong.Parse(single) + 1);
        var (cuts, kept) = (0, 0L);
        for (var seed = first; seed < end; seed++)
        {
            try
            {
                using var life = new Life(seed);
                cuts += life.Play();
                kept += life.Kept;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed} (replay with LINCOW_SEED={seed}): {e.Message}", e);
            }
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{cuts} cuts, {kept} chunks kept");
        Assert.True(single is not null || (cuts > Seeds && kept > Seeds * 5), $"only {cuts} cuts and {kept} chunks");
    }

    [Fact]
    public void A_store_is_not_opened_over_a_live_origin_that_it_was_not_made_on()
    {
        using var directory = new TestDirectory();
        File.WriteAllBytes(directory["origin"], [.. Enumerable.Repeat((byte)1, 1 << 20)]);
        File.WriteAllBytes(directory["same-size"], [.. Enumerable.Repeat((byte)2, 1 << 20)]);
        File.WriteAllBytes(directory["smaller"], [.. Enumerable.Repeat((byte)1, 1 << 19)]);
        OverlayCreator.Create(new CreateOptions { Overlay = directory["store"], Origin = directory["origin"], Store = "snapshot" });
        var options = new OverlayOptions { Overlay = directory["store"], OriginIsLive = true };
        foreach (var other in (string[])["same-size", "smaller"])
        {
            Assert.Contains("is not the origin",
                Assert.Throws<LincowException>(() => OverlaySession.Prepare(options with { Origin = directory[other] })).Message);
            OverlaySession.Prepare(options with { Origin = directory[other], AcceptOrigin = true }).Dispose();
        }
        OverlaySession.Prepare(options with { Origin = directory["origin"] }).Dispose();
    }

    private sealed class TestDirectory : IDisposable
    {
        private readonly string _path = Directory.CreateTempSubdirectory("lincow-l").FullName;

        public string this[string name] => Path.Combine(_path, name);

        public void Dispose() => Directory.Delete(_path, recursive: true);
    }

    /// <summary>A live origin and a snapshot of it, through several sessions.</summary>
    private sealed class Life : IDisposable
    {
        private readonly SimulatedMachine _machine;
        private readonly SimulatedDisk _storeDisk, _originDisk;
        private readonly SnapshotLayout _layout;
        private readonly Geometry _geometry;
        private readonly byte[] _frozen;
        private readonly OriginIdentity _identity;
        private SimulationRandom _random;
        private long _stamp = 0x5000000;

        public Life(ulong seed)
        {
            _random = new SimulationRandom(seed, 1);
            _machine = new SimulatedMachine(new SimulationCoverage())
            {
                Random = new SimulationRandom(seed, 2),
                NuisanceOneIn = _random.OneIn(3) ? 10 : 0
            };
            _machine.Loop = new SimulatedLoop(_machine);
            _layout = new SnapshotLayout(9 + _random.Next(4));
            _geometry = new Geometry(512 * _random.Next(8, 700), _layout.ChunkShift);
            _identity = new OriginIdentity(OriginKind.BlockDevice, _geometry.DeviceBytes, 0, 0, 0);
            (_storeDisk, _originDisk) = (new SimulatedDisk("store", FileKind.BlockDevice, 512),
                new SimulatedDisk("origin", FileKind.BlockDevice, 512));
            _storeDisk.Blank(_layout.StoreBytesFor(_geometry.ChunkCount));
            _originDisk.Blank(_geometry.DeviceBytes);
            _machine.Disks.AddRange([_storeDisk, _originDisk]);
            _frozen = new byte[_geometry.DeviceBytes];
            for (var at = 0; at < _frozen.Length; at += 512)
                BinaryPrimitives.WriteInt64LittleEndian(_frozen.AsSpan(at), 0x1000000L + at);
            _originDisk.Write(0, _frozen);
            SnapshotPlan.Lay(new SimulatedFile(_machine, _storeDisk), null, _geometry, new OriginFile("/origin", _identity, null),
                preallocate: false);
            _storeDisk.Sync(long.MaxValue);
            _originDisk.Sync(long.MaxValue);
        }

        public long Kept { get; private set; }

        public int Play()
        {
            var cuts = 0;
            for (var session = _random.Next(1, 5); session > 0; session--)
            {
                if (!Serve())
                    cuts++;
                Assert.True(Show().AsSpan().SequenceEqual(_frozen), $"after {cuts} cuts the snapshot shows something else");
            }
            return cuts;
        }

        public void Dispose() => _machine.Loop!.Dispose();

        // False when the power went.
        private bool Serve()
        {
            var loop = _machine.Loop!;
            _machine.Files.Clear();
            var origin = new SimulatedFile(_machine, _originDisk);
            var session = OverlaySession.Open(SnapshotFile.Take(new SimulatedFile(_machine, _storeDisk), OverlayAccess.Write,
                rescue: false),
                new OriginFile("/origin", _identity, new SimulatedFile(_machine, _originDisk)),
                    new OverlayOptions { OriginIsLive = true, AreaCacheBytes = 1 }, loop);
            var device = new OriginDevice(_geometry, new FileBlob(origin, loop),
                [session.Device])
            { ZeroWindowBytes = 512 * _random.Next(1, 12) };
            _machine.Arm(_random.OneIn(3) ? 0 : _random.Next(1, 150));
            var writes = new List<Write>();
            for (var left = _random.Next(1, 40); left > 0 && !_machine.IsOff; left--)
            {
                var write = new Write();
                writes.Add(write);
                write.Start(device, _geometry, ref _random, ++_stamp);
                for (var turns = _random.Next(6); turns > 0 && !_machine.IsOff && loop.PendingCount > 0; turns--)
                    loop.RunOnce();
            }
            while (!device.IsIdle || !session.Device.IsIdle)
                loop.RunOnce();
            var wasCut = _machine.IsOff;
            if (!wasCut)
                Assert.All(writes, write => Assert.Equal(0, write.Result));
            writes.ForEach(write => write.Free());
            try
            {
                session.Close();
            }
            catch (LincowException) when (_machine.IsOff)
            {
                wasCut = true;
            }
            Assert.Equal(0, loop.Buffers.RentedBytes);
            _machine.Arm(0);
            if (!_machine.IsOff)
                _machine.Cut(SimulationSite.Result);
            _machine.Boot();
            return !wasCut;
        }

        private byte[] Show()
        {
            var store = new SimulatedFile(_machine, _storeDisk);
            var device = new byte[_frozen.Length];
            _originDisk.Read(0, device);
            var scan = SnapshotScan.Run(store, _layout, _storeDisk.Length, _geometry.ChunkCount, (_, entry, _) =>
            {
                var start = (int)entry.OldChunk << _layout.ChunkShift;
                store.Read(device.AsSpan(start, Math.Min(_layout.ChunkBytes, device.Length - start)),
                    (long)entry.NewChunk << _layout.ChunkShift);
            });
            Assert.Empty(scan.Findings);
            Kept = scan.EntryCount;
            return device;
        }
    }

    private sealed unsafe class Write : BlockRequest
    {
        private nint _memory;

        public int? Result { get; private set; }

        public void Start(BlockDevice device, Geometry geometry, ref SimulationRandom random, long stamp)
        {
            Operation = random.OneIn(8) ? BlockOperation.Flush : random.OneIn(6) ? BlockOperation.WriteZeroes : BlockOperation.Write;
            Flags = random.OneIn(4) ? BlockFlags.ForceUnitAccess : BlockFlags.None;
            ByteOffset = Operation == BlockOperation.Flush ? 0 : 512L * random.Next((int)(geometry.DeviceBytes / 512));
            ByteLength = Operation == BlockOperation.Flush ? 0 : Math.Min(512L * random.Next(1, 20), geometry.DeviceBytes - ByteOffset);
            Buffer = _memory = (nint)NativeMemory.AllocZeroed((nuint)Math.Max(ByteLength, 1));
            for (var at = 0; at < ByteLength; at += 512)
                *(long*)(_memory + at) = stamp;
            device.Submit(this);
        }

        public void Free() => NativeMemory.Free((void*)_memory);

        protected internal override void OnCompleted(int result) => Result = result;
    }
}
