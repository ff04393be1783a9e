using Lincow.Blobs;
using Lincow.Operations;
using Lincow.Serving.Hosting;

namespace Lincow.Tests.Serving.Hosting;

/// <summary>An origin whose reads wait as long as a test wants them to: a request that is in flight for certain.</summary>
internal sealed class GatedOrigin : UserOrigin
{
    public static readonly byte[] Content = [.. Enumerable.Repeat((byte)0x5a, 4096)];

    private readonly ManualResetEventSlim _gate = new(initialState: true);
    private readonly TaskCompletionSource _entered = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public override string Name => "gated";

    public override long SizeBytes => 1 << 20;

    /// <summary>A read waits.</summary>
    public Task Entered => _entered.Task;

    public bool IsDisposed { get; private set; }

    /// <summary>Reads wait from here on, until <see cref="Open"/>.</summary>
    public void Shut() => _gate.Reset();

    public void Open() => _gate.Set();

    public ExportOptions Export => new() { Overlay = new OverlayOptions { UserOrigin = this }, Name = "gated" };

    public override void Read(long byteOffset, Span<byte> target)
    {
        if (!_gate.IsSet)
            _entered.TrySetResult();
        _gate.Wait();
        target.Fill(Content[0]);
    }

    protected override void Dispose(bool disposing)
    {
        IsDisposed = true;
        _gate.Set();
    }
}
