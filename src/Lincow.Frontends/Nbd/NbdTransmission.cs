using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Frontends.Nbd;

/// <summary>
/// One connection's transmission phase, on the loop of its device: parses as many requests as a receive brings, submits them, and sends
/// replies as they end, gathered into one message a turn (proto.md, "Transmission").
///
///     receive -> [header | payload]... -> BlockDevice.Submit -> Answer -> queue -> send
///
/// Invariants: at most one receive and one send in flight; a request's memory is given back only when its reply has been sent; nothing is freed
/// and the socket is not closed before every operation on it has ended. When a connection's own bounds are reached it stops reading its socket, and
/// nobody else notices.
/// </summary>
internal sealed unsafe class NbdTransmission
{
    /// <summary>The receive buffer: holds some 30 small writes, and the head of a large one, whose rest goes straight to its own memory.</summary>
    private const int ReceiveBytes = 128 << 10;

    /// <summary>Vectors in one send; the kernel's limit is 1024 (UIO_MAXIOV).</summary>
    private const int MaxVectors = 512;

    private readonly IoLoop _loop;
    private readonly NbdMemory _memory;
    private readonly int _socket;
    private readonly BlockDevice _device;
    private readonly bool _extended, _baseContext, _overlayContext;
    private readonly NbdReplyEncoder _encoder;
    private readonly Action _closed;
    private readonly Stack<NbdRequest> _idle = new(32);
    private readonly NativeBuffer _input;
    private readonly ReceiveCompletion _receive;
    private readonly SendCompletion _send;
    private readonly SendKick _kick;
    private readonly IoVector* _vectors;
    private readonly MessageHeader* _message;
    private int _inputStart, _inputEnd;
    private NbdRequest? _filling;
    private long _fillingLeft, _discard;
    private int _inFlight;
    private NbdRequest? _replyHead, _replyTail, _sending, _sendingTail;
    private bool _isReceiving, _isSending, _isKicked, _isPaused, _isEnding, _isBroken, _isClosed, _isParsing;

    public NbdTransmission(IoLoop loop, NbdMemory memory, int socket, NbdTerms terms, ReadOnlySpan<byte> rest, Action closed)
    {
        (_loop, _memory, _socket, _device, _closed) = (loop, memory, socket, terms.Export.Device, closed);
        StructuredReplies = terms.StructuredReplies;
        _extended = terms.ExtendedHeaders;
        (_baseContext, _overlayContext) = (terms.BaseContext, terms.OverlayContext);
        _encoder = new NbdReplyEncoder(StructuredReplies, _extended);
        _input = loop.Buffers.Rent(ReceiveBytes);
        rest.CopyTo(new Span<byte>((void*)_input.Address, ReceiveBytes));
        _inputEnd = rest.Length;
        (_receive, _send, _kick) = (new ReceiveCompletion(this), new SendCompletion(this), new SendKick(this));
        _vectors = (IoVector*)NativeMemory.Alloc((nuint)(MaxVectors * sizeof(IoVector)));
        _message = (MessageHeader*)NativeMemory.AllocZeroed((nuint)sizeof(MessageHeader));
    }

    public bool StructuredReplies { get; }

    /// <summary>Bytes of this connection's requests in memory.</summary>
    public long BytesInFlight { get; private set; }

    /// <summary>Since when the client has taken nothing of what is being sent (milliseconds of the tick count); null when nothing is.</summary>
    public long? SendingSince { get; private set; }

    private int HeaderBytes => _extended ? NbdProtocol.ExtendedRequestBytes : NbdProtocol.RequestBytes;

    /// <summary>Begins; what came behind the handshake is parsed first.</summary>
    public void Start()
    {
        _memory.Join(this);
        Parse();
    }

    /// <summary>Others have given memory back: goes on if it waited for that.</summary>
    public void MemoryCameFree() => Continue();

    /// <summary>Takes no further request; closes when what is in flight has been answered.</summary>
    public void End()
    {
        if (_isClosed)
            return;
        _isEnding = true;
        LinuxSocket.Shutdown(_socket, LinuxSocket.ShutdownReceive);
        _loop.Delay(NbdProtocol.GraceMilliseconds, new Grace(this));
        CloseIfDone();
    }

