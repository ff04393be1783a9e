using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Threading.Tasks.Sources;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow;

/// <summary>
/// One call of a program's on an open overlay, from any thread: a request to the device, or several one after the other where its range is
/// long. The program's memory is touched on the loop's thread, and only while the call holds it:
///
///     waiting --> held (bytes are copied) --> waiting (the device has it) --> held --> ... --> held, ended
///        |
///        +--> left: cancelled. The caller has heard so and may use its memory; what the device does ends by itself.
///
/// Invariants: the call has one piece in the device at a time, or waits for a buffer, or ends; whoever takes it out of "waiting" has it to
/// himself; a call that was left is never used again.
/// </summary>
internal sealed unsafe class OverlayCall : BlockRequest, IValueTaskSource, IValueTaskSource<int>
{
    private const int Waiting = 0, Held = 1, Left = 2;

    private readonly OverlayCalls _calls;
    private readonly Action _begin;
    private ManualResetValueTaskSourceCore<int> _source = new() { RunContinuationsAsynchronously = true };
    private CancellationToken _cancellation;
    private CancellationTokenRegistration _registration;
    private Memory<byte> _memory;
    private NativeBuffer _buffer;
    private long _start, _cursor, _end;
    private int _state;

    public OverlayCall(OverlayCalls calls)
    {
        _calls = calls;
        _begin = () => Go();
    }

    /// <summary>Bytes of the device that one request takes: a multiple of a chunk, so that none is cut in two.</summary>
    private long PieceBytes => HasMemory ? _calls.PieceBytes : _calls.Device.MaxZeroBytes;

    private bool HasMemory => Operation is BlockOperation.Read or BlockOperation.Write or BlockOperation.Extents;

