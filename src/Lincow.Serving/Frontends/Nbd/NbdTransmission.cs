using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// One connection's transmission phase, on the loop of its device: parses as many requests as a receive brings, submits them, and sends
/// replies as they end, gathered into one message a turn (proto.md, "Transmission").
///
///     receive -> [header | payload]... -> BlockDevice.Submit -> Answer -> queue -> send
///
/// Invariants: at most one receive and one send in flight (<see cref="NbdSender"/>); a request's memory is given back only when its reply
/// has been sent; nothing is freed and the socket is not closed before every operation on it has ended. When a connection's own bounds are
/// reached, or
/// <see cref="NbdMemory"/> has it wait, it stops reading its socket, and nobody else notices.
/// </summary>
internal sealed unsafe class NbdTransmission : NbdMember
{
    /// <summary>
    /// One buffer: what has been received, and what is sent. It holds some 30 small writes, or the head of a large one, whose rest goes
    /// straight to its own memory.
    /// </summary>
    private const int BufferBytes = 128 << 10;

    /// <summary>Vectors in one send; the kernel's limit is 1024 (UIO_MAXIOV).</summary>
    private const int MaxVectors = 448;

    /// <summary>From so many connections of a loop on, new ones get less.</summary>
    private const int Crowd = 1024;

    private const int CrowdBufferBytes = 16 << 10, CrowdMaxVectors = 126;

    /// <summary>A payload that arrives bit by bit is charged so much at first, then as much as has arrived.</summary>
    private const long FirstPieceBytes = 64 << 10;

    private const long MaxHeldBytes = NbdProtocol.MaxBytesInFlight + NbdProtocol.MaxRequestsInFlight * NbdMemory.RequestBytes;

    private readonly IoLoop _loop;
    private readonly NbdMemory _memory;
    private readonly int _socket;
    private readonly BlockDevice _device;
    private readonly bool _extended, _baseContext, _overlayContext;
    private readonly NbdReplyEncoder _encoder;
    private readonly Action _closed;
    private readonly NativeBuffer _buffer;
    private readonly int _inputBytes;
    private readonly ReceiveCompletion _receive;
    private int _inputStart, _inputEnd;
    private NbdRequest? _filling;
    private long _filled, _room, _discard;
    private int _inFlight;
    private bool _isReceiving, _isPaused, _isGranted, _isEnding, _isClosed, _isParsing;

    private NbdTransmission(IoLoop loop, NbdMemory memory, int socket, NbdTerms terms, NativeBuffer buffer, int maxVectors, Action closed)
        : base(terms.IsTrusted)
    {
        (_loop, _memory, _socket, _device, _closed) = (loop, memory, socket, terms.Export.Device, closed);
        StructuredReplies = terms.StructuredReplies;
        _extended = terms.ExtendedHeaders;
        (_baseContext, _overlayContext) = (terms.BaseContext, terms.OverlayContext);
        _encoder = new NbdReplyEncoder(StructuredReplies, _extended);
        _buffer = buffer;
        _inputBytes = (int)buffer.SizeBytes - NbdSender.RoomFor(maxVectors);
        Sender = new NbdSender(loop, socket, _encoder, this, (MessageHeader*)(buffer.Address + _inputBytes), maxVectors);
        _receive = new ReceiveCompletion(this);
    }

    public bool StructuredReplies { get; }

    public NbdSender Sender { get; }

    /// <summary>
    /// A connection that has not begun; what came after the handshake is parsed first. Takes the socket over. Null, with the socket closed
    /// and nothing called back, when there is no room for one more.
    /// </summary>
    public static NbdTransmission? TryOpen(IoLoop loop, NbdMemory memory, int socket, NbdTerms terms, ReadOnlySpan<byte> rest,
        Action closed)
    {
        var (bytes, vectors) = memory.MemberCount < Crowd ? (BufferBytes, MaxVectors) : (CrowdBufferBytes, CrowdMaxVectors);
        // What came with the handshake has to fit in.
        if (rest.Length > bytes - NbdSender.RoomFor(vectors))
            (bytes, vectors) = (BufferBytes, MaxVectors);
        if (!loop.Buffers.TryRent(bytes, out var buffer))
        {
            LinuxSocket.Close(socket);
            return null;
        }
        var transmission = new NbdTransmission(loop, memory, socket, terms, buffer, vectors, closed);
        if (!memory.TryJoin(transmission, buffer.SizeBytes))
        {
            loop.Buffers.Return(buffer);
            LinuxSocket.Close(socket);
            return null;
        }
        rest.CopyTo(new Span<byte>((void*)buffer.Address, rest.Length));
        transmission._inputEnd = rest.Length;
        return transmission;
    }

