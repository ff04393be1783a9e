using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// Accepts connections on one loop, shakes hands there, and hands each to the loop of the export that it chose.
/// Start, Listen and Stop run on the accepting loop's thread.
/// </summary>
public sealed class NbdServer(IoLoop loop, NbdExports exports, TlsSettings? tls, Action<string> log)
{
    private readonly List<Listener> _listeners = [];
    private readonly HashSet<NbdConnection> _shaking = [];
    private readonly Lock _gate = new();
    private readonly Dictionary<IoLoop, Owner> _owners = exports.All.Select(export => export.Loop).Distinct()
        .ToDictionary(owner => owner, owner => new Owner(owner));
    private NbdMemory? _memory;
    private int _connections, _strangers;
    private volatile bool _isStopping;
    private Action? _stopped;

    internal IoLoop Loop => loop;

    internal NbdExports Exports => exports;

    /// <summary>The memory of those who shake hands.</summary>
    internal NbdMemory Memory => _memory ??= _owners.TryGetValue(loop, out var owner) ? owner.Memory : new NbdMemory(loop);

    internal TlsMode TlsMode => tls is null ? TlsMode.None : tls.IsRequired ? TlsMode.Required : TlsMode.Offered;

    /// <summary>Connections that are open now.</summary>
    public int ConnectionCount => Volatile.Read(ref _connections);

    /// <summary>Clients of a device that are connected now.</summary>
    public int ClientsOf(BlockDevice device)
    {
        lock (_gate)
            return _owners.Values.Sum(owner => owner.Open.Count(place => place.Device == device));
    }

    /// <summary>Accepts connections from a listening socket, which the server closes in the end.</summary>
    public void Listen(int descriptor)
    {
        var listener = new Listener(this, descriptor);
        _listeners.Add(listener);
        listener.Arm();
    }

    /// <summary>
    /// Accepts no more, ends handshakes, takes no further requests, and calls back (on the accepting loop) when every request in flight has
    /// been answered and every connection is closed.
    /// </summary>
    public void Stop(Action stopped)
    {
        _stopped = stopped;
        _isStopping = true;
        foreach (var listener in _listeners)
            listener.Stop();
        foreach (var connection in _shaking.ToArray())
            connection.Close();
        foreach (var owner in _owners.Values)
        {
            List<NbdTransmission> open;
            lock (_gate)
                open = [.. owner.Open.Where(place => place.Transmission is not null).Select(place => place.Transmission!)];
            open.ForEach(transmission => owner.Loop.Post(transmission.End));
            EndIfDrained(owner);
        }
        ReportIfStopped();
    }

    /// <summary>Ends when the server has been stopped and no client of the devices of a loop is connected any more.</summary>
    public Task Drained(IoLoop owner) => _owners.TryGetValue(owner, out var known) ? known.Drained.Task : Task.CompletedTask;

    /// <summary>A loop has been abandoned: clients of its devices see their connections end. On the thread that ran the loop.</summary>
    public void LoseLoop(IoLoop lost)
    {
        if (!_owners.TryGetValue(lost, out var owner))
            return;
        OpenPlace[] open;
        lock (_gate)
        {
            open = [.. owner.Open];
            owner.Open.Clear();
        }
        foreach (var place in open)
        {
            // The descriptor stays: what the kernel still does with it ends in this process's memory.
            // mutation: lost-connections-kept-open
            LinuxSocket.Shutdown(place.Socket, LinuxSocket.ShutdownBoth);
            ConnectionClosed(place.IsTrusted);
        }
        if (_isStopping)
            loop.Post(() => EndIfDrained(owner));
    }

    internal void Log(string message) => log(message);

    private void Accepted(int socket)
    {
        // A Unix socket is its owner's alone; a TCP port is everybody's.
        var isTrusted = LinuxSocket.IsUnix(socket);
        if (_isStopping || _connections >= NbdProtocol.MaxConnections
            || (!isTrusted && Volatile.Read(ref _strangers) >= NbdProtocol.MaxStrangers))
        {
            if (!_isStopping)
                log($"more than {(isTrusted ? NbdProtocol.MaxConnections : NbdProtocol.MaxStrangers)} connections; a new one was closed");
            LinuxSocket.Close(socket);
            return;
        }
        if (!isTrusted)
            LinuxSocket.KeepAlive(socket);
        LinuxSocket.DisableNagle(socket);
        LinuxSocket.SetSendBufferBytes(socket, NbdProtocol.SendBufferBytes);
        if (NbdConnection.TryOpen(this, socket, isTrusted) is not { } connection)
        {
            log("there is no memory for one more connection; a new one was closed");
            LinuxSocket.Close(socket);
            return;
        }
        Interlocked.Increment(ref _connections);
        CountStranger(isTrusted, 1);
        _shaking.Add(connection);
        connection.Start();
    }

