using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Stores;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Simulation;

/// <summary>The product's own ways to make, open, reset and check an overlay of one kind, on files of the simulated machine.</summary>
internal abstract class SimulatedOverlay(SimulationShape shape)
{
    public static SimulatedOverlay For(SimulationShape shape) =>
        shape.Store == "snapshot" ? new SimulatedSnapshot(shape) : new SimulatedLinear(shape);

    protected SimulationShape Shape { get; } = shape;

    /// <summary>Where the data begins, for the disk's own idea of what metadata is; 0 for no idea.</summary>
    public abstract long MapEnd { get; }

    /// <summary>The same, of a snapshot store.</summary>
    public virtual SnapshotLayout? Areas => null;

    public abstract long MapDiskBytes { get; }

    public abstract long DataDiskBytes { get; }

    /// <summary>A new overlay can be told from the one that it replaced.</summary>
    public abstract bool HasName { get; }

    /// <summary>A create that replaces an overlay and is cut off leaves the old one or the new one; else it may leave nothing.</summary>
    public abstract bool ReplacesAtOnce { get; }

    /// <summary>A create begins: from now on, what was there before is another overlay.</summary>
    public virtual void BeginCreate()
    {
    }

    public abstract void Lay(LinuxFile map, LinuxFile data, OriginFile origin);

    /// <summary>Null when what is there is the overlay that a create was to replace.</summary>
    public abstract OverlaySession? Open(LinuxFile map, LinuxFile data, OriginFile origin, IoLoop loop, int choice, bool mayBeOld);

    /// <summary>Calls back at the point from which on the reset may have happened.</summary>
    public abstract void Reset(LinuxFile map, LinuxFile data, IoLoop loop, Action begun);

    public abstract CheckReport Check(LinuxFile map, LinuxFile data, bool repair);

    private sealed class SimulatedLinear(SimulationShape shape) : SimulatedOverlay(shape)
    {
        private int _created;

        public override long MapEnd => Superblock.MapOffsetBytes + Any().MapBytes;

        public override long MapDiskBytes => Any().MapFileBytes;

        public override long DataDiskBytes => Any().DataFileBytes;

        public override bool HasName => true;

        public override bool ReplacesAtOnce => false;

        public override void BeginCreate() => _created++;

        public override void Lay(LinuxFile map, LinuxFile data, OriginFile origin) =>
            LinearPlan.Lay(Any() with { Origin = origin.Identity }, map, data, preallocate: false);

        public override OverlaySession? Open(LinuxFile map, LinuxFile data, OriginFile origin, IoLoop loop, int choice, bool mayBeOld)
        {
            var files = Take(map, data, OverlayAccess.Write);
            return mayBeOld && files.Superblock.Uuid != Any().Uuid ? null : OverlaySession.Open(files, origin, new OverlayOptions(), loop);
        }

        public override void Reset(LinuxFile map, LinuxFile data, IoLoop loop, Action begun)
        {
            var files = Take(map, data, OverlayAccess.Write);
            begun();
            OverlayReset.Reset(files, loop);
        }

        public override CheckReport Check(LinuxFile map, LinuxFile data, bool repair) =>
            Take(map, data, repair ? OverlayAccess.Write : OverlayAccess.Read).Check(null, repair, progress: null);

        private static LinearFiles Take(LinuxFile map, LinuxFile data, OverlayAccess access) =>
            LinearFiles.Take("/map", map, data, LinearFiles.ReadSuperblock(map), access);

        private Superblock Any() => new()
        {
            Uuid = new Guid(_created, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
            Generation = 1,
            DeviceBytes = Shape.DeviceBytes,
            MaxDeviceBytes = Shape.DeviceBytes,
            ChunkShift = Shape.ChunkShift,
            Layout = Shape.IsSeparate ? LinearLayout.Separate : LinearLayout.Front,
            DataOffset = Shape.IsSeparate ? 0 : Superblock.ShiftFor(Shape.DeviceBytes, Shape.ChunkShift),
            Origin = default,
            OriginUri = "/origin",
            DataPath = Shape.IsSeparate ? "/data" : "",
        };
    }

    private sealed class SimulatedSnapshot(SimulationShape shape) : SimulatedOverlay(shape)
    {
        private readonly Geometry _geometry = new(shape.DeviceBytes, shape.ChunkShift);

        public override long MapEnd => 0;

        public override SnapshotLayout? Areas => new SnapshotLayout(_geometry.ChunkShift);

        public override long MapDiskBytes => new SnapshotLayout(_geometry.ChunkShift).StoreBytesFor(_geometry.ChunkCount);

        public override long DataDiskBytes => MapDiskBytes;

        public override bool HasName => false;

        public override bool ReplacesAtOnce => Shape.IsBlockDevice;

        public override void Lay(LinuxFile map, LinuxFile data, OriginFile origin) =>
            SnapshotPlan.Lay(map, null, _geometry, origin, preallocate: false);

        public override OverlaySession? Open(LinuxFile map, LinuxFile data, OriginFile origin, IoLoop loop, int choice, bool mayBeOld) =>
            OverlaySession.Open(SnapshotFile.Take(map, OverlayAccess.Write, rescue: false), origin,
                new OverlayOptions { SizeBytes = Shape.DeviceBytes, AreaCacheBytes = choice % 2 == 0 ? 1 : 1 << 20 }, loop);

        public override void Reset(LinuxFile map, LinuxFile data, IoLoop loop, Action begun)
        {
            var store = SnapshotFile.Take(map, OverlayAccess.Write, rescue: false);
            begun();
            OverlayReset.Reset(store, loop);
        }

        public override CheckReport Check(LinuxFile map, LinuxFile data, bool repair) =>
            SnapshotFile.Take(map, repair ? OverlayAccess.Write : OverlayAccess.Read, rescue: false)
                .Check(Shape.DeviceBytes, repair, progress: null);
    }
}
