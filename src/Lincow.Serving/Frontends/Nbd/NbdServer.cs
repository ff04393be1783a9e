using Lincow.Linux;
using Lincow.Serving.Exports;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// The NBD clients of a host: shakes hands with them on one loop, and hands each to the loop of the export that it chose. Exports come and
/// go while it serves. <see cref="Take"/> and <see cref="Stop"/> run on the loop in front, <see cref="EndAsync"/> and the rest on any
/// thread.
/// </summary>
internal sealed class NbdServer(IoLoop loop, ExportTable exports, Action<string> log)
{
    private readonly HashSet<NbdConnection> _shaking = [];
    private readonly Lock _gate = new();
    private readonly Dictionary<IoLoop, Owner> _owners = [];
    private readonly Dictionary<Export, Intake> _intakes = [];
    private int _connections, _strangers;
    private volatile bool _isStopping;
    private Action? _stopped;

    internal IoLoop Loop => loop;

    internal ExportTable Exports => exports;

    /// <summary>The memory of those who shake hands.</summary>
    internal NbdMemory Memory
    {
        get
        {
            lock (_gate)
                return field ??= OwnerOf(loop).Memory;
        }
    }

    /// <summary>Connections that are open now.</summary>
    public int ConnectionCount => Volatile.Read(ref _connections);

    /// <summary>Clients of an export that are connected now.</summary>
    public int ClientsOf(Export export)
    {
        lock (_gate)
            return _intakes.TryGetValue(export, out var intake) ? intake.Open : 0;
    }

    /// <summary>Takes over the socket of somebody who has connected.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="tls">TLS, if it is offered where the connection came in.</param>
    public void Take(int socket, TlsSettings? tls)
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
        if (NbdConnection.TryOpen(this, socket, isTrusted, tls) is not { } connection)
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
    /// Ends handshakes, takes no further requests, and calls back (on the loop in front) when every request in flight has been answered and
    /// every connection is closed. Nobody may be accepted any more.
    /// </summary>
    public void Stop(Action stopped)
    {
        _stopped = stopped;
        _isStopping = true;
        foreach (var connection in _shaking.ToArray())
            connection.Close();
        Export[] served;
        lock (_gate)
            served = [.. _intakes.Select(intake => intake.Key)];
        foreach (var export in served)
            _ = EndAsync(export);
        ReportIfStopped();
    }

    /// <summary>
    /// Takes no further requests for an export, and no further clients. Ends when what is in flight has been answered and no client of it
    /// is connected any more. Others notice nothing.
    /// </summary>
    public Task EndAsync(Export export)
    {
        List<NbdTransmission> open;
        Intake intake;
        lock (_gate)
        {
            intake = IntakeOf(export);
            export.IsEnding = true;
            if (intake.Open == 0)
                intake.Drained.TrySetResult();
            open = _owners.TryGetValue(export.Loop, out var owner)
                ? [.. owner.Open.Where(place => place.Export == export && place.Transmission is not null)
                    .Select(place => place.Transmission!)] : [];
        }
        if (open.Count > 0)
            export.Loop.Post(() => open.ForEach(transmission => transmission.End()));
        return intake.Drained.Task;
    }

    /// <summary>An export has ended, and nothing of it need be known any more.</summary>
    /// <param name="export">The export.</param>
    /// <param name="isLoopEnding">Nothing else is on its loop either.</param>
    public void Forget(Export export, bool isLoopEnding)
    {
        lock (_gate)
        {
            _intakes.Remove(export);
            if (isLoopEnding)
                _owners.Remove(export.Loop);
        }
    }

