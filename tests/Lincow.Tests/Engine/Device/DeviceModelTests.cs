using CsCheck;
using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Tests.Engine.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Device;

/// <summary>Random operations of any alignment against a plain byte array, with reopening in between.</summary>
public class DeviceModelTests
{
    private enum Kind
    {
        Read,
        Write,
        Zero,
        Discard,
        ZeroNoHole,
        CopyUp,
        Flush,
        Reopen,
        Reset,
        Restart,
    }

    private sealed record Step(Kind Kind, double At, int Length, byte Fill);

    private static readonly Gen<Step> Steps = Gen.Select(
        Gen.Frequency((6, Gen.Const(Kind.Read)), (8, Gen.Const(Kind.Write)), (3, Gen.Const(Kind.Zero)), (2, Gen.Const(Kind.Discard)),
            (1, Gen.Const(Kind.ZeroNoHole)), (1, Gen.Const(Kind.CopyUp)), (1, Gen.Const(Kind.Flush)), (1, Gen.Const(Kind.Reopen)),
                (1, Gen.Frequency((1, Gen.Const(Kind.Reset)), (2, Gen.Const(Kind.Restart)), (3, Gen.Const(Kind.Flush))))),
        Gen.Double[0, 1],
        Gen.OneOf(Gen.Int[1, 600], Gen.Int[1, 9000], Gen.Int[1, 130_000], Of(512, 4096, 8192, 65536)),
        Gen.Byte[1, 255],
        (kind, at, length, fill) => new Step(kind, at, length, fill));

    private static readonly Gen<OverlayShape> Shapes = Gen.Select(
        Gen.Int[1, 700], Of(9, 10, 12, 14, 16, 18), Gen.Bool, Gen.Double[0, 1],
        (sectors, shift, separate, share) =>
            new OverlayShape(sectors * 512L, shift, separate, (long)(sectors * 512L * Math.Min(1, share * 1.3))));

    private static Gen<int> Of(params int[] values) => Gen.Int[0, values.Length - 1].Select(index => values[index]);

    private static readonly Gen<(int Seed, int Shift, long Bytes)> Stores = Gen.Select(
        Gen.Int, Of(9, 9, 10, 12, 13, 16, 18, 20), Gen.Int[1, 700], (seed, shift, units) =>
            (seed, shift, (long)units * 512 << Math.Max(0, shift - 16)));

    [Fact]
    public void Random_operations_read_back_as_from_a_byte_array() =>
        Gen.Select(Gen.Int, Shapes, Steps.Array[1, 40], Gen.Bool).Sample((seed, shape, steps, aligned) =>
        {
            using var overlay = new TestOverlay(new Random(seed), shape);
            Play(overlay, steps, aligned);
        }, iter: 4000);

    [Fact]
    public void Random_operations_on_a_snapshot_store_read_back_as_from_a_byte_array() =>
        Gen.Select(Stores, Steps.Array[1, 40], Gen.Bool).Sample((store, steps, aligned) =>
        {
            using var snapshot = new TestStore(store.Bytes, 1 << store.Shift,
                seed: store.Seed)
            { Options = new OverlayOptions { AreaCacheBytes = store.Seed % 2 == 0 ? 1 : 1 << 20 } };
            Play(snapshot, steps, aligned);
        }, iter: 600);

    private static void Play(TestDevice device, Step[] steps, bool aligned)
    {
        var model = device.OriginContent.ToArray();
        foreach (var step in steps)
        {
            var unit = aligned ? 512 : 1;
            var offset = (long)(step.At * (model.Length - 1)) / unit * unit;
            var length = (int)Math.Min(Math.Max(step.Length / unit * unit, unit), model.Length - offset);
            Apply(device, model, step, offset, length);
        }
        Assert.Equal(model, device.Read(0, model.Length));
        Assert.Equal(0, device.Close());
        device.Open();
        Assert.Equal(model, device.Read(0, model.Length));
        Assert.Empty(device.Reports);
    }

