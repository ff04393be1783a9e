using Lincow.Layers;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Stores.Linear;
using Lincow.Tests.Engine.Stores.DmSnapshot;

namespace Lincow.Tests.Engine.Device;

/// <summary>
/// The system has no memory for a buffer: that is ENOMEM for the request that needed it, whichever of its buffers it was, and nothing else.
/// </summary>
public class MemoryTests
{
    private const int DeviceBytes = 600 << 10;

    /// <summary>Memory for states is taken for so many pages at once.</summary>
    private const int StateBytes = 16 * MapFormat.WordsPerPage * 8;

    [Theory]
    [InlineData(9)]
    [InlineData(12)]
    [InlineData(16)]
    public void Each_loan_of_a_linear_overlay_may_fail(int shift) =>
        FailEachLoan(() => new TestOverlay(new Random(4), new OverlayShape(DeviceBytes, shift, IsSeparate: true, DeviceBytes)));

    [Theory]
    [InlineData(9)]
    [InlineData(12)]
    [InlineData(16)]
    public void Each_loan_of_a_snapshot_store_may_fail(int shift) =>
        FailEachLoan(() => new TestStore(DeviceBytes, 1 << shift, seed: 4) { Options = new OverlayOptions { AreaCacheBytes = 1 } });

    /// <summary>
    /// A write that covers whole map pages takes no memory for states: it needs none, and asks for none when its data is written.
    /// </summary>
    [Theory]
    [InlineData(9, 0, 32768)]
    [InlineData(9, 15616, 2000)]
    [InlineData(12, 0, 1100)]
    public void Whole_map_pages_need_no_memory(int shift, long firstChunk, long chunkCount)
    {
        using var overlay = new TestOverlay(new Random(4),
            new OverlayShape((firstChunk + chunkCount) << shift, shift, IsSeparate: true, 0));
        overlay.Buffers.Refuses = _ => true;
        var content = new byte[chunkCount << shift];
        content.AsSpan().Fill(7);
        Assert.Equal(0, overlay.Write(firstChunk << shift, content));
        overlay.Buffers.Refuses = null;
        Assert.Equal(content, overlay.Read(firstChunk << shift, content.Length));
    }

    /// <summary>A write or copy-up that a list records in pieces has the memory for each of them before it writes anything.</summary>
    [Theory]
    [InlineData(nameof(BlockOperation.Write))]
    [InlineData(nameof(BlockOperation.CopyUp))]
    public void A_list_of_many_chunks_finds_out_before_it_writes(string name)
    {
        var operation = Enum.Parse<BlockOperation>(name);
        const int chunks = 3 * ChunkMap.ChunksPerPage / 2;
        using var store = new StoreOnSimulatedDisk(chunks * 512, 512);
        var before = store.Read(0, chunks * 512);
        var isRefused = false;
        store.Buffers.Refuses = bytes => (isRefused |= bytes == StateBytes) && bytes == StateBytes;
        using var request = new TestRequest { Operation = operation, ByteLength = chunks * 512 };
        Assert.Equal(-Errno.NoMemory, store.Run(request));
        Assert.Equal((true, 0L, 0), (isRefused, store.Store.ExceptionCount, store.Disk.Writes));
        store.Buffers.Refuses = null;
        Assert.Equal(before, store.Read(0, before.Length));
        Assert.Equal(0, store.Run(request));
        Assert.Equal(chunks, store.Store.ExceptionCount);
    }

    private static void FailEachLoan(Func<TestDevice> make)
    {
        var failedLoans = 0;
        foreach (var together in new[] { 1, 3 })
        {
            for (var first = 0; ; first++)
            {
                using var device = make();
                device.Open();
                var (loans, failures) = (0, 0);
                device.Buffers.Refuses = _ => loans++ is var loan && loan >= first && loan < first + together;
                Play(device, ref failures);
                device.Buffers.Refuses = null;
                if (loans <= first)
                    break;
                failedLoans += failures;
            }
        }
        Assert.True(failedLoans > 20, $"only {failedLoans} requests met a failed loan");
    }

    private static void Play(TestDevice device, ref int failures)
    {
        var model = device.OriginContent.ToArray();
        var random = new Random(11);
        for (var step = 0; step < 24; step++)
        {
            var length = random.Next(1, 50_000);
            var offset = random.Next(model.Length - length);
            var content = new byte[length];
            random.NextBytes(content);
            switch (step % 6)
            {
                case 0 or 1 or 4:
                    Until(() => device.Write(offset, content), ref failures);
                    content.CopyTo(model, offset);
                    break;
                case 2:
                    Until(() => device.Zero(offset, length), ref failures);
                    model.AsSpan(offset, length).Clear();
                    break;
                case 3:
                    Until(() => device.CopyUp(offset, length), ref failures);
                    break;
                default:
                    Until(device.Flush, ref failures);
                    break;
            }
            Until(() => device.TryRead(offset / 2, length), ref failures);
        }
        Until(device.Flush, ref failures);
        device.Buffers.Refuses = null;
        Assert.Equal(model, device.Read(0, model.Length));
        Assert.Equal(0, device.Close());
        device.Open();
        Assert.Equal(model, device.Read(0, model.Length));
        Assert.Equal(0, device.Close());
        Assert.Empty(device.Reports);
    }

    /// <summary>Loans that fail are few: a request that met one goes through soon.</summary>
    private static void Until(Func<int> request, ref int failures)
    {
        for (var attempt = 0; request() is var result && result != 0; attempt++)
        {
            Assert.Equal(-Errno.NoMemory, result);
            Assert.True(attempt < 3, "a request fails for no reason");
            failures++;
        }
    }
}