    /// <summary>A loop has been abandoned: clients of its devices see their connections end. On the thread that ran the loop.</summary>
    public void LoseLoop(IoLoop lost)
    {
        OpenPlace[] open;
        lock (_gate)
        {
            if (!_owners.TryGetValue(lost, out var owner))
                return;
            open = [.. owner.Open];
            owner.Open.Clear();
            foreach (var place in open)
                Left(place);
        }
        foreach (var place in open)
        {
            // The descriptor stays: what the kernel still does with it ends in this process's memory.
            // mutation: lost-connections-kept-open
            LinuxSocket.Shutdown(place.Socket, LinuxSocket.ShutdownBoth);
            ConnectionClosed(place.IsTrusted);
        }
    }

    internal void Log(string message) => log(message);

    /// <summary>
    /// Puts TLS between a client's socket and the one that speaks plain text from now on; false when there is no memory for that.
    /// </summary>
    internal bool TryWrap(int socket, TlsSettings tls, bool isTrusted, out int plain)
    {
        plain = -1;
        if (!Memory.TryReserve(NbdProtocol.TlsBytes, isTrusted))
            return false;
        try
        {
            plain = tls.Wrap(socket, log, Ended);
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
        var isTrusted = connection.IsTrusted || (handshake.IsTlsActive && connection.Tls!.KnowsClients);
        CountStranger(connection.IsTrusted, -1);
        CountStranger(isTrusted, 1);
        var export = handshake.Export!;
        var place = new OpenPlace(socket, export, isTrusted);
        Owner owner;
        lock (_gate)
        {
            // mutation: late-client-of-a-removed-export-let-in
            if (_isStopping || export.IsEnding)
            {
                // It was removed while the client chose it.
                LinuxSocket.Close(socket);
                ConnectionClosed(isTrusted);
                return;
            }
            IntakeOf(export).Open++;
            owner = OwnerOf(export.Loop);
            owner.Open.Add(place);
        }
        if (export.Loop == loop)
            Begin();
        else
            export.Loop.Post(Begin);
        // It may have been abandoned a moment ago, and then nobody else would end this connection.
        // mutation: late-client-of-a-lost-loop-waits
        if (export.Loop.IsAbandoned && Leave())
            LinuxSocket.Close(socket);

        void Begin()
        {
            var transmission = NbdTransmission.TryOpen(export.Loop, owner.Memory, socket, handshake.Terms with { IsTrusted = isTrusted },
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
            if (export.IsEnding)
                transmission.End();
        }

        bool Leave()
        {
            lock (_gate)
            {
                if (!owner.Open.Remove(place))
                    return false;
                Left(place);
            }
            ConnectionClosed(isTrusted);
            return true;
        }
    }

    // Under the gate.
    private Owner OwnerOf(IoLoop owner)
    {
        if (!_owners.TryGetValue(owner, out var known))
            _owners.Add(owner, known = new Owner(owner));
        return known;
    }

    // Under the gate.
    private Intake IntakeOf(Export export)
    {
        if (!_intakes.TryGetValue(export, out var known))
            _intakes.Add(export, known = new Intake());
        return known;
    }

    // Under the gate.
    private void Left(OpenPlace place)
    {
        var intake = IntakeOf(place.Export);
        intake.Open--;
        if (place.Export.IsEnding && intake.Open == 0)
            intake.Drained.TrySetResult();
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
        if (!_isStopping || Volatile.Read(ref _connections) > 0 || _stopped is not { } stopped)
            return;
        _stopped = null;
        stopped();
    }

    /// <summary>A loop that devices are on, and the connections to them.</summary>
    private sealed class Owner(IoLoop loop)
    {
        public NbdMemory Memory { get; } = new(loop);

        public HashSet<OpenPlace> Open { get; } = [];
    }

    /// <summary>The clients of one export.</summary>
    private sealed class Intake
    {
        public int Open { get; set; }

        public TaskCompletionSource Drained { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>A connection after its handshake; its transmission begins a moment later, on the loop of the export.</summary>
    private sealed class OpenPlace(int socket, Export export, bool isTrusted)
    {
        public Export Export => export;

        public int Socket => socket;

        public bool IsTrusted => isTrusted;

        public NbdTransmission? Transmission { get; set; }
    }
}
