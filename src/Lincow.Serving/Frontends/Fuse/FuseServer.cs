using System.Diagnostics.CodeAnalysis;
using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Fuse;

/// <summary>
/// Serves one connection to the kernel's FUSE on the loop of the device: takes every request that is there, hands it to
/// <see cref="FuseFile"/>, and writes replies as they come.
///
///     readable -> receive until there is nothing more -> FuseFile.Begin -> device -> FuseFile.Completed -> Answer
///
/// One buffer of the longest request is kept for the next receive. A write takes it over with its payload, which is never copied; anything
/// else leaves it. Invariants: at most <see cref="MaxInFlight"/> requests; every request is answered once, but for those that take no
/// reply; the descriptor is closed when the kernel has ended the connection and the last reply is gone.
/// </summary>
internal sealed class FuseServer : IoCompletion
{
    /// <summary>The longest read and write: what the kernel sends at most with its usual limit of pages.</summary>
    public const int MaxTransferBytes = 1 << 20;

    /// <summary>Requests at once; the kernel holds the rest. Bounds the memory of writes to a quarter of a gigabyte.</summary>
    private const int MaxInFlight = 256;

    /// <summary>
    /// Requests, and bytes of them, taken before others on the loop have their turn. Receiving copies, and what was taken is started at the
    /// end of the turn: while one large write is being received the one before it is being written, by another core.
    /// </summary>
    private const int MaxBatch = 64, MaxBatchBytes = 512 << 10;

    /// <summary>When there was no memory to receive a request, or to take a reply.</summary>
    private const int RetryMilliseconds = 50;

    /// <summary>A minute of replies that the kernel doesn't take; after that it never will, and whoever asked can only be killed.</summary>
    private const int MaxReplyTries = 60_000 / RetryMilliseconds;

    private readonly IoLoop _loop;
    private readonly FuseFile _file;
    private readonly int _descriptor;
    private readonly Action<string> _log;
    private readonly Stack<PlainRequest> _idle = new(64);
    private FuseRing? _ring;
    private NativeBuffer _received;
    private Action? _ended;
    private int _inFlight;
    private bool _isWaiting, _isPaused, _hasEnded, _isClosed, _hasComplained;

    public FuseServer(IoLoop loop, BlockDevice device, int descriptor, FuseOwner owner, Action<string> log)
    {
        (_loop, _descriptor, _log) = (loop, descriptor, log);
        _file = new FuseFile(loop, device, owner);
    }

    /// <summary>How often the file is open now. On the loop's thread.</summary>
    public int OpenCount => _file.OpenCount;

    /// <summary>From here on nobody can open the file: it is about to go. On the loop's thread.</summary>
    public void RefuseOpens(bool refuse) => _file.IsClosing = refuse;

    /// <summary>
    /// Begins; calls back when the connection is over, which the kernel decides: it was unmounted, or aborted. On the loop's thread.
    /// </summary>
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

    // ENOENT: whoever asked has been killed meanwhile, or the kernel has answered in our place. ENODEV: the connection is over, which the
    // next receive will say.
    private static bool IsTaken(int result) => result is >= 0 or -Errno.NoEntry or -Errno.NoSuchDevice;

    private unsafe void Complain(PlainRequest request, int result)
    {
        if (_hasComplained)
            return;
        _hasComplained = true;
        _log($"{_descriptor}: a reply to FUSE request {request.Header->Opcode} failed: {Errno.Describe(-result)}. Whoever asked gets an "
            + "I/O error");
    }

    private unsafe void Sent(PlainRequest request)
    {
        var opcode = request.Header->Opcode;
        PutBack(request);
        if (opcode == FuseOpcode.Init && _file.IsOverUring && _ring is null)
            StartRing();
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
        _loop.AwaitReadable(_descriptor, this);
    }

    private unsafe void ReceiveAll()
    {
        for (int count = 0, bytes = 0; count < MaxBatch && bytes < MaxBatchBytes; count++)
        {
            if (_inFlight >= MaxInFlight)
            {
                _isPaused = true;
                return;
            }
            if ((_received.IsEmpty && !_loop.Buffers.TryRent(MaxTransferBytes, out _received)) || !TryTake(out var request))
            {
                // Nothing can be received, so nothing answered: requests wait in the kernel until there is memory.
                _isWaiting = true;
                _loop.Delay(RetryMilliseconds, this);
                return;
            }
            var result = FuseConnection.TryReceive(_descriptor, request.Input, FuseAbi.WriteHeaderBytes, _received.Address,
                MaxTransferBytes);
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
            bytes += result;
            if (request.Header->Length != (uint)result)
                request.Answer(-Errno.IO);
            else if (!_file.Begin(request, result - FuseAbi.WriteHeaderBytes))
                PutBack(request);
        }
        Wait();
    }