    private int HeaderBytes => _extended ? NbdProtocol.ExtendedRequestBytes : NbdProtocol.RequestBytes;

    /// <summary>Takes the first requests.</summary>
    public void Start() => Parse();

    public override void MemoryCame()
    {
        (_isPaused, _isGranted) = (false, true);
        Parse();
        CloseIfDone();
    }

    public override void CutOff() => Break();

    /// <summary>Takes no further request; closes when what is in flight has been answered.</summary>
    public void End()
    {
        if (_isClosed)
            return;
        BeginToEnd();
        LinuxSocket.Shutdown(_socket, LinuxSocket.ShutdownReceive);
        _loop.Delay(NbdProtocol.GraceMilliseconds, new Grace(this));
        CloseIfDone();
    }

    /// <summary>Takes a finished request; its reply leaves with the others of this turn.</summary>
    public void Answer(NbdRequest request)
    {
        if (request.Command == NbdCommand.BlockStatus && request.Result == 0)
            _encoder.EncodeStatus(request, _baseContext, _overlayContext);
        Sender.Add(request);
    }

    private void Parse()
    {
        if (_isParsing)
            return;
        _isParsing = true;
        while (!_isEnding && TryParseOne())
        {
        }
        _isParsing = false;
        if (_isEnding)
            CloseIfDone();
        else if (!_isPaused)
            Receive();
    }

