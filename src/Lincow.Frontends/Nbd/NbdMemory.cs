using Lincow.Linux;

namespace Lincow.Frontends.Nbd;

/// <summary>
/// The memory of all connections on one loop: a budget, and who waits for room in it. Clients that let their replies lie while others wait for
/// the memory that these hold are cut off, so that nobody's silence becomes another's trouble.
/// </summary>
internal sealed class NbdMemory(IoLoop loop) : IoCompletion
{
    /// <summary>Buffers of requests in all connections of a loop.</summary>
    private const long BudgetBytes = 1L << 30;

    /// <summary>A connection without a request in flight may always have one of this size.</summary>
    private const long AlwaysBytes = 64 << 10;

    /// <summary>How long a client may leave a reply untouched while others wait for memory.</summary>
    private const long StallMilliseconds = 10_000;

    private const int WatchMilliseconds = 1000;

    private readonly HashSet<NbdTransmission> _members = [];
    private readonly Queue<NbdTransmission> _waiting = new();
    private long _usedBytes;
    private bool _isWatching, _isWaking;

    public void Join(NbdTransmission member) => _members.Add(member);

    public void Leave(NbdTransmission member) => _members.Remove(member);

    /// <summary>Whether a request of this size may have its memory now; otherwise the connection is woken when that may have changed.</summary>
    public bool MayTake(NbdTransmission owner, long byteCount)
    {
        if (_usedBytes + byteCount <= BudgetBytes || (byteCount <= AlwaysBytes && owner.BytesInFlight == 0))
            return true;
        _waiting.Enqueue(owner);
        if (!_isWatching)
        {
            _isWatching = true;
            loop.Delay(WatchMilliseconds, this);
        }
        return false;
    }

    public NativeBuffer Take(long byteCount)
    {
        var buffer = loop.Buffers.Rent(byteCount);
        _usedBytes += buffer.SizeBytes;
        return buffer;
    }

    public void Give(NativeBuffer buffer)
    {
        _usedBytes -= buffer.SizeBytes;
        loop.Buffers.Return(buffer);
        if (_isWaking)
            return;
        _isWaking = true;
        for (var count = _waiting.Count; count > 0; count--)
            _waiting.Dequeue().MemoryCameFree();
        _isWaking = false;
    }

    /// <summary>The watch: as long as somebody waits, stalled connections are looked for.</summary>
    public override void Complete(int result)
    {
        var now = Environment.TickCount64;
        foreach (var member in _members.ToArray())
        {
            if (member.SendingSince is { } since && now - since > StallMilliseconds)
                member.Break();
        }
        _isWatching = _waiting.Count > 0;
        if (_isWatching)
            loop.Delay(WatchMilliseconds, this);
    }
}
