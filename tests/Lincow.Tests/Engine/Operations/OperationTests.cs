using Lincow.Conversion;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Tests.Engine.Device;

namespace Lincow.Tests.Engine.Operations;

/// <summary>Operations as tasks: what they return, how they say how far they are, and how they end when they are to.</summary>
public sealed class OperationTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("lincow-o").FullName;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public async Task Create_says_what_a_later_look_says(string store)
    {
        var made = await OverlayCreator.CreateAsync(Options(store), Stop);
        var seen = await OverlayDescription.ReadAsync(At("work"), stop: Stop);
        Assert.Equal(seen with { Layers = made.Layers }, made);
        Assert.Equal(seen.Layers, made.Layers);
        Assert.Equal(store, made.Store);
    }

    [Fact]
    public async Task Create_says_what_a_map_apart_is_like()
    {
        var made = await OverlayCreator.CreateAsync(Options("linear") with { Map = At("map") }, Stop);
        var seen = await OverlayDescription.ReadAsync(At("work"), stop: Stop);
        Assert.Equal(seen with { Layers = made.Layers }, made);
        Assert.Equal(("separate", At("map")), (made.Layout, made.MapPath));
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public async Task What_is_opened_written_checked_committed_and_converted_by_tasks_is_as_by_calls(string store)
    {
        await OverlayCreator.CreateAsync(Options(store), Stop);
        await Write(At("work"), 300 << 10);
        var told = new List<OperationProgress>();
        var progress = new OperationProgressTo(told.Add);
        Assert.False((await OverlayCheck.RunAsync(At("work"), progress: progress, stop: Stop)).IsDamaged);
        Assert.NotEmpty(told);
        Assert.All(told, report => Assert.Equal("map pages", report.Stage));
        var options = new OverlayOptions { Overlay = At("work") };
        var ranges = await OverlayMap.ReadAsync(options, Stop).Where(range => range.Depth == 0).ToListAsync(Stop);
        Assert.Equal(4096, ranges.Sum(range => range.Length));
        told.Clear();
        var converter = new OverlayConverter(StoreChangeFormat.All, progress, Stop);
        var to = store == "linear" ? "snapshot" : "linear";
        await converter.RunAsync(new ConvertOptions { Source = At("work"), Destination = At("other"), To = to });
        Assert.Equal(["copying", "reading back"], told.Select(report => report.Stage).Distinct());
        told.Clear();
        var report = await OverlayCommit.RunAsync(new OverlayOptions { Overlay = At("work") }, progress, Stop);
        Assert.Equal(1, report.Chunks);
        Assert.Equal(new OperationProgress("chunks", 1), told[^1]);
        Assert.Equal(0xa5, File.ReadAllBytes(At("origin"))[300 << 10]);
    }

    [Fact]
    public async Task A_reset_gives_the_origin_back_closed_and_open()
    {
        await OverlayCreator.CreateAsync(Options("linear"), Stop);
        await Write(At("work"), 0);
        Assert.True(await OverlayReset.ResetAsync(At("work"), stop: Stop));
        Assert.Equal(0, (await OverlayDescription.ReadAsync(At("work"), stop: Stop)).Chunks.Data);
        await Use(At("work"), (session, _) => session.ResetAsync());
        Assert.Equal(3UL, (await OverlayDescription.ReadAsync(At("work"), stop: Stop)).Generation);
    }

    [Fact]
    public async Task A_snapshot_store_says_why_it_is_not_reset_while_it_is_open()
    {
        await OverlayCreator.CreateAsync(Options("snapshot"), Stop);
        await Use(At("work"), async (session, _) =>
        {
            var error = await Assert.ThrowsAsync<LincowException>(() => session.ResetAsync());
            Assert.Contains("can't be reset while it is served", error.Message, StringComparison.Ordinal);
        });
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("snapshot")]
    public async Task What_is_stopped_is_a_cancelled_task_and_leaves_no_lock(string store)
    {
        await OverlayCreator.CreateAsync(Options(store), Stop);
        await Write(At("work"), 0);
        using var stop = new CancellationTokenSource();
        var stopping = new OperationProgressTo(_ => stop.Cancel());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in OverlayMap.ReadAsync(new OverlayOptions { Overlay = At("work") }, stop.Token))
                stop.Cancel();
        });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => OverlayDescription.ReadAsync(At("work"), stop: stop.Token));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            OverlayCheck.RunAsync(At("work"), repair: true, progress: stopping, stop: stop.Token));
        Assert.Throws<OperationCanceledException>(() =>
            OverlayCheck.Run(At("work"), null, repair: true, progress: stopping, stop: stop.Token));
        await OverlayReset.ResetAsync(At("work"), stop: Stop);
    }

    [Fact]
    public async Task What_is_refused_comes_out_of_the_task_with_its_sentence()
    {
        var error = await Assert.ThrowsAsync<LincowException>(() => OverlayDescription.ReadAsync(At("nothing"), stop: Stop));
        Assert.Contains("there is no such file", error.Message, StringComparison.Ordinal);
        var unknown = Options("linear") with { Store = "shelf" };
        error = await Assert.ThrowsAsync<LincowException>(() => OverlayCreator.CreateAsync(unknown, Stop));
        Assert.Contains("use linear or snapshot", error.Message, StringComparison.Ordinal);
        var mapped = Options("snapshot") with { Map = At("map") };
        error = await Assert.ThrowsAsync<LincowException>(() => OverlayCreator.CreateAsync(mapped, Stop));
        Assert.Contains("has no map of its own", error.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(At("work")));
    }

    private string At(string name) => Path.Combine(_directory, name);

    private CreateOptions Options(string store)
    {
        using (var origin = File.Create(At("origin")))
            origin.SetLength(1 << 20);
        return new CreateOptions { Overlay = At("work"), Origin = At("origin"), Store = store };
    }

    private static Task Write(string overlay, long byteOffset) => Use(overlay, async (session, loop) =>
    {
        using var request = new TestRequest { Operation = BlockOperation.Write, ByteOffset = byteOffset, ByteLength = 4096 };
        request.Content.Fill(0xa5);
        await loop.StartUntilEnded(ended =>
        {
            request.Completed = _ => ended();
            request.SubmitTo(session.Device);
        });
        Assert.Equal(0, request.Result);
    });

    private static async Task Use(string overlay, Func<OverlaySession, IoLoop, Task> use)
    {
        var thread = LoopThread.Start("session");
        try
        {
            var session = await (await OverlaySession.PrepareAsync(new OverlayOptions { Overlay = overlay }, Stop)).BeginAsync(thread.Loop);
            await use(session, thread.Loop);
            await session.CloseAsync();
        }
        finally
        {
            thread.Stop();
        }
    }
}

/// <summary>Progress that is told at once, on the operation's thread.</summary>
internal sealed class OperationProgressTo(Action<OperationProgress> tell) : IProgress<OperationProgress>
{
    public void Report(OperationProgress value) => tell(value);
}