    /// <summary>Takes the next thing out of the input. False when more input is needed, or the connection's bounds are reached.</summary>
    private bool TryParseOne()
    {
        var available = _inputEnd - _inputStart;
        if (_filling is not null)
            return TryFill(available);
        if (_discard > 0)
        {
            var dropped = (int)Math.Min(_discard, available);
            _discard -= dropped;
            _inputStart += dropped;
            return _discard == 0;
        }
        if (available < HeaderBytes)
            return false;
        var header = new ReadOnlySpan<byte>((byte*)_buffer.Address + _inputStart, HeaderBytes);
        if (BinaryPrimitives.ReadUInt32BigEndian(header) != (_extended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic))
        {
            // The framing is lost: nothing that follows can be trusted. What was asked before is still answered.
            End();
            return false;
        }
        var length = _extended ? BinaryPrimitives.ReadUInt64BigEndian(header[24..]) : BinaryPrimitives.ReadUInt32BigEndian(header[24..]);
        var command = (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(header[6..]);
        if (!HasRoomFor(command, length, out var charge))
        {
            _isPaused = true;
            return false;
        }
        _isGranted = false;
        _inputStart += HeaderBytes;
        var request = _memory.TakeRequest(this);
        _inFlight++;
        request.ChargedBytes = charge;
        request.CommandFlags = BinaryPrimitives.ReadUInt16BigEndian(header[4..]);
        request.Command = command;
        request.Cookie = BinaryPrimitives.ReadUInt64BigEndian(header[8..]);
        request.WireOffset = BinaryPrimitives.ReadUInt64BigEndian(header[16..]);
        return Begin(request, length);
    }

    /// <summary>
    /// Whether the bounds of this connection and of the loop's memory leave room for a request; it has been charged then, but for a
    /// payload.
    /// </summary>
    private bool HasRoomFor(NbdCommand command, ulong length, out long charge)
    {
        var room = command switch
        {
            NbdCommand.Read or NbdCommand.Write =>
                length == 0 ? 0 : BufferPool.SizeFor((long)Math.Min(length, NbdProtocol.MaxPayloadBytes)),
            NbdCommand.BlockStatus => NbdReplyEncoder.StatusRoomBytes,
            _ => 0,
        };
        charge = NbdMemory.RequestBytes + (command == NbdCommand.Write ? 0 : room);
        if (_isGranted)
            return true;
        return _inFlight < NbdProtocol.MaxRequestsInFlight
            && (HeldBytes == 0 || HeldBytes + charge + (command == NbdCommand.Write ? room : 0) <= MaxHeldBytes)
            && _memory.TryCharge(this, charge);
    }

    /// <summary>Judges a request by its header alone: rejects it, waits for its payload, or submits it.</summary>
    private bool Begin(NbdRequest request, ulong length)
    {
        if (request.Command == NbdCommand.Disconnect)
        {
            Retire(request);
            BeginToEnd();
            return false;
        }
        var hasPayload = _extended ? (request.CommandFlags & NbdProtocol.FlagPayloadLength) != 0 : request.Command == NbdCommand.Write;
        if (hasPayload && length > NbdProtocol.MaxPayloadBytes)
        {
            // Reading it all only to refuse it would be a way to keep us busy (proto.md, "Size constraints").
            Retire(request);
            End();
            return false;
        }
        var error = NbdValidation.Check(request, length, hasPayload, _extended, _device, _baseContext || _overlayContext);
        if (error != 0)
            return Refuse(request, -(int)error, hasPayload ? (long)length : 0);
        NbdValidation.Translate(request, (long)length, _device);
        if (hasPayload && length > 0)
        {
            BeginPayload(request);
            return true;
        }
        var room = request.ChargedBytes - NbdMemory.RequestBytes;
        if (room > 0 && !TryTakeBuffer(request, room))
            return Refuse(request, -Errno.NoMemory, 0);
        _device.Submit(request);
        return true;
    }

    /// <summary>Answers a request with an error, and lets the rest of its payload go by.</summary>
    private bool Refuse(NbdRequest request, int error, long payload)
    {
        // mutation: nbd-refused-payload-taken-for-requests
        _discard = payload;
        Release(request, NbdMemory.RequestBytes);
        request.Result = error;
        Answer(request);
        return true;
    }

    private bool TryTakeBuffer(NbdRequest request, long byteCount)
    {
        if (!_loop.Buffers.TryRent(byteCount, out var buffer))
            return false;
        (request.Memory, request.Buffer) = (buffer, buffer.Address);
        return true;
    }

    /// <summary>A buffer for the whole payload if there is plenty of memory; else as it arrives.</summary>
    private void BeginPayload(NbdRequest request)
    {
        (_filling, _filled, _room) = (request, 0, 0);
        var size = BufferPool.SizeFor(request.ByteLength);
        if (!_memory.TryChargeAhead(this, size))
            return;
        request.ChargedBytes += size;
        if (TryTakeBuffer(request, size))
            _room = request.ByteLength;
        else
            RefusePayload();
    }

    /// <summary>Makes room for the next part of a payload. False when it has to wait for that.</summary>
    private bool TryMakeRoom(NbdRequest request)
    {
        var piece = Math.Min(request.ByteLength - _room, Math.Max(FirstPieceBytes, _filled));
        if (!_isGranted && !_memory.TryCharge(this, piece))
        {
            _isPaused = true;
            Payload.Rest();
            return false;
        }
        _isGranted = false;
        request.ChargedBytes += piece;
        // Memory that was never touched, and can't be yet: nobody pays for more than has arrived.
        if (request.Pages == 0)
            request.Pages = request.Buffer = NativePages.TryReserveClosed((nuint)request.ByteLength);
        if (request.Pages == 0 || !NativePages.TryOpen(request.Pages + (nint)_room, (nuint)piece))
            RefusePayload();
        else
            _room += piece;
        return true;
    }

    private void RefusePayload()
    {
        var request = _filling!;
        _filling = null;
        Refuse(request, -Errno.NoMemory, request.ByteLength - _filled);
    }

    private bool TryFill(int available)
    {
        var request = _filling!;
        if (_filled == _room)
            return TryMakeRoom(request);
        if (available == 0)
            return false;
        var count = (int)Math.Min(available, _room - _filled);
        NativeMemory.Copy((void*)(_buffer.Address + _inputStart), (void*)(request.Buffer + (nint)_filled), (nuint)count);
        _inputStart += count;
        Fill(count);
        return true;
    }

    private void Fill(int count)
    {
        _filled += count;
        Payload.Move(count);
        var request = _filling!;
        if (_filled < request.ByteLength)
            return;
        _filling = null;
        _device.Submit(request);
    }

    private void Receive()
    {
        if (_isReceiving || _isEnding)
            return;
        _isReceiving = true;
        if (_filling is not null)
        {
            // All input is used up: the rest of a large payload goes straight to where it is needed.
            _inputStart = _inputEnd = 0;
            Payload.Await();
            _loop.Receive(_socket, _filling.Buffer + (nint)_filled, (int)(_room - _filled), _receive);
            return;
        }
        Payload.Rest();
        if (_inputStart > 0)
        {
            var left = _inputEnd - _inputStart;
            NativeMemory.Copy((void*)(_buffer.Address + _inputStart), (void*)_buffer.Address, (nuint)left);
            (_inputStart, _inputEnd) = (0, left);
        }
        _loop.Receive(_socket, _buffer.Address + _inputEnd, _inputBytes - _inputEnd, _receive);
    }

    private void Received(int result)
    {
        _isReceiving = false;
        if (!_isEnding && result is -Errno.Interrupted or -Errno.Again)
        {
            Receive();
            return;
        }
        // The client is gone, or said that it won't send any more: what it asked for is still finished.
        if (result <= 0)
            BeginToEnd();
        if (_isEnding)
        {
            CloseIfDone();
            return;
        }
        if (_filling is null)
            _inputEnd += result;
        else
            Fill(result);
        Parse();
    }

    /// <summary>Room has come free: goes on where the bounds had stopped it.</summary>
    public void Continue()
    {
        if (_isPaused && WantedBytes == 0 && !_isEnding)
        {
            _isPaused = false;
            Parse();
        }
        CloseIfDone();
    }

    /// <summary>Ends the connection without a word: its peer is gone. Requests in the device still finish.</summary>
    public void Break()
    {
        // It may have ended a moment ago, and the descriptor's number may be somebody else's.
        if (_isClosed)
            return;
        BeginToEnd();
        LinuxSocket.Shutdown(_socket, LinuxSocket.ShutdownBoth);
        Sender.Break();
        CloseIfDone();
    }

    private void BeginToEnd()
    {
        _isEnding = true;
        _memory.StopWaiting(this);
    }

    /// <summary>A request is over: answered, or never to be.</summary>
    public void Retire(NbdRequest request)
    {
        Release(request, 0);
        request.NextReply = null;
        _inFlight--;
        _memory.PutBack(request);
    }

    /// <summary>Gives a request's memory back, all but so much of what was charged for it.</summary>
    private void Release(NbdRequest request, long keptBytes)
    {
        request.Release(_loop.Buffers);
        _memory.Discharge(this, request.ChargedBytes - keptBytes);
        request.ChargedBytes = keptBytes;
    }

    /// <summary>The connection ends when it is to end and nothing is on its way any more.</summary>
    public void CloseIfDone()
    {
        if (!_isEnding || _isClosed || _isReceiving || _isParsing)
            return;
        // A payload that was cut off changes nothing.
        if (_filling is { } request)
        {
            _filling = null;
            Retire(request);
        }
        if (Sender.IsBusy || _inFlight > 0)
            return;
        _isClosed = true;
        _memory.Leave(this);
        LinuxSocket.Close(_socket);
        // mutation: real-buffer-leaks
        _loop.Buffers.Return(_buffer);
        _closed();
    }

    /// <summary>A client that doesn't take its replies doesn't keep the server from ending.</summary>
    private sealed class Grace(NbdTransmission owner) : IoCompletion
    {
        public override void Complete(int result)
        {
            if (!owner._isClosed)
                owner.Break();
        }
    }

    private sealed class ReceiveCompletion(NbdTransmission owner) : IoCompletion
    {
        public override void Complete(int result) => owner.Received(result);
    }
}
