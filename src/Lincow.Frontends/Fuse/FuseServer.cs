using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Frontends.Fuse;

/// <summary>
/// Serves one connection to the kernel's FUSE on the loop of the device: takes every request that is there, hands it to <see cref="FuseFile"/>, and
/// writes replies as they come.
///
///     readable -> receive until there is nothing more -> FuseFile.Begin -> device -> FuseFile.Completed -> Answer
///
/// One buffer of the longest request is kept for the next receive. A write takes it over with its payload, which is never copied; anything else
/// leaves it. Invariants: at most <see cref="MaxInFlight"/> requests; every request is answered once, but for those that take no reply; the
/// descriptor is closed when the kernel has ended the connection and the last reply is gone.
/// </summary>
public sealed class FuseServer : IoCompletion
{
    /// <summary>The longest read and write: what the kernel sends at most with its usual limit of pages.</summary>
    public const int MaxTransferBytes = 1 << 20;

    /// <summary>Requests at once; the kernel holds the rest. Bounds the memory of writes to a quarter of a gigabyte.</summary>
    private const int MaxInFlight = 256;

    /// <summary>Requests taken before others on the loop have their turn.</summary>
    private const int MaxBatch = 64;

    private readonly int _descriptor;
    private readonly Action<string> _log;
    private readonly Stack<FuseRequest> _idle = new(64);
    private NativeBuffer _received;
    private Action? _ended;
    private int _inFlight;
    private bool _isWaiting, _isPaused, _hasEnded, _isClosed, _hasComplained;

    public FuseServer(IoLoop loop, BlockDevice device, int descriptor, FuseOwner owner, Action<string> log)
    {
        (Loop, _descriptor, _log) = (loop, descriptor, log);
        File = new FuseFile(this, device, owner);
    }

    internal IoLoop Loop { get; }

    internal FuseFile File { get; }

    /// <summary>Begins; calls back when the connection is over, which the kernel decides: it was unmounted, or aborted. On the loop's thread.</summary>
    public void Start(Action ended)
    {
        _ended = ended;
        Wait();
    }

    /// <summary>There may be something to receive.</summary>
    public override void Complete(int result)
    {
        _isWaiting = false;
        ReceiveAll();
        CloseIfDone();
    }

    /// <summary>Gives the buffer with what was received to the request that needs it.</summary>
    internal NativeBuffer TakeReceived()
    {
        var taken = _received;
        _received = default;
        return taken;
    }

    /// <summary>Replies, and makes the request ready for the next one.</summary>
    internal unsafe void Answer(FuseRequest request, int error)
    {
        var bytes = error < 0 ? 0 : request.ReplyBytes;
        var header = request.ReplyHeader;
        header->Length = (uint)(FuseAbi.ReplyHeaderBytes + bytes);
        header->Error = error;
        header->Unique = request.Header->Unique;
        var result = FuseConnection.TryReply(_descriptor, (nint)header, FuseAbi.ReplyHeaderBytes, request.ReplyData, bytes);
        // ENOENT: whoever asked has been killed meanwhile. ENODEV: the connection is over, which the next receive will say.
        if (result < 0 && result is not (-Errno.NoEntry or -Errno.NoSuchDevice) && !_hasComplained)
        {
            _hasComplained = true;
            _log($"{_descriptor}: a reply to FUSE request {request.Header->Opcode} failed: {Errno.Describe(-result)}");
        }
        PutBack(request);
        if (_isPaused)
        {
            _isPaused = false;
            Wait();
        }
        CloseIfDone();
    }

    private void Wait()
    {
        if (_isWaiting || _hasEnded)
            return;
        _isWaiting = true;
        Loop.AwaitReadable(_descriptor, this);
    }

    private void ReceiveAll()
    {
        for (var count = 0; count < MaxBatch; count++)
        {
            if (_inFlight >= MaxInFlight)
            {
                _isPaused = true;
                return;
            }
            if (_received.IsEmpty)
                _received = Loop.Buffers.Rent(MaxTransferBytes);
            var request = Take();
            var result = FuseConnection.TryReceive(_descriptor, request.Input, FuseAbi.WriteHeaderBytes, _received.Address, MaxTransferBytes);
            if (result < FuseAbi.RequestHeaderBytes)
            {
                PutBack(request);
                // ENOENT: the request was taken back while it was being received.
                if (result is -Errno.Interrupted or -Errno.NoEntry)
                    continue;
                if (result != -Errno.Again)
                {
                    // ENODEV: unmounted, or aborted.
                    _hasEnded = true;
                    return;
                }
                break;
            }
            if (!File.Begin(request, result))
                PutBack(request);
        }
        Wait();
    }

    private FuseRequest Take()
    {
        if (!_idle.TryPop(out var request))
            request = new FuseRequest(this);
        request.Begin();
        _inFlight++;
        return request;
    }

    private void PutBack(FuseRequest request)
    {
        Loop.Buffers.Return(request.Memory);
        request.Memory = default;
        _inFlight--;
        _idle.Push(request);
    }

    private void CloseIfDone()
    {
        if (!_hasEnded || _isClosed || _isWaiting || _inFlight > 0)
            return;
        _isClosed = true;
        FuseConnection.Close(_descriptor);
        Loop.Buffers.Return(_received);
        foreach (var request in _idle)
            request.Free();
        _ended?.Invoke();
    }
}
