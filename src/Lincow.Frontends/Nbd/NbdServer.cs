using Lincow.Linux;

namespace Lincow.Frontends.Nbd;

/// <summary>
/// Accepts connections on one loop, shakes hands there, and hands each to the loop of the export that it chose.
/// Start, Listen and Stop run on the accepting loop's thread.
/// </summary>
public sealed class NbdServer(IoLoop loop, NbdExports exports, TlsSettings? tls, Action<string> log)
{
    private readonly List<Listener> _listeners = [];
    private readonly HashSet<NbdConnection> _shaking = [];
    private readonly Lock _gate = new();
    private readonly HashSet<(IoLoop Loop, NbdTransmission Transmission)> _transmitting = [];
    private readonly Dictionary<IoLoop, NbdMemory> _memories = exports.All.Select(export => export.Loop).Distinct().ToDictionary(owner => owner, owner => new NbdMemory(owner));
    private int _connections;
    private volatile bool _isStopping;
    private Action? _stopped;

    internal IoLoop Loop => loop;

    internal NbdExports Exports => exports;

    internal TlsSettings? Tls => tls;

    internal TlsMode TlsMode => tls is null ? TlsMode.None : tls.IsRequired ? TlsMode.Required : TlsMode.Offered;

    /// <summary>Connections that are open now.</summary>
    public int ConnectionCount => Volatile.Read(ref _connections);

    /// <summary>Accepts connections from a listening socket, which the server closes in the end.</summary>
    public void Listen(int descriptor)
    {
        var listener = new Listener(this, descriptor);
        _listeners.Add(listener);
        listener.Arm();
    }

    /// <summary>
    /// Accepts no more, ends handshakes, takes no further requests, and calls back (on the accepting loop) when every request in flight has been
    /// answered and every connection is closed.
    /// </summary>
    public void Stop(Action stopped)
    {
        _stopped = stopped;
        _isStopping = true;
        foreach (var listener in _listeners)
            listener.Stop();
        foreach (var connection in _shaking.ToArray())
            connection.Close();
        (IoLoop Loop, NbdTransmission Transmission)[] open;
        lock (_gate)
            open = [.. _transmitting];
        foreach (var (owner, transmission) in open)
            owner.Post(transmission.End);
        ReportIfStopped();
    }

    internal void Log(string message) => log(message);

    private void Accepted(int socket)
    {
        if (_isStopping || _connections >= NbdProtocol.MaxConnections)
        {
            if (!_isStopping)
                log($"more than {NbdProtocol.MaxConnections} connections; a new one was closed");
            LinuxSocket.Close(socket);
            return;
        }
        Interlocked.Increment(ref _connections);
        LinuxSocket.DisableNagle(socket);
        LinuxSocket.SetSendBufferBytes(socket, NbdProtocol.SendBufferBytes);
        var connection = new NbdConnection(this, socket);
        _shaking.Add(connection);
        connection.Start();
    }

    internal void HandshakeEnded(NbdConnection connection)
    {
        if (_shaking.Remove(connection))
            ConnectionClosed();
    }

    /// <summary>Moves a connection to the loop of its export.</summary>
    internal void Transmit(NbdConnection connection, int socket, NbdHandshake handshake, byte[] rest)
    {
        _shaking.Remove(connection);
        var owner = handshake.Export!.Loop;
        if (owner == loop)
            Begin();
        else
            owner.Post(Begin);

        void Begin()
        {
            (IoLoop, NbdTransmission) entry = default;
            var transmission = new NbdTransmission(owner, _memories[owner], socket, handshake.Terms, rest, () =>
            {
                lock (_gate)
                    _transmitting.Remove(entry);
                ConnectionClosed();
            });
            entry = (owner, transmission);
            lock (_gate)
                _transmitting.Add(entry);
            transmission.Start();
            if (_isStopping)
                transmission.End();
        }
    }

    private void ConnectionClosed()
    {
        Interlocked.Decrement(ref _connections);
        if (_isStopping)
            loop.Post(ReportIfStopped);
    }

    private void ReportIfStopped()
    {
        if (!_isStopping || Volatile.Read(ref _connections) > 0 || _listeners.Any(listener => !listener.IsStopped) || _stopped is not { } stopped)
            return;
        _stopped = null;
        stopped();
    }

    private sealed class Listener(NbdServer server, int descriptor) : IoCompletion
    {
        /// <summary>Out of descriptors or memory: others have to leave first.</summary>
        private const int RetryMilliseconds = 100;

        private bool _isStopping, _isWaiting;

        public bool IsStopped { get; private set; }

        public void Arm() => server.Loop.Accept(descriptor, this);

        public void Stop()
        {
            _isStopping = true;
            LinuxSocket.Shutdown(descriptor, LinuxSocket.ShutdownBoth);
        }

        public override void Complete(int result)
        {
            if (_isStopping)
            {
                if (result >= 0 && !_isWaiting)
                    LinuxSocket.Close(result);
                LinuxSocket.Close(descriptor);
                IsStopped = true;
                server.ReportIfStopped();
                return;
            }
            if (_isWaiting)
            {
                _isWaiting = false;
                Arm();
                return;
            }
            if (result >= 0)
            {
                server.Accepted(result);
                Arm();
            }
            else if (result is -Errno.Interrupted or -Errno.Again or -Errno.ConnectionReset or -103)
            {
                Arm();
            }
            else
            {
                server.Log($"accepting a connection failed: {Errno.Describe(-result)}");
                _isWaiting = true;
                server.Loop.Delay(RetryMilliseconds, this);
            }
        }
    }
}
