using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>A connection until its transmission begins: feeds the handshake, answers for it, and keeps its deadline.</summary>
internal sealed unsafe class NbdConnection : IoCompletion
{
    /// <summary>Enough for the usual options; grows when a longer one comes.</summary>
    private const int InitialBytes = 4096;

    private readonly NbdServer _server;
    private readonly NbdHandshake _handshake;
    private readonly NativeBuffer _messageRoom;
    private int _socket;
    private NativeBuffer _input, _output;
    private int _inputLength;
    private HandshakeStep _after = HandshakeStep.Receive;
    private Operation _operation;
    private Deadline? _deadline;
    private bool _isClosing, _isDone;

    private NbdConnection(NbdServer server, int socket, bool isTrusted, TlsSettings? tls, NativeBuffer input, NativeBuffer messageRoom)
    {
        (_server, _socket, IsTrusted, Tls, _input, _messageRoom) = (server, socket, isTrusted, tls, input, messageRoom);
        _handshake = new NbdHandshake(server.Exports, tls is null ? TlsMode.None : tls.IsRequired ? TlsMode.Required : TlsMode.Offered);
    }

    /// <summary>A connection with the memory that it needs at first; null, and the socket the caller's still, when there is none.</summary>
    public static NbdConnection? TryOpen(NbdServer server, int socket, bool isTrusted, TlsSettings? tls)
    {
        if (!server.Memory.TryReserve(NbdProtocol.HandshakeBytes, isTrusted))
            return null;
        var buffers = server.Loop.Buffers;
        if (buffers.TryRent(InitialBytes, out var input))
        {
            if (buffers.TryRent(NbdSender.RoomFor(1), out var messageRoom))
                return new NbdConnection(server, socket, isTrusted, tls, input, messageRoom);
            buffers.Return(input);
        }
        server.Memory.Unreserve(NbdProtocol.HandshakeBytes, isTrusted);
        return null;
    }

    /// <summary>It came by a Unix socket.</summary>
    public bool IsTrusted { get; }

    /// <summary>TLS, if it is offered to this client.</summary>
    public TlsSettings? Tls { get; }

    private MessageHeader* Message => (MessageHeader*)_messageRoom.Address;

    private IoVector* Vector => (IoVector*)(Message + 1);

    public void Start()
    {
        _deadline = new Deadline { Connection = this };
        _server.Loop.Delay(NbdProtocol.HandshakeMilliseconds, _deadline);
        _handshake.Greet();
        Send(HandshakeStep.Receive);
    }

    /// <summary>Ends the handshake; what is in flight ends first.</summary>
    public void Close()
    {
        if (_isDone || _isClosing)
            return;
        _isClosing = true;
        LinuxSocket.Shutdown(_socket, LinuxSocket.ShutdownBoth);
        if (_operation == Operation.None)
            Finish();
    }

    public override void Complete(int result)
    {
        var operation = _operation;
        _operation = Operation.None;
        if (_isClosing || (result <= 0 && result != -Errno.Interrupted && result != -Errno.Again))
            Finish();
        else if (operation == Operation.Send)
            Sent(result);
        else
            Received(result);
    }

    private void Received(int result)
    {
        if (result > 0)
            _inputLength += result;
        var step = _handshake.Advance(new ReadOnlySpan<byte>((void*)_input.Address, _inputLength), out var consumed);
        _inputLength -= consumed;
        NativeMemory.Copy((void*)(_input.Address + consumed), (void*)_input.Address, (nuint)_inputLength);
        Send(step);
    }

    private void Advance() => Received(0);

    private void Send(HandshakeStep after)
    {
        _after = after;
        var output = _handshake.Output;
        if (output.IsEmpty)
        {
            Next();
            return;
        }
        if (!_server.Loop.Buffers.TryRent(output.Length, out _output))
        {
            Finish();
            return;
        }
        output.CopyTo(new Span<byte>((void*)_output.Address, output.Length));
        *Vector = new IoVector { Base = _output.Address, Length = (nuint)output.Length };
        *Message = new MessageHeader { Vectors = Vector, VectorCount = 1 };
        _handshake.ClearOutput();
        StartSend();
    }

    private void StartSend()
    {
        _operation = Operation.Send;
        _server.Loop.Send(_socket, Message, this);
    }

    private void Sent(int result)
    {
        if (result > 0)
        {
            Vector->Base += result;
            Vector->Length -= (nuint)result;
        }
        if (Vector->Length > 0)
        {
            StartSend();
            return;
        }
        _server.Loop.Buffers.Return(_output);
        _output = default;
        Next();
    }

    private void Next()
    {
        switch (_after)
        {
            case HandshakeStep.Answer:
                Advance();
                break;
            case HandshakeStep.Receive:
                if (_inputLength == _input.SizeBytes && !TryGrow())
                {
                    Finish();
                    break;
                }
                _operation = Operation.Receive;
                _server.Loop.Receive(_socket, _input.Address + _inputLength, (int)_input.SizeBytes - _inputLength, this);
                break;
            case HandshakeStep.Transmit:
                var rest = new ReadOnlySpan<byte>((void*)_input.Address, _inputLength).ToArray();
                var socket = _socket;
                Free();
                _server.Transmit(this, socket, _handshake, rest);
                break;
            case HandshakeStep.StartTls:
                StartTls();
                break;
            default:
                Finish();
                break;
        }
    }

    private void StartTls()
    {
        try
        {
            if (!_server.TryWrap(_socket, Tls!, IsTrusted, out var plain))
            {
                _server.Log("TLS: there is no memory for one more connection");
                Finish();
                return;
            }
            _socket = plain;
        }
        catch (LinuxException e)
        {
            _server.Log($"TLS: {e.Message}");
            Finish();
            return;
        }
        Send(HandshakeStep.Receive);
    }

    private bool TryGrow()
    {
        if (!_server.Loop.Buffers.TryRent(_input.SizeBytes * 2, out var larger))
            return false;
        NativeMemory.Copy((void*)_input.Address, (void*)larger.Address, (nuint)_inputLength);
        _server.Loop.Buffers.Return(_input);
        _input = larger;
        return true;
    }

    private void Finish()
    {
        if (_isDone)
            return;
        LinuxSocket.Close(_socket);
        Free();
        _server.HandshakeEnded(this);
    }

    private void Free()
    {
        _isDone = true;
        // The timer outlives the connection; it must not keep it.
        _deadline!.Connection = null;
        _server.Loop.Buffers.Return(_input);
        _server.Loop.Buffers.Return(_output);
        _server.Loop.Buffers.Return(_messageRoom);
        _server.Memory.Unreserve(NbdProtocol.HandshakeBytes, IsTrusted);
    }

    private enum Operation
    {
        None,
        Receive,
        Send,
    }

    /// <summary>A client that connects and then says nothing doesn't keep its place for ever.</summary>
    private sealed class Deadline : IoCompletion
    {
        public NbdConnection? Connection { get; set; }

        public override void Complete(int result) => Connection?.Close();
    }
}
