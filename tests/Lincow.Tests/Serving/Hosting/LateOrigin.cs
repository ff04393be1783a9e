using Lincow.Blobs;
using Lincow.Operations;
using Lincow.Serving.Hosting;

namespace Lincow.Tests.Serving.Hosting;

/// <summary>An origin of zeroes that answers when a test says so, and until then takes no thread.</summary>
internal sealed class LateOrigin : UserOrigin
{
    private readonly TaskCompletionSource _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public override string Name => "late";

    public override long SizeBytes => 1 << 20;

    /// <summary>It has been asked for something.</summary>
    public Task Asked => _asked.Task;

    public ExportOptions Export => new() { Overlay = new OverlayOptions { UserOrigin = this }, Name = "late" };

    public void Answer() => _answer.TrySetResult();

    public override async ValueTask ReadAsync(long byteOffset, Memory<byte> target, CancellationToken cancellation)
    {
        _asked.TrySetResult();
        await _answer.Task.WaitAsync(cancellation);
        target.Span.Clear();
    }
}