    /// <summary>
    /// Puts TLS between a client's socket and the one that speaks plain text from now on; false when there is no memory for that.
    /// </summary>
    internal bool TryWrap(int socket, bool isTrusted, out int plain)
    {
        plain = -1;
        if (!Memory.TryReserve(NbdProtocol.TlsBytes, isTrusted))
            return false;
        try
        {
            plain = tls!.Wrap(socket, log, Ended);
            return true;
        }
        catch (LinuxException)
        {
            Ended();
            throw;
        }

        void Ended()
        {
            // At the end there is nobody left to count for.
            if (!_isStopping)
                loop.Post(() => Memory.Unreserve(NbdProtocol.TlsBytes, isTrusted));
        }
    }

    private void CountStranger(bool isTrusted, int change) => Interlocked.Add(ref _strangers, isTrusted ? 0 : change);

    internal void HandshakeEnded(NbdConnection connection)
    {
        if (_shaking.Remove(connection))
            ConnectionClosed(connection.IsTrusted);
    }

    /// <summary>Moves a connection to the loop of its export.</summary>
    internal void Transmit(NbdConnection connection, int socket, NbdHandshake handshake, byte[] rest)
    {
        _shaking.Remove(connection);
        // Who had to show a certificate, and has come as far as this, is no stranger any more.
        var isTrusted = connection.IsTrusted || (handshake.IsTlsActive && tls!.KnowsClients);
        CountStranger(connection.IsTrusted, -1);
        CountStranger(isTrusted, 1);
        var owner = _owners[handshake.Export!.Loop];
        var place = new OpenPlace(socket, handshake.Export.Device, isTrusted);
        lock (_gate)
            owner.Open.Add(place);
        if (owner.Loop == loop)
            Begin();
        else
            owner.Loop.Post(Begin);
        // It may have been abandoned a moment ago, and then nobody else would end this connection.
        // mutation: late-client-of-a-lost-loop-waits
        if (owner.Loop.IsAbandoned && Leave())
            LinuxSocket.Close(socket);

        void Begin()
        {
            var transmission = NbdTransmission.TryOpen(owner.Loop, owner.Memory, socket, handshake.Terms with { IsTrusted = isTrusted },
                rest, () => Leave());
            if (transmission is null)
            {
                log("there is no memory for one more connection; one was closed after its handshake");
                Leave();
                return;
            }
            lock (_gate)
                place.Transmission = transmission;
            transmission.Start();
            if (_isStopping)
                transmission.End();
        }

        bool Leave()
        {
            bool isMine;
            lock (_gate)
                isMine = owner.Open.Remove(place);
            if (!isMine)
                return false;
            ConnectionClosed(isTrusted);
            if (_isStopping)
                loop.Post(() => EndIfDrained(owner));
            return true;
        }
    }

    private void EndIfDrained(Owner owner)
    {
        lock (_gate)
        {
            if (owner.Open.Count > 0)
                return;
        }
        owner.Drained.TrySetResult();
    }

    private void ConnectionClosed(bool isTrusted)
    {
        Interlocked.Decrement(ref _connections);
        CountStranger(isTrusted, -1);
        if (_isStopping)
            loop.Post(ReportIfStopped);
    }

    private void ReportIfStopped()
    {
        if (!_isStopping || Volatile.Read(ref _connections) > 0 || _listeners.Any(listener => !listener.IsStopped)
            || _stopped is not { } stopped)
            return;
        _stopped = null;
        stopped();
    }

    /// <summary>A loop that devices are on, and the connections to them.</summary>
    private sealed class Owner(IoLoop loop)
    {
        public IoLoop Loop => loop;

        public NbdMemory Memory { get; } = new(loop);

        public HashSet<OpenPlace> Open { get; } = [];

        public TaskCompletionSource Drained { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>A connection behind its handshake; its transmission begins a moment later, on the loop of the export.</summary>
    private sealed class OpenPlace(int socket, BlockDevice device, bool isTrusted)
    {
        public BlockDevice Device => device;

        public int Socket => socket;

        public bool IsTrusted => isTrusted;

        public NbdTransmission? Transmission { get; set; }
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