    private bool TryTake([NotNullWhen(true)] out PlainRequest? request)
    {
        if (!_idle.TryPop(out request))
        {
            if (!_loop.Buffers.TryRent(PlainRequest.RoomBytes, out var room))
                return false;
            request = new PlainRequest(this, room);
        }
        request.Begin();
        _inFlight++;
        return true;
    }

    private void PutBack(PlainRequest request)
    {
        _loop.Buffers.Return(request.Memory);
        request.Memory = default;
        _inFlight--;
        _idle.Push(request);
    }

    private void CloseIfDone()
    {
        if (!_hasEnded || _isClosed || _isWaiting || _inFlight > 0 || _ring is not null)
            return;
        _isClosed = true;
        FuseConnection.Close(_descriptor);
        _loop.Buffers.Return(_received);
        foreach (var request in _idle)
            _loop.Buffers.Return(request.Room);
        _ended?.Invoke();
    }

    // Without it requests come by plain calls, as they have so far.
    private void StartRing()
    {
        try
        {
            _ring = new FuseRing(_loop, _descriptor, _file, RingEnded);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _log($"FUSE goes on without io_uring: {e.Message}");
        }
    }

    private void RingEnded()
    {
        _ring = null;
        CloseIfDone();
    }

    /// <summary>A request that was read from the descriptor, and is answered there.</summary>
    private sealed unsafe class PlainRequest : FuseRequest
    {
        /// <summary>Where the parts lie in the native room; the longest reply but a read's is that of statx.</summary>
        private const int ReplyHeaderAt = 128, ReplyBodyAt = ReplyHeaderAt + FuseAbi.ReplyHeaderBytes;

        public const int RoomBytes = ReplyBodyAt + 304;

        private readonly FuseServer _server;
        private readonly nint _room;
        private readonly AnotherTry _anotherTry;
        private int _failedReplies;

        public PlainRequest(FuseServer server, NativeBuffer room)
            : base(server._file)
        {
            (_server, Room, _room) = (server, room, room.Address);
            _anotherTry = new AnotherTry(this);
            new Span<byte>((void*)_room, RoomBytes).Clear();
            Lay(_room, _room + FuseAbi.RequestHeaderBytes, _room + ReplyHeaderAt, _room + ReplyBodyAt);
        }

        /// <summary>The first 80 bytes: the kernel's header and arguments.</summary>
        public nint Input => _room;

        /// <summary>Forgets the request before; what is received may be shorter than it was.</summary>
        public void Begin()
        {
            new Span<byte>((void*)_room, FuseAbi.WriteHeaderBytes).Clear();
            _failedReplies = 0;
            Clear();
        }

        public NativeBuffer Room { get; }

        public override void TakePayload()
        {
            Memory = _server._received;
            Buffer = Memory.Address;
            _server._received = default;
        }

        public override bool TryMakeRoom(int byteCount)
        {
            if (!_server._loop.Buffers.TryRent(byteCount, out var memory))
                return false;
            (Memory, Buffer) = (memory, memory.Address);
            return true;
        }

        // A reply that the kernel doesn't take leaves whoever asked waiting for ever, so a short one that says EIO follows, until it is
        // taken.
        protected override void Send(nint header, nint data)
        {
            var result = FuseConnection.TryReply(_server._descriptor, header, FuseAbi.ReplyHeaderBytes, data, ReplyBytes);
            // mutation: failed-reply-left-alone
            if (IsTaken(result) || _failedReplies++ > MaxReplyTries)
            {
                _server.Sent(this);
                return;
            }
            _server.Complain(this, result);
            if (_failedReplies == 1)
                Answer(-Errno.IO);
            else
                _server._loop.Delay(RetryMilliseconds, _anotherTry);
        }

        private sealed class AnotherTry(PlainRequest request) : IoCompletion
        {
            public override void Complete(int result) => request.Answer(-Errno.IO);
        }
    }
}
