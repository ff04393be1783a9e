using System.Buffers.Binary;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;
using Lincow.Stores;
using Lincow.Stores.DmSnapshot;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Engine.Operations;

/// <summary>A store of the kernel's that is committed.</summary>
internal sealed class SnapshotCommitLife : CommitLife
{
    private SnapshotLayout _layout;
    private SimulatedDisk _store = null!;
    private int _chunks, _batchEntries;

    public static SnapshotCommitLife Make(SimulatedMachine machine, ref SimulationRandom random)
    {
        var layout = new SnapshotLayout(9 + random.Next(4));
        // Several areas, so that a batch has more than one and a list more than one batch.
        var chunks = random.Next(1, random.OneIn(4) ? 4000 : 300);
        var deviceBytes = Math.Max((long)chunks * layout.ChunkBytes - (random.OneIn(3) ? 512 * random.Next(layout.ChunkBytes / 512) : 0),
            512);
        var (store, origin) = (new SimulatedDisk("store", FileKind.BlockDevice, 512),
            new SimulatedDisk("origin", FileKind.BlockDevice, 512));
        store.Blank(layout.StoreBytesFor(chunks));
        origin.Blank(deviceBytes);
        machine.Disks.AddRange([store, origin]);
        var life = new SnapshotCommitLife
        {
            Machine = machine,
            Origin = origin,
            _layout = layout,
            _store = store,
            _chunks = chunks,
            _batchEntries = random.OneIn(2) ? random.Next(1, 100) : 2048,
            Expected = new byte[deviceBytes]
        };
        Fill(origin, store, layout, chunks, life.Expected, ref random);
        return life;
    }

    public override void Commit()
    {
        using var merge = new SnapshotMerge(SnapshotFile.Take(new SimulatedFile(Machine, _store), OverlayAccess.Write, rescue: false),
            "/origin", new OriginIdentity(OriginKind.BlockDevice, Origin.Length, 0, 0, 0), Expected.Length, _batchEntries);
        OverlayCommit.Run(merge, new SimulatedFile(Machine, Origin));
    }

    public override byte[] Show()
    {
        var device = new byte[Expected.Length];
        Origin.Read(0, device);
        var store = new SimulatedFile(Machine, _store);
        Scan(store, (_, entry, _) =>
        {
            var start = (int)entry.OldChunk << _layout.ChunkShift;
            store.Read(device.AsSpan(start, Math.Min(_layout.ChunkBytes, device.Length - start)),
                (long)entry.NewChunk << _layout.ChunkShift);
        });
        return device;
    }

    public override bool IsUnfinished => Store().Header.IsCommitUnfinished;

    public override void Reset(bool force) => OverlayReset.Reset(Store(), new PosixLoop(), force);

    private SnapshotFile Store() => SnapshotFile.Take(new SimulatedFile(Machine, _store), OverlayAccess.Write, rescue: false);

    public override void AssertEmpty() => Assert.Equal(0, Scan(new SimulatedFile(Machine, _store), (_, _, _) => { }).EntryCount);

    private SnapshotScan Scan(SimulatedFile store, Action<long, ExceptionEntry, bool> visit)
    {
        var scan = SnapshotScan.Run(store, _layout, store.ReadFacts().SizeBytes, _chunks, visit);
        Assert.Empty(scan.Findings);
        return scan;
    }

    private static void Fill(SimulatedDisk origin, SimulatedDisk store, SnapshotLayout layout, int chunks, byte[] expected,
        ref SimulationRandom random)
    {
        var header = new byte[SnapshotHeader.SizeBytes];
        new SnapshotHeader(IsValid: true, layout.ChunkShift).Encode(header);
        store.Write(0, header);
        for (var at = 0; at < expected.Length; at += 512)
            BinaryPrimitives.WriteInt64LittleEndian(expected.AsSpan(at), 0x1000000L + at);
        origin.Write(0, expected);
        var order = Enumerable.Range(0, chunks).ToArray();
        // Runs that lie together, and others.
        for (var i = 0; i < chunks; i++)
        {
            if (random.OneIn(3))
            {
                var j = random.Next(chunks);
                (order[i], order[j]) = (order[j], order[i]);
            }
        }
        var content = new byte[layout.ChunkBytes];
        var entry = new byte[ExceptionEntry.SizeBytes];
        var count = random.Next(chunks + 1);
        long place = 0;
        for (var number = 0; number < count; number++, place++)
        {
            // A place that was lost in an earlier crash.
            if (place < number + 200 && random.OneIn(30))
                place++;
            for (var at = 0; at < content.Length; at += 512)
                BinaryPrimitives.WriteInt64LittleEndian(content.AsSpan(at), 0x2000000L + order[number] * 64 + at);
            store.Write(layout.ChunkOfData(place) << layout.ChunkShift, content);
            new ExceptionEntry((ulong)order[number], (ulong)layout.ChunkOfData(place)).Write(entry, 0);
            store.Write(layout.AreaOffset(layout.AreaOf(number)) + layout.IndexInArea(number) * ExceptionEntry.SizeBytes, entry);
            var start = order[number] << layout.ChunkShift;
            content.AsSpan(0, Math.Min(content.Length, expected.Length - start)).CopyTo(expected.AsSpan(start));
        }
        store.Sync(long.MaxValue);
        origin.Sync(long.MaxValue);
    }
}