    private static void Apply(TestDevice overlay, byte[] model, Step step, long offset, int length)
    {
        var range = model.AsSpan((int)offset, length);
        switch (step.Kind)
        {
            case Kind.Read:
                Assert.Equal(range.ToArray(), overlay.Read(offset, length));
                break;
            case Kind.Write:
                var content = new byte[length];
                for (var i = 0; i < length; i++)
                    content[i] = (byte)(step.Fill + i * 7);
                content.CopyTo(range);
                Assert.Equal(0, overlay.Write(offset, content, step.Fill > 200 ? BlockFlags.ForceUnitAccess : BlockFlags.None));
                break;
            case Kind.Flush:
                Assert.Equal(0, overlay.Flush());
                break;
            case Kind.Reopen:
                Assert.Equal(0, overlay.Close());
                overlay.Open();
                break;
            case Kind.Reset:
                overlay.Reset();
                overlay.OriginContent.CopyTo(model, 0);
                break;
            case Kind.Restart when overlay is TestOverlay linear:
                linear.Store.Restart();
                overlay.OriginContent.CopyTo(model, 0);
                if (step.Fill > 128)
                    break;
                // On stable storage already.
                linear.CutPower();
                linear.Open();
                break;
            case Kind.Restart:
                break;
            case Kind.CopyUp:
                Assert.Equal(0, overlay.CopyUp(offset, length));
                var (map, geometry) = (overlay.Device.Stack.Top.Map, overlay.Device.Geometry);
                for (var chunk = geometry.ChunkAt(offset); chunk < geometry.ChunkFrom(offset + length); chunk += 1)
                    Assert.NotEqual(ChunkState.Origin, map.StateOf(chunk));
                break;
            case Kind.Discard when !overlay.Device.CanDiscard:
                Assert.Equal(-Errno.NotSupported, overlay.Zero(offset, length, BlockOperation.Discard));
                break;
            case Kind.Discard:
                Assert.Equal(0, overlay.Zero(offset, length, BlockOperation.Discard));
                NoteDiscard(overlay, model, offset, length);
                break;
            default:
                range.Clear();
                Assert.Equal(0, overlay.Zero(offset, length, BlockOperation.WriteZeroes, step.Kind == Kind.ZeroNoHole ? BlockFlags.NoHole
                    : BlockFlags.None));
                break;
        }
    }

    // Whole chunks are zeroes. A part of a chunk is zeroes, or what it was, as a whole.
    private static void NoteDiscard(TestDevice overlay, byte[] model, long offset, int length)
    {
        var (chunkBytes, end) = (overlay.Device.Geometry.ChunkBytes, offset + length);
        for (var at = offset; at < end;)
        {
            var next = Math.Min((at / chunkBytes + 1) * chunkBytes, end);
            var part = model.AsSpan((int)at, (int)(next - at));
            var isWhole = at % chunkBytes == 0 && (next % chunkBytes == 0 || next == model.Length);
            if (isWhole || !overlay.Read(at, part.Length).AsSpan().SequenceEqual(part))
                part.Clear();
            at = next;
        }
    }

    [Fact]
    public void A_whole_chunk_write_reads_nothing_and_writes_once()
    {
        using var overlay = new TestOverlay(new Random(1), new OverlayShape(1 << 20, 12, true, 1 << 20));
        overlay.Read(0, 1);
        var reads = 0;
        overlay.DataDisk.Fault = (call, _) => call == FileCall.Read ? ++reads * 0 : 0;
        var writes = overlay.DataDisk.Writes;
        Assert.Equal(0, overlay.Write(8192, new byte[16384]));
        Assert.Equal((0, 1), (reads, overlay.DataDisk.Writes - writes));
    }

    [Fact]
    public void A_flush_without_changed_map_pages_costs_one_sync()
    {
        using var overlay = new TestOverlay(new Random(1), new OverlayShape(1 << 20, 12, false, 1 << 20));
        overlay.Write(0, new byte[4096]);
        overlay.Flush();
        var (writes, flushes) = (overlay.MapDisk.Writes, overlay.MapDisk.Flushes);
        overlay.Write(0, new byte[4096]);
        Assert.Equal(0, overlay.Flush());
        // The data's own write, and no map page.
        Assert.Equal((1, 1), (overlay.MapDisk.Writes - writes, overlay.MapDisk.Flushes - flushes));
    }

    [Fact]
    public void Concurrent_flushes_share_a_round()
    {
        using var overlay = new TestOverlay(new Random(1), new OverlayShape(1 << 20, 12, false, 1 << 20));
        overlay.Write(0, new byte[4096]);
        var before = overlay.MapDisk.Flushes;
        var requests = Enumerable.Range(0, 16).Select(_ => new TestRequest { Operation = BlockOperation.Flush }).ToList();
        requests.ForEach(request => request.SubmitTo(overlay.Device));
        // None goes ahead alone while others arrive.
        Assert.Equal(before, overlay.MapDisk.Flushes);
        while (overlay.World.PendingCount > 0)
            overlay.World.Turn();
        Assert.All(requests, request => Assert.Equal(0, request.Result));
        // All of them share one: data, map.
        Assert.Equal(2, overlay.MapDisk.Flushes - before);
    }

    [Fact]
    public void Requests_for_more_map_pages_than_are_read_at_once_all_complete()
    {
        const int pages = 70;
        using var overlay = new TestOverlay(new Random(1), new OverlayShape(pages * 15616L * 512, 9, true, 0));
        var random = new Random(2);
        var requests = Enumerable.Range(0, 600).Select(_ => new TestRequest
        {
            Operation = BlockOperation.Read,
            ByteOffset = random.NextInt64(pages * 15616L) * 512,
            ByteLength = 512,
        }).ToList();
        requests.ForEach(request => request.ByteLength = Math.Min(512, overlay.Device.SizeBytes - request.ByteOffset));
        requests.ForEach(request => request.SubmitTo(overlay.Device));
        while (overlay.World.PendingCount > 0)
            overlay.World.Turn();
        Assert.All(requests, request => Assert.Equal(0, request.Result));
    }
}
