using System.Diagnostics;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// The memory of all connections on one loop: everything that a client can make the server hold is charged here before it is taken.
///
///     budget = what connections have for their own | common to all | a turn for strangers | a turn for trusted clients
///
/// Each connection has its buffers and one small request for its own, so it gets on whatever others do. Of what is common, a connection may
/// hold at most <see cref="ShareOfFree"/> times what it leaves free: the more there are, the less each can take, and a newcomer finds
/// something. Strangers, whom nobody has let in, together get no more than half of it. A payload is charged as it arrives, unless there is
/// plenty.
///
/// Whoever finds too little waits in line. The first in line has the turn: memory for one request of the largest size that is kept for
/// this, so large requests end one after the other even if all the rest is held by requests that are half received. As long as somebody
/// waits, clients that keep more than their own and don't get on are cut off: their memory would come back later than
/// <see cref="TurnoverMilliseconds"/>.
/// </summary>
/// <param name="loop">Whose connections they are.</param>
/// <param name="budgetBytes">All of it.</param>
/// <param name="patienceMilliseconds">How long a client is looked at before it is called slow.</param>
internal sealed class NbdMemory(IoLoop loop, long budgetBytes = NbdMemory.BudgetBytes,
    int patienceMilliseconds = NbdMemory.PatienceMilliseconds) : IoCompletion
{
    /// <summary>Memory of all connections of a loop.</summary>
    public const long BudgetBytes = 1L << 30;

    /// <summary>A request's own bookkeeping, its reply's headers included.</summary>
    public const int RequestBytes = 2 << 10;

    /// <summary>What each connection may have for its requests whatever others hold: one of 64 KiB.</summary>
    public const long OwnBytes = (64 << 10) + RequestBytes;

    /// <summary>How long a client may be slow while others wait for memory.</summary>
    public const int PatienceMilliseconds = 10_000;

    /// <summary>Slow is who would take longer than this to send, or take, as many bytes as are held for it.</summary>
    private const long TurnoverMilliseconds = 300_000;

    /// <summary>One request of the largest size, with what belongs to it.</summary>
    private const long TurnBytes = NbdProtocol.MaxPayloadBytes + (1 << 20);

    private const int ShareOfFree = 2;

    /// <summary>A payload of at most this part of what is free is charged whole before it arrives.</summary>
    private const int PartForPlenty = 8;

    /// <summary>Those in line that are looked at in one turn of the loop.</summary>
    private const int MaxLooks = 64;

    /// <summary>Idle request objects that are kept.</summary>
    private const int MaxIdleRequests = 4096;

    private readonly HashSet<NbdMember> _members = [];
    private readonly Stack<NbdRequest> _idle = new(64);
    private readonly Line _trusted = new(), _strangers = new();
    private long _reservedBytes, _strangersReservedBytes, _usedBytes, _strangersUsedBytes;
    private WakeStep? _wake;
    private bool _isWatching, _isWaking, _mustLookAgain;

    /// <summary>Connections that transmit.</summary>
    public int MemberCount => _members.Count;

    /// <summary>All that is charged now.</summary>
    public long ChargedBytes => _reservedBytes + _usedBytes + (_trusted.Turn?.TurnBytes ?? 0) + (_strangers.Turn?.TurnBytes ?? 0);

    private long CommonBytes => budgetBytes - _reservedBytes - 2 * TurnBytes;

    /// <summary>
    /// Sets buffers of a connection aside, for as long as it is there. False when so many have come that there would be nothing left.
    /// </summary>
    public bool TryReserve(long byteCount, bool isTrusted)
    {
        // A quarter is kept for requests, and a part of the rest for those who aren't strangers.
        if (_reservedBytes + byteCount > budgetBytes / 4 * 3 || (!isTrusted && _strangersReservedBytes + byteCount > budgetBytes / 16 * 11))
            return false;
        _reservedBytes += byteCount;
        _strangersReservedBytes += isTrusted ? 0 : byteCount;
        return true;
    }

    /// <summary>Gives back what was reserved.</summary>
    public void Unreserve(long byteCount, bool isTrusted)
    {
        _reservedBytes -= byteCount;
        _strangersReservedBytes -= isTrusted ? 0 : byteCount;
        WakeLater();
    }

    /// <summary>Lets a connection in, with what it has for its own beside its buffers. False: there are too many.</summary>
    public bool TryJoin(NbdMember member, long bufferBytes)
    {
        if (!TryReserve(bufferBytes + OwnBytes, member.IsTrusted))
            return false;
        member.ReservedBytes = bufferBytes + OwnBytes;
        _members.Add(member);
        return true;
    }

    public void Leave(NbdMember member)
    {
        if (!_members.Remove(member))
            return;
        StopWaiting(member);
        Discharge(member, member.HeldBytes);
        Unreserve(member.ReservedBytes, member.IsTrusted);
    }

    /// <summary>
    /// Charges memory, or has the connection wait in line: then it is told when it has been charged. A connection waits for one thing at a
    /// time.
    /// </summary>
    public bool TryCharge(NbdMember member, long byteCount)
    {
        Debug.Assert(member.WantedBytes == 0, "a connection waits for one thing at a time");
        // While those in line are being looked at, nobody goes past them.
        if (Beyond(member, byteCount) == 0 || (!(_isWaking && LineOf(member).First is not null) && MayTake(member, byteCount)))
        {
            Charge(member, byteCount);
            return true;
        }
        member.Want(byteCount);
        LineOf(member).Append(member);
        _mustLookAgain |= _isWaking;
        if (!_isWatching)
        {
            _isWatching = true;
            loop.Delay(WatchMilliseconds, this);
        }
        return false;
    }

    /// <summary>Charges all memory of a payload that has still to come, if there is plenty; never waits.</summary>
    public bool TryChargeAhead(NbdMember member, long byteCount)
    {
        var beyond = Beyond(member, byteCount);
        if (beyond > 0 && (_isWaking || LineOf(member).First is not null
            || Common(member.HeldBytes + byteCount) > Free(member) / PartForPlenty))
            return false;
        Charge(member, byteCount);
        return true;
    }

    public void Discharge(NbdMember member, long byteCount)
    {
        var back = -Beyond(member, -byteCount);
        member.Hold(-byteCount);
        if (back == 0)
            return;
        var turnBack = Math.Min(back, member.TurnBytes);
        member.TurnBytes -= turnBack;
        if (turnBack > 0 && member.TurnBytes == 0)
            LineOf(member).Turn = null;
        _usedBytes -= back - turnBack;
        _strangersUsedBytes -= member.IsTrusted ? 0 : back - turnBack;
        WakeLater();
    }

    /// <summary>Its request has been given up.</summary>
    public void StopWaiting(NbdMember member)
    {
        if (member.WantedBytes == 0)
            return;
        LineOf(member).Remove(member);
        member.Want(0);
        WakeLater();
    }

    public NbdRequest TakeRequest(NbdTransmission owner)
    {
        if (!_idle.TryPop(out var request))
            request = new NbdRequest();
        request.Begin(owner);
        return request;
    }

    public void PutBack(NbdRequest request)
    {
        if (_idle.Count < MaxIdleRequests)
            _idle.Push(request);
    }

    /// <summary>The watch: as long as somebody waits, slow clients are looked for.</summary>
    public override void Complete(int result)
    {
        // Strangers that wait for each other are nothing that others should pay for.
        var isTrustedWaiting = _trusted.First is not null;
        _isWatching = isTrustedWaiting || _strangers.First is not null;
        if (!_isWatching)
            return;
        foreach (var member in _members.ToArray())
        {
            // mutation: nbd-slow-client-kept
            if ((isTrustedWaiting || !member.IsTrusted) && _members.Contains(member) && Common(member.HeldBytes) > 0 && IsTooSlow(member))
                member.CutOff();
        }
        loop.Delay(WatchMilliseconds, this);
    }

    private int WatchMilliseconds => Math.Max(10, patienceMilliseconds / 10);

    private bool IsTooSlow(NbdMember member)
    {
        var isSending = member.Payload.IsTooSlow(member.HeldBytes, patienceMilliseconds, TurnoverMilliseconds);
        return member.Replies.IsTooSlow(member.HeldBytes, patienceMilliseconds, TurnoverMilliseconds) || isSending;
    }

    private static long Common(long heldBytes) => Math.Max(0, heldBytes - OwnBytes);

    /// <summary>How much of a change concerns what is common.</summary>
    private static long Beyond(NbdMember member, long byteCount) => Common(member.HeldBytes + byteCount) - Common(member.HeldBytes);

    private Line LineOf(NbdMember member) => member.IsTrusted ? _trusted : _strangers;

    private long Free(NbdMember member) =>
        // mutation: nbd-strangers-take-all
        member.IsTrusted ? CommonBytes - _usedBytes : Math.Min(CommonBytes - _usedBytes, CommonBytes / 2 - _strangersUsedBytes);

    private bool Fits(NbdMember member, long byteCount) =>
        Common(member.HeldBytes + byteCount) <= ShareOfFree * (Free(member) - Beyond(member, byteCount));

    private bool MayTake(NbdMember member, long byteCount)
    {
        var line = LineOf(member);
        // mutation: nbd-memory-without-shares, nbd-line-without-order
        return Fits(member, byteCount) || line.Turn == member || (line.Turn is null && (line.First is null || line.First == member));
    }

    private void Charge(NbdMember member, long byteCount)
    {
        var beyond = Beyond(member, byteCount);
        if (beyond > 0 && !Fits(member, byteCount))
        {
            LineOf(member).Turn = member;
            member.TurnBytes += beyond;
            Debug.Assert(member.TurnBytes <= TurnBytes, "a turn is one request");
        }
        else
        {
            _usedBytes += beyond;
            _strangersUsedBytes += member.IsTrusted ? 0 : beyond;
        }
        member.Hold(byteCount);
    }

    private void WakeLater()
    {
        if (_trusted.First is null && _strangers.First is null)
            return;
        if (_isWaking)
        {
            _mustLookAgain = true;
            return;
        }
        _isWaking = true;
        LookFromTheFirst();
        loop.CompleteSoon(_wake ??= new WakeStep(this), 0);
    }

    private void LookFromTheFirst() => (_mustLookAgain, _trusted.Next, _strangers.Next) = (false, _trusted.First, _strangers.First);

    /// <summary>Looks along both lines for those who may go on, so many a turn.</summary>
    private void Wake()
    {
        for (var looks = 0; looks < MaxLooks; looks++)
        {
            var line = _trusted.Next is not null ? _trusted : _strangers;
            if (line.Next is not { } member)
            {
                _isWaking = _mustLookAgain;
                if (!_isWaking)
                    return;
                LookFromTheFirst();
                continue;
            }
            line.Next = member.NextWaiting;
            if (!MayTake(member, member.WantedBytes))
                continue;
            line.Remove(member);
            Charge(member, member.WantedBytes);
            member.Want(0);
            member.MemoryCame();
        }
        loop.CompleteSoon(_wake!, 0);
    }

    /// <summary>Those who wait, in their order.</summary>
    private sealed class Line
    {
        private NbdMember? _last;

        public NbdMember? First { get; private set; }

        /// <summary>Who is to be looked at next.</summary>
        public NbdMember? Next { get; set; }

        /// <summary>Who uses the memory that is kept for the first in line.</summary>
        public NbdMember? Turn { get; set; }

        public void Append(NbdMember member)
        {
            (member.PreviousWaiting, member.NextWaiting) = (_last, null);
            if (_last is null)
                First = member;
            else
                _last.NextWaiting = member;
            _last = member;
        }

        public void Remove(NbdMember member)
        {
            if (Next == member)
                Next = member.NextWaiting;
            if (member.PreviousWaiting is null)
                First = member.NextWaiting;
            else
                member.PreviousWaiting.NextWaiting = member.NextWaiting;
            if (member.NextWaiting is null)
                _last = member.PreviousWaiting;
            else
                member.NextWaiting.PreviousWaiting = member.PreviousWaiting;
            member.NextWaiting = member.PreviousWaiting = null;
        }
    }

    private sealed class WakeStep(NbdMemory memory) : IoCompletion
    {
        public override void Complete(int result) => memory.Wake();
    }
}
