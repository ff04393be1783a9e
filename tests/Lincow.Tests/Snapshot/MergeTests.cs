using System.Buffers.Binary;
using Lincow.Linux;
using Lincow.Overlays;
using Lincow.Snapshot;
using Lincow.Tests.Simulation;

namespace Lincow.Tests.Snapshot;

public class MergeTests
{
    private const int Seeds = 150;

    [Fact]
    public void However_often_a_commit_is_cut_off_the_device_reads_the_same_and_in_the_end_the_origin_does()
    {
        var single = Environment.GetEnvironmentVariable("LINCOW_SEED");
        var (first, end) = single is null ? (1UL, Seeds + 1UL) : (ulong.Parse(single), ulong.Parse(single) + 1);
        long cuts = 0;
        for (var seed = first; seed < end; seed++)
        {
            try
            {
                cuts += Play(seed);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed} (replay with LINCOW_SEED={seed}): {e.Message}", e);
            }
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{cuts} cuts");
        Assert.True(single is not null || cuts > Seeds, $"only {cuts} cuts");
    }

    private static int Play(ulong seed)
    {
        var random = new SimulationRandom(seed, 1);
        var machine = new SimulatedMachine(new SimulationCoverage()) { Random = new SimulationRandom(seed, 2) };
        var layout = new SnapshotLayout(9 + random.Next(4));
        // Several areas, so that a batch has more than one and a list more than one batch.
        var chunks = random.Next(1, random.OneIn(4) ? 4000 : 300);
        var deviceBytes = Math.Max((long)chunks * layout.ChunkBytes - (random.OneIn(3) ? 512 * random.Next(layout.ChunkBytes / 512) : 0), 512);
        var (storeDisk, originDisk) = (new SimulatedDisk("store", FileKind.BlockDevice, 512), new SimulatedDisk("origin", FileKind.BlockDevice, 512));
        storeDisk.Blank(layout.StoreBytesFor(chunks));
        originDisk.Blank(deviceBytes);
        machine.Disks.AddRange([storeDisk, originDisk]);
        var expected = new byte[deviceBytes];
        Fill(originDisk, storeDisk, layout, chunks, expected, ref random);
        var cuts = 0;
        while (true)
        {
            machine.Boot();
            machine.Arm(random.OneIn(5) ? 0 : random.Next(1, 40));
            var (store, origin) = (new SimulatedFile(machine, storeDisk), new SimulatedFile(machine, originDisk));
            try
            {
                SnapshotMerge.Run(SnapshotFile.Take(store, OverlayAccess.Write, rescue: false), origin, deviceBytes);
                machine.Arm(0);
                break;
            }
            catch (Exception e) when (machine.IsOff && e is LinuxException or LincowException)
            {
                cuts++;
                machine.Boot();
                Assert.True(Show(new SimulatedFile(machine, storeDisk), originDisk, layout, chunks, expected.Length).AsSpan().SequenceEqual(expected), $"after {cuts} cuts the device shows something else");
            }
        }
        // The power goes once more: what the commit said is done stays done.
        machine.Cut(SimulationSite.Result);
        machine.Boot();
        var content = new byte[deviceBytes];
        originDisk.Read(0, content);
        Assert.True(content.AsSpan().SequenceEqual(expected), "the origin is not what the device was");
        Assert.Equal(0, Scan(new SimulatedFile(machine, storeDisk), layout, chunks, (_, _, _) => { }).EntryCount);
        return cuts;
    }

    private static void Fill(SimulatedDisk origin, SimulatedDisk store, SnapshotLayout layout, int chunks, byte[] expected, ref SimulationRandom random)
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

    private static SnapshotScan Scan(SimulatedFile store, SnapshotLayout layout, int chunks, Action<long, ExceptionEntry, bool> visit)
    {
        var scan = SnapshotScan.Run(store, layout, store.ReadFacts().SizeBytes, chunks, visit);
        Assert.Empty(scan.Findings);
        return scan;
    }

    private static byte[] Show(SimulatedFile store, SimulatedDisk origin, SnapshotLayout layout, int chunks, int deviceBytes)
    {
        var device = new byte[deviceBytes];
        origin.Read(0, device);
        Scan(store, layout, chunks, (_, entry, _) =>
        {
            var start = (int)entry.OldChunk << layout.ChunkShift;
            store.Read(device.AsSpan(start, Math.Min(layout.ChunkBytes, deviceBytes - start)), (long)entry.NewChunk << layout.ChunkShift);
        });
        return device;
    }
}
