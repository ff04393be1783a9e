using System.Threading.Channels;

namespace Lincow.Tests.Engine;

/// <summary>An origin whose reads, once it is closed, each wait until the test lets them go.</summary>
internal sealed class GateOrigin(long sizeBytes) : UserOrigin
{
    public const byte Filling = 0xA5;

    private readonly Channel<TaskCompletionSource> _reads = Channel.CreateUnbounded<TaskCompletionSource>();
    private volatile bool _isOpen = true;

    public override string Name => "gate";

    public override long SizeBytes => sizeBytes;

    /// <summary>The next read that has come.</summary>
    public ValueTask<TaskCompletionSource> NextAsync() => _reads.Reader.ReadAsync(TestContext.Current.CancellationToken);

    /// <summary>From here on reads wait: an opening, which looks at samples, is over.</summary>
    public void Close() => _isOpen = false;

    /// <summary>Lets all reads go, those that wait and those that come.</summary>
    public void Open()
    {
        _isOpen = true;
        while (_reads.Reader.TryRead(out var read))
            read.TrySetResult();
    }

    public override async ValueTask ReadAsync(long byteOffset, Memory<byte> target, CancellationToken cancellation)
    {
        if (!_isOpen)
        {
            var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _reads.Writer.TryWrite(gate);
            // It may have been opened since.
            if (_isOpen)
                gate.TrySetResult();
            await gate.Task.WaitAsync(cancellation);
        }
        target.Span.Fill(Filling);
    }
}
