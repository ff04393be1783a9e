using System.Text.Json;
using Lincow.Linux;

namespace Lincow.Serving.Control;

/// <summary>Answers a request; the reply may come later and from any thread, once.</summary>
internal delegate void ControlHandler(ControlRequest request, Action<ControlReply> reply);

/// <summary>
/// The control socket of a serving process, on one of its loops: a client sends one line of JSON and gets one back
/// (<see cref="ControlRequest"/>,
/// <see cref="ControlReply"/>). Listen and Stop run on the loop's thread.
/// </summary>
internal sealed unsafe class ControlServer(IoLoop loop, ControlHandler handle, Action<string> log)
{
    /// <summary>Clients at once; each takes a page, and others wait until one has gone.</summary>
    private const int MaxClients = 64;

    private const int MaxLineBytes = 4096;

    /// <summary>How long clients may take over their replies when the server ends.</summary>
    internal const int GraceMilliseconds = 2000;

    private readonly HashSet<Client> _clients = [];
    private Acceptor? _acceptor;
    private Action? _stopped;
    private bool _isStopping;

    /// <summary>Takes requests from a listening socket, which the server closes in the end.</summary>
    public void Listen(int descriptor)
    {
        _acceptor = new Acceptor(loop, descriptor, Take, reason => log($"accepting a question {reason}"));
        _acceptor.Resume();
    }

    /// <summary>Takes no further request. Who has asked already is still answered.</summary>
    public void StopAsking()
    {
        if (_isStopping)
            return;
        _isStopping = true;
        _acceptor?.Stop(() =>
        {
            _acceptor = null;
            ReportIfStopped();
        });
        foreach (var client in _clients.ToArray())
            client.StopListening();
    }

    /// <summary>
    /// Calls back when every reply has been sent and every socket is closed. A client that takes longer than
    /// <see cref="GraceMilliseconds"/> over its reply, or waits for one that doesn't come, is cut off.
    /// </summary>
    public void Stop(Action stopped)
    {
        StopAsking();
        _stopped = stopped;
        // mutation: control-client-is-waited-for
        loop.Delay(GraceMilliseconds, new Grace(this));
        ReportIfStopped();
    }

    private void CutOff()
    {
        foreach (var client in _clients.ToArray())
            client.CutOff();
    }

    private bool Take(int socket)
    {
        var (line, message) = (default(NativeBuffer), default(NativeBuffer));
        if (!loop.Buffers.TryRent(MaxLineBytes, out line) || !loop.Buffers.TryRent(sizeof(MessageHeader) + sizeof(IoVector), out message))
        {
            loop.Buffers.Return(line);
            LinuxSocket.Close(socket);
            return true;
        }
        var client = new Client(this, socket, line, message);
        _clients.Add(client);
        client.Start();
        return _clients.Count < MaxClients;
    }

    private void Closed(Client client)
    {
        _clients.Remove(client);
        _acceptor?.Resume();
        ReportIfStopped();
    }

    private void ReportIfStopped()
    {
        if (_stopped is null || _clients.Count > 0 || _acceptor is not null)
            return;
        var stopped = _stopped;
        _stopped = null;
        stopped();
    }

    private IoLoop Loop => loop;

    /// <summary>One client: a line, its answer, the end.</summary>
    private sealed class Client(ControlServer server, int socket, NativeBuffer line, NativeBuffer message) : IoCompletion
    {
        private readonly NativeBuffer _line = line, _message = message;
        private NativeBuffer _reply;
        private int _received, _left;
        private ClientStage _stage;
        private bool _isClosed;

        public void Start() => server.Loop.Receive(socket, _line.Address + _received, MaxLineBytes - _received, this);

        /// <summary>Whoever has not asked yet won't be answered; whoever has, will.</summary>
        public void StopListening()
        {
            if (_stage == ClientStage.Receiving)
                LinuxSocket.Shutdown(socket, LinuxSocket.ShutdownBoth);
        }

        /// <summary>Nobody waits for it any longer.</summary>
        public void CutOff()
        {
            // What is under way on the socket ends by that, and closes it.
            LinuxSocket.Shutdown(socket, LinuxSocket.ShutdownBoth);
            if (_stage == ClientStage.Working)
                Close();
        }

        public override void Complete(int result)
        {
            if (result is -Errno.Interrupted or -Errno.Again)
                result = 0;
            else if (result <= 0)
            {
                Close();
                return;
            }
            if (_stage == ClientStage.Receiving)
                Received(result);
            else
                Sent(result);
        }

        private void Received(int byteCount)
        {
            _received += byteCount;
            var text = new ReadOnlySpan<byte>((void*)_line.Address, _received);
            var end = text.IndexOf((byte)'\n');
            if (end < 0 && _received < MaxLineBytes)
            {
                Start();
                return;
            }
            _stage = ClientStage.Working;
            ControlRequest? request = null;
            try
            {
                request = end < 0 ? null : JsonSerializer.Deserialize(text[..end], ControlJson.Default.ControlRequest);
            }
            catch (JsonException)
            {
                // Said below.
            }
            if (request is not { Verb: not null })
                Answer(ControlReply.Of(ControlErrors.NoRequest()));
            else
                Handle(request);
        }

        // What goes wrong over a question is an answer: it must not end what is served.
        private void Handle(ControlRequest request)
        {
            try
            {
                server.Handle(request, reply => server.Loop.Post(() => Answer(reply)));
            }
            // mutation: question-ends-the-server
            catch (Exception e)
            {
                Answer(ControlReply.Of(ControlErrors.RequestFailed(request.Verb, e)));
            }
        }

        private void Answer(ControlReply reply)
        {
            if (_isClosed || _stage != ClientStage.Working)
                return;
            var bytes = JsonSerializer.SerializeToUtf8Bytes(reply, ControlJson.Default.ControlReply);
            if (!server.Loop.Buffers.TryRent(bytes.Length + 1, out _reply))
            {
                Close();
                return;
            }
            bytes.CopyTo(new Span<byte>((void*)_reply.Address, bytes.Length));
            *((byte*)_reply.Address + bytes.Length) = (byte)'\n';
            (_stage, _left) = (ClientStage.Sending, bytes.Length + 1);
            var vector = (IoVector*)(_message.Address + sizeof(MessageHeader));
            *vector = new IoVector { Base = _reply.Address, Length = (nuint)_left };
            *(MessageHeader*)_message.Address = new MessageHeader { Vectors = vector, VectorCount = 1 };
            Send();
        }

        private void Send() => server.Loop.Send(socket, (MessageHeader*)_message.Address, this);

        private void Sent(int byteCount)
        {
            _left -= byteCount;
            if (_left == 0)
            {
                Close();
                return;
            }
            var vector = ((MessageHeader*)_message.Address)->Vectors;
            vector->Base += byteCount;
            vector->Length -= (nuint)byteCount;
            Send();
        }

        private void Close()
        {
            _isClosed = true;
            LinuxSocket.Close(socket);
            server.Loop.Buffers.Return(_line);
            server.Loop.Buffers.Return(_message);
            server.Loop.Buffers.Return(_reply);
            server.Closed(this);
        }
    }

    private void Handle(ControlRequest request, Action<ControlReply> reply) => handle(request, reply);

    /// <summary>The time after which nobody is waited for.</summary>
    private sealed class Grace(ControlServer server) : IoCompletion
    {
        public override void Complete(int result) => server.CutOff();
    }

    private enum ClientStage
    {
        Receiving,

        /// <summary>Somebody is at work on the answer.</summary>
        Working,
        Sending,
    }
}