    /// <summary>Takes a finished request; its reply leaves with the others of this turn.</summary>
    public void Answer(NbdRequest request)
    {
        if (request.Command == NbdCommand.BlockStatus && request.Result == 0)
            _encoder.EncodeStatus(request, _loop.Buffers, _baseContext, _overlayContext);
        request.NextReply = null;
        if (_replyTail is null)
            _replyHead = request;
        else
            _replyTail.NextReply = request;
        _replyTail = request;
        if (_isKicked || _isSending)
            return;
        _isKicked = true;
        _loop.CompleteSoon(_kick, 0);
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
        var header = new ReadOnlySpan<byte>((byte*)_input.Address + _inputStart, HeaderBytes);
        if (BinaryPrimitives.ReadUInt32BigEndian(header) != (_extended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic))
        {
            // The framing is lost: nothing that follows can be trusted. What was asked before is still answered.
            End();
            return false;
        }
        var length = _extended ? BinaryPrimitives.ReadUInt64BigEndian(header[24..]) : BinaryPrimitives.ReadUInt32BigEndian(header[24..]);
        var command = (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(header[6..]);
        if (!HasRoomFor(command, length))
        {
            _isPaused = true;
            return false;
        }
        _inputStart += HeaderBytes;
        var request = Take();
        request.CommandFlags = BinaryPrimitives.ReadUInt16BigEndian(header[4..]);
        request.Command = command;
        request.Cookie = BinaryPrimitives.ReadUInt64BigEndian(header[8..]);
        request.WireOffset = BinaryPrimitives.ReadUInt64BigEndian(header[16..]);
        return Begin(request, length);
    }

    /// <summary>Whether the bounds of this connection and of the loop's memory leave room for a request.</summary>
    private bool HasRoomFor(NbdCommand command, ulong length)
    {
        var need = command is NbdCommand.Read or NbdCommand.Write ? (long)Math.Min(length, NbdProtocol.MaxPayloadBytes) : 0;
        return _inFlight < NbdProtocol.MaxRequestsInFlight
            && (BytesInFlight == 0 || BytesInFlight + need <= NbdProtocol.MaxBytesInFlight)
            && (need == 0 || _memory.MayTake(this, need));
    }

    /// <summary>Judges a request by its header alone: rejects it, waits for its payload, or submits it.</summary>
    private bool Begin(NbdRequest request, ulong length)
    {
        if (request.Command == NbdCommand.Disconnect)
        {
            PutBack(request);
            _isEnding = true;
            return false;
        }
        var hasPayload = _extended ? (request.CommandFlags & NbdProtocol.FlagPayloadLength) != 0 : request.Command == NbdCommand.Write;
        if (hasPayload && length > NbdProtocol.MaxPayloadBytes)
        {
            // Reading it all only to refuse it would be a way to keep us busy (proto.md, "Size constraints").
            PutBack(request);
            End();
            return false;
        }
        var error = NbdValidation.Check(request, length, hasPayload, _extended, _device, _baseContext || _overlayContext);
        if (error != 0)
        {
            if (hasPayload)
                _discard = (long)length;
            request.Result = -(int)error;
            request.ByteLength = 0;
            Answer(request);
            return true;
        }
        NbdValidation.Translate(request, (long)length, _device);
        switch (request.Command)
        {
            case NbdCommand.Read or NbdCommand.Write when request.ByteLength > 0:
                request.Memory = _memory.Take(request.ByteLength);
                break;
            case NbdCommand.BlockStatus:
                request.Memory = _memory.Take(NbdProtocol.MaxExtents * sizeof(BlockExtent));
                break;
        }
        request.Buffer = request.Memory.Address;
        BytesInFlight += request.Memory.SizeBytes;
        if (hasPayload && request.ByteLength > 0)
        {
            (_filling, _fillingLeft) = (request, request.ByteLength);
            return true;
        }
        _device.Submit(request);
        return true;
    }

    private bool TryFill(int available)
    {
        var request = _filling!;
        var count = (int)Math.Min(available, _fillingLeft);
        NativeMemory.Copy((void*)(_input.Address + _inputStart), (void*)(request.Buffer + (nint)(request.ByteLength - _fillingLeft)), (nuint)count);
        _inputStart += count;
        _fillingLeft -= count;
        if (_fillingLeft > 0)
            return false;
        _filling = null;
        _device.Submit(request);
        return true;
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
            _loop.Receive(_socket, _filling.Buffer + (nint)(_filling.ByteLength - _fillingLeft), (int)_fillingLeft, _receive);
            return;
        }
        if (_inputStart > 0)
        {
            var left = _inputEnd - _inputStart;
            NativeMemory.Copy((void*)(_input.Address + _inputStart), (void*)_input.Address, (nuint)left);
            (_inputStart, _inputEnd) = (0, left);
        }
        _loop.Receive(_socket, _input.Address + _inputEnd, ReceiveBytes - _inputEnd, _receive);
    }

