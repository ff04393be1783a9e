using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Frontends.Nbd;

/// <summary>A connection until its transmission begins: feeds the handshake, answers for it, and keeps its deadline.</summary>
internal sealed unsafe class NbdConnection : IoCompletion
{
    /// <summary>Enough for the usual options; grows when a longer one comes.</summary>
    private const int InitialBytes = 4096;

    private readonly NbdServer _server;
    private readonly NbdHandshake _handshake;
    private readonly IoVector* _vector;
    private readonly MessageHeader* _message;
    private int _socket;
    private NativeBuffer _input, _output;
    private int _inputLength;
    private HandshakeStep _after = HandshakeStep.Receive;
    private Operation _operation;
    private Deadline? _deadline;
    private bool _isClosing, _isDone;

    public NbdConnection(NbdServer server, int socket)
    {
        (_server, _socket) = (server, socket);
        _handshake = new NbdHandshake(server.Exports, server.TlsMode);
        _input = server.Loop.Buffers.Rent(InitialBytes);
        _vector = (IoVector*)NativeMemory.Alloc((nuint)sizeof(IoVector));
        _message = (MessageHeader*)NativeMemory.AllocZeroed((nuint)sizeof(MessageHeader));
    }

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

    private void Send(HandshakeStep after)
    {
        _after = after;
        var output = _handshake.Output;
        if (output.IsEmpty)
        {
            Next();
            return;
        }
        _output = _server.Loop.Buffers.Rent(output.Length);
        output.CopyTo(new Span<byte>((void*)_output.Address, output.Length));
        *_vector = new IoVector { Base = _output.Address, Length = (nuint)output.Length };
        *_message = new MessageHeader { Vectors = _vector, VectorCount = 1 };
        _handshake.ClearOutput();
        StartSend();
    }

    private void StartSend()
    {
        _operation = Operation.Send;
        _server.Loop.Send(_socket, _message, this);
    }

    private void Sent(int result)
    {
        if (result > 0)
        {
            _vector->Base += result;
            _vector->Length -= (nuint)result;
        }
        if (_vector->Length > 0)
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
            case HandshakeStep.Receive:
                if (_inputLength == _input.SizeBytes)
                    Grow();
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
            _socket = _server.Tls!.Wrap(_socket, _server.Log);
        }
        catch (LinuxException e)
        {
            _server.Log($"TLS: {e.Message}");
            Finish();
            return;
        }
        Send(HandshakeStep.Receive);
    }

    private void Grow()
    {
        var larger = _server.Loop.Buffers.Rent(_input.SizeBytes * 2);
        NativeMemory.Copy((void*)_input.Address, (void*)larger.Address, (nuint)_inputLength);
        _server.Loop.Buffers.Return(_input);
        _input = larger;
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
        NativeMemory.Free(_vector);
        NativeMemory.Free(_message);
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
