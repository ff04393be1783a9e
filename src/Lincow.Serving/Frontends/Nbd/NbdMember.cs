namespace Lincow.Serving.Frontends.Nbd;

/// <summary>A connection as <see cref="NbdMemory"/> sees it: what it holds, what it waits for, and whether its client gets on.</summary>
/// <param name="isTrusted">Whoever is at the other end has been let in by the file system or by a certificate: not anybody who reaches a
/// TCP port.</param>
internal abstract class NbdMember(bool isTrusted)
{
    public bool IsTrusted { get; } = isTrusted;

    /// <summary>Bytes of requests that this connection has been charged for.</summary>
    public long HeldBytes { get; private set; }

    /// <summary>What it waits for; 0 when it doesn't wait.</summary>
    public long WantedBytes { get; private set; }

    /// <summary>The payload that the client is sending, and the replies that it is to take.</summary>
    public NbdFlow Payload, Replies;

    /// <summary>What <see cref="WantedBytes"/> said has been charged: it goes on with that.</summary>
    public abstract void MemoryCame();

    /// <summary>Ends the connection: its client keeps memory that others wait for, and doesn't get on.</summary>
    public abstract void CutOff();

    // NbdMemory's own.
    internal long ReservedBytes, TurnBytes;
    internal NbdMember? NextWaiting, PreviousWaiting;

    internal void Hold(long byteCount) => HeldBytes += byteCount;

    internal void Want(long byteCount) => WantedBytes = byteCount;
}

/// <summary>How fast a client sends or takes something that it is waited for.</summary>
internal struct NbdFlow
{
    private long _since, _moved;
    private bool _isAwaited;

    /// <summary>From now on it is the client's turn; goes on if it has been.</summary>
    public void Await()
    {
        if (_isAwaited)
            return;
        (_isAwaited, _since, _moved) = (true, Environment.TickCount64, 0);
    }

    public void Move(long byteCount) => _moved += byteCount;

    /// <summary>Nothing is expected of the client.</summary>
    public void Rest() => _isAwaited = false;

    /// <summary>
    /// Whether, at its pace, the client would take longer than <paramref name="turnoverMilliseconds"/> for as much as is held for it.
    /// </summary>
    public bool IsTooSlow(long heldBytes, int patienceMilliseconds, long turnoverMilliseconds)
    {
        var now = Environment.TickCount64;
        var time = now - _since;
        if (!_isAwaited || time < patienceMilliseconds)
            return false;
        var isTooSlow = _moved * turnoverMilliseconds < heldBytes * time;
        (_since, _moved) = (now, 0);
        return isTooSlow;
    }
}