    private void Received(int result)
    {
        _isReceiving = false;
        if (!_isEnding && result is -Errno.Interrupted or -Errno.Again)
        {
            Receive();
            return;
        }
        if (result <= 0)
        {
            // The client is gone, or said that it won't send any more: what it asked for is still finished.
            _isEnding = true;
            DropFilling();
            CloseIfDone();
            return;
        }
        if (_isEnding)
        {
            DropFilling();
            CloseIfDone();
            return;
        }
        if (_filling is null)
        {
            _inputEnd += result;
        }
        else
        {
            _fillingLeft -= result;
            if (_fillingLeft == 0)
            {
                var request = _filling;
                _filling = null;
                _device.Submit(request);
            }
        }
        Parse();
    }

    private void DropFilling()
    {
        if (_filling is not { } request)
            return;
        _filling = null;
        Retire(request);
    }

    private void SendQueued()
    {
        _isKicked = false;
        if (_isSending || _replyHead is null)
        {
            CloseIfDone();
            return;
        }
        if (_isBroken)
        {
            DropReplies();
            CloseIfDone();
            return;
        }
        var count = 0;
        _sending = _replyHead;
        while (_replyHead is { } request && count + NbdReplyEncoder.MaxVectors <= MaxVectors)
        {
            count += _encoder.Encode(request, _vectors + count);
            _sendingTail = request;
            _replyHead = request.NextReply;
        }
        if (_replyHead is null)
            _replyTail = null;
        _sendingTail!.NextReply = null;
        *_message = new MessageHeader { Vectors = _vectors, VectorCount = (nuint)count };
        _isSending = true;
        SendingSince = Environment.TickCount64;
        _loop.Send(_socket, _message, _send);
    }

    private void Sent(int result)
    {
        if (result == -Errno.Interrupted || result == -Errno.Again)
        {
            _loop.Send(_socket, _message, _send);
            return;
        }
        if (result <= 0)
        {
            _isSending = false;
            RetireAll(_sending);
            _sending = null;
            Break();
            return;
        }
        if (!Advance((nuint)result))
        {
            SendingSince = Environment.TickCount64;
            _loop.Send(_socket, _message, _send);
            return;
        }
        _isSending = false;
        SendingSince = null;
        var done = _sending;
        _sending = null;
        RetireAll(done);
        if (_replyHead is not null)
            SendQueued();
        Continue();
    }

    /// <summary>Moves past what has been sent; true when that was everything.</summary>
    private bool Advance(nuint sent)
    {
        while (sent > 0)
        {
            var vector = _message->Vectors;
            if (sent < vector->Length)
            {
                vector->Base += (nint)sent;
                vector->Length -= sent;
                return false;
            }
            sent -= vector->Length;
            _message->Vectors++;
            _message->VectorCount--;
        }
        return _message->VectorCount == 0;
    }

    /// <summary>Room has come free: goes on where the bounds had stopped it.</summary>
    private void Continue()
    {
        if (_isPaused && !_isEnding)
        {
            _isPaused = false;
            Parse();
        }
        CloseIfDone();
    }

    /// <summary>Ends the connection without a word: its peer is gone. Requests in the device still finish.</summary>
    public void Break()
    {
        _isBroken = _isEnding = true;
        LinuxSocket.Shutdown(_socket, LinuxSocket.ShutdownBoth);
        DropReplies();
        CloseIfDone();
    }

    private void DropReplies()
    {
        var head = _replyHead;
        _replyHead = _replyTail = null;
        RetireAll(head);
    }

    private void RetireAll(NbdRequest? request)
    {
        while (request is not null)
        {
            var next = request.NextReply;
            Retire(request);
            request = next;
        }
    }

    private NbdRequest Take()
    {
        if (!_idle.TryPop(out var request))
            request = new NbdRequest(this);
        request.Begin();
        _inFlight++;
        return request;
    }

    private void Retire(NbdRequest request)
    {
        var memory = request.Memory;
        BytesInFlight -= memory.SizeBytes;
        _loop.Buffers.Return(request.ReplyPayload);
        request.Memory = request.ReplyPayload = default;
        PutBack(request);
        if (!memory.IsEmpty)
            _memory.Give(memory);
    }

    private void PutBack(NbdRequest request)
    {
        request.NextReply = null;
        _inFlight--;
        _idle.Push(request);
    }

    private void CloseIfDone()
    {
        if (!_isEnding || _isClosed || _isReceiving || _isSending || _isKicked || _isParsing || _inFlight > 0)
            return;
        _isClosed = true;
        _memory.Leave(this);
        LinuxSocket.Close(_socket);
        _loop.Buffers.Return(_input);
        foreach (var request in _idle)
            request.Free();
        NativeMemory.Free(_vectors);
        NativeMemory.Free(_message);
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

    private sealed class SendCompletion(NbdTransmission owner) : IoCompletion
    {
        public override void Complete(int result) => owner.Sent(result);
    }

    private sealed class SendKick(NbdTransmission owner) : IoCompletion
    {
        public override void Complete(int result) => owner.SendQueued();
    }
}