    /// <summary>Begins. The call is to be awaited once.</summary>
    /// <param name="operation">What is asked for.</param>
    /// <param name="byteOffset">The range's first byte; it lies within the device.</param>
    /// <param name="byteLength">Its length.</param>
    /// <param name="memory">What is written, or room for what is read; for extents, room for their records.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public OverlayCall Start(BlockOperation operation, long byteOffset, long byteLength, Memory<byte> memory,
        CancellationToken cancellation)
    {
        (Operation, _memory, _cancellation) = (operation, memory, cancellation);
        (_start, _cursor, _end) = (byteOffset, byteOffset, byteOffset + byteLength);
        _registration = cancellation.UnsafeRegister(static call => ((OverlayCall)call!).TryLeave(), this);
        _calls.Post(_begin);
        return this;
    }

    /// <summary>The end of a call that returns nothing.</summary>
    public ValueTask Task => new(this, _source.Version);

    /// <summary>The end of a call for extents: how many records there are.</summary>
    public ValueTask<int> Count => new(this, _source.Version);

    /// <summary>The buffer that it waited for, on the loop's thread.</summary>
    public void Resume(NativeBuffer buffer)
    {
        _buffer = buffer;
        if (!buffer.IsEmpty)
            Go();
        else if (TryHold())
            Finish(-Errno.NoMemory);
    }

    /// <summary>Goes on until a piece is in the device, or the call waits for a buffer, or has ended.</summary>
    private void Go()
    {
        if (!TryHold())
            return;
        if (Operation != BlockOperation.Flush && _cursor == _end)
        {
            Finish(0);
            return;
        }
        Plan();
        if (HasMemory && _buffer.IsEmpty && !TryTakeBuffer())
            return;
        Buffer = _buffer.Address;
        if (Operation == BlockOperation.Write)
            _memory.Span.Slice((int)(_cursor - _start), (int)ByteLength).CopyTo(Bytes);
        if (TryLetGo())
            _calls.Device.Submit(this);
    }

    protected internal override void OnCompleted(int result)
    {
        if (TryTake(result))
            Go();
    }

    /// <summary>Takes what the device has done with a piece. False when the call has ended.</summary>
    private bool TryTake(int result)
    {
        if (!TryHold())
            return false;
        if (result < 0)
        {
            Finish(result);
            return false;
        }
        if (Operation == BlockOperation.Read)
            Bytes.CopyTo(_memory.Span[(int)(_cursor - _start)..]);
        else if (Operation == BlockOperation.Extents)
            MemoryMarshal.AsBytes(new ReadOnlySpan<BlockExtent>((void*)_buffer.Address, ExtentCount)).CopyTo(_memory.Span);
        _cursor += ByteLength;
        if (Operation is BlockOperation.Flush or BlockOperation.Extents)
        {
            Finish(Operation == BlockOperation.Extents ? ExtentCount : 0);
            return false;
        }
        return TryLetGo();
    }

    private Span<byte> Bytes => new((void*)_buffer.Address, (int)ByteLength);

    private void Plan()
    {
        ByteOffset = _cursor;
        ByteLength = Operation == BlockOperation.Extents ? _end - _cursor
            : Math.Min(_end, (_cursor / PieceBytes + 1) * PieceBytes) - _cursor;
        ExtentCount = Operation == BlockOperation.Extents ? _memory.Length / sizeof(BlockExtent) : 0;
    }

    /// <summary>False when there is none: the call waits for it, or has ended.</summary>
    private bool TryTakeBuffer()
    {
        if (!_calls.TryRent(this, Math.Min(_memory.Length, _calls.PieceBytes), out _buffer))
        {
            // Whether it is left meanwhile is seen when it is resumed.
            Volatile.Write(ref _state, Waiting);
            return false;
        }
        if (!_buffer.IsEmpty)
            return true;
        Finish(-Errno.NoMemory);
        return false;
    }

    /// <summary>False when the caller has left: the call has ended then.</summary>
    private bool TryHold()
    {
        // mutation: cancelled-call-still-touches-memory
        if (Interlocked.CompareExchange(ref _state, Held, Waiting) != Left)
            return true;
        Drop();
        return false;
    }

    /// <summary>The caller may leave from here on. False when it has, and the call has ended.</summary>
    private bool TryLetGo()
    {
        Interlocked.Exchange(ref _state, Waiting);
        // It was cancelled while that could not be done.
        if (_cancellation.IsCancellationRequested)
            TryLeave();
        if (Volatile.Read(ref _state) != Left)
            return true;
        Drop();
        return false;
    }

    private void TryLeave()
    {
        if (Interlocked.CompareExchange(ref _state, Left, Waiting) == Waiting)
            _source.SetException(new OperationCanceledException(_cancellation));
    }

    private void Drop()
    {
        GiveBack();
        _calls.Leave();
    }

    private void Finish(int result)
    {
        Debug.Assert(Volatile.Read(ref _state) == Held, "a call ends on the loop, which holds it");
        GiveBack();
        _registration.Dispose();
        _calls.Leave();
        if (result >= 0)
            _source.SetResult(result);
        else
            _source.SetException(new OverlayIOException(Describe(), -result, _calls.FailedBecause()));
    }

    private void GiveBack()
    {
        if (_buffer.IsEmpty)
            return;
        var buffer = _buffer;
        _buffer = default;
        _calls.Return(buffer);
    }

    private string Describe() => Operation switch
    {
        BlockOperation.Flush => $"{_calls.Name}: the flush failed",
        BlockOperation.Read => $"{_calls.Name}: bytes {ByteOffset} to {ByteOffset + ByteLength} can't be read",
        BlockOperation.Write => $"{_calls.Name}: bytes {ByteOffset} to {ByteOffset + ByteLength} can't be written",
        BlockOperation.Extents => $"{_calls.Name}: the map at byte {ByteOffset} can't be read",
        _ => $"{_calls.Name}: bytes {ByteOffset} to {ByteOffset + ByteLength} can't be zeroed",
    };

    private int Result(short token)
    {
        // Awaited twice, or too early: that throws, and the call may be somebody else's by now.
        if (token != _source.Version || _source.GetStatus(token) == ValueTaskSourceStatus.Pending)
            return _source.GetResult(token);
        try
        {
            return _source.GetResult(token);
        }
        finally
        {
            if (Volatile.Read(ref _state) != Left)
            {
                _source.Reset();
                (_memory, _cancellation, _registration, _state) = (default, default, default, Waiting);
                _calls.Recycle(this);
            }
        }
    }

    void IValueTaskSource.GetResult(short token) => Result(token);

    int IValueTaskSource<int>.GetResult(short token) => Result(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _source.GetStatus(token);

    ValueTaskSourceStatus IValueTaskSource<int>.GetStatus(short token) => _source.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _source.OnCompleted(continuation, state, token, flags);

    void IValueTaskSource<int>.OnCompleted(Action<object?> continuation, object? state, short token,
        ValueTaskSourceOnCompletedFlags flags) => _source.OnCompleted(continuation, state, token, flags);
}
