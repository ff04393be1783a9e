using Lincow.Linux;

namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>
/// One virtqueue: its descriptors for kicks and calls, and the pump that takes requests off its ring while there are any and there is room.
/// A ring runs from SET_VRING_KICK to GET_VRING_BASE; one that breaks the rules stops there and then, and others go on.
/// </summary>
internal sealed class VhostQueue : IDisposable
{
    private readonly Stack<VhostRequest> _idle = new(32);
    private readonly CallStep _callStep;
    private KickWait? _kick;
    private CallSignal? _call;
    private int _error = -1;
    private VirtRing? _ring;
    private bool _isPumping, _isCalling;

    public VhostQueue(VhostSession session, int index)
    {
        (Session, Index) = (session, index);
        _callStep = new CallStep(this);
    }

    public VhostSession Session { get; }

    public int Index { get; }

    /// <summary>Number of descriptors; 0 until the front end has said it.</summary>
    public int Entries { get; set; }

    /// <summary>Addresses of the ring's parts, in the front end's address space.</summary>
    public (ulong Table, ulong Driver, ulong Device)? Addresses { get; set; }

    public uint? Base { get; set; }

    public bool IsEnabled { get; set; }

    /// <summary>Takes no further requests: it is about to stop, or the guest's memory is about to change.</summary>
    public bool IsDraining { get; set; }

    /// <summary>Has left requests in the ring for want of room.</summary>
    public bool IsHeld { get; private set; }

    public int InFlight { get; private set; }

    public bool IsRunning => _ring is not null;

    public bool IsSuspended { get; private set; }

    public void SetKick(int descriptor)
    {
        _kick?.Close();
        _kick = new KickWait(this, descriptor);
    }

    public void SetCall(int descriptor)
    {
        _call?.Close();
        _call = descriptor < 0 ? null : new CallSignal(Session.Loop, descriptor);
        // What ended while there was nobody to call isn't forgotten.
        if (_ring is not null)
            CallLater();
    }

    public void SetError(int descriptor)
    {
        if (_error >= 0)
            DescriptorSocket.Close(_error);
        _error = descriptor;
    }

    /// <summary>Starts the ring, or starts it anew in changed memory.</summary>
    public void Start(VirtRing ring)
    {
        _ring = ring;
        IsDraining = IsSuspended = false;
        Pump();
    }

    /// <summary>Stops the ring, which has nothing in flight; says where a start would go on.</summary>
    public uint Stop()
    {
        IsDraining = IsHeld = IsSuspended = false;
        if (_ring is { } ring)
        {
            Call();
            Base = ring.Base;
        }
        _ring = null;
        _kick?.Close();
        _kick = null;
        return Base ?? 0;
    }

    /// <summary>Stops the ring, which has nothing in flight, until the guest's memory has changed.</summary>
    public void Suspend()
    {
        Call();
        Base = _ring!.Base;
        (_ring, IsSuspended) = (null, true);
    }

    /// <summary>Takes requests off the ring as long as there are any and there is room for them.</summary>
    public void Pump()
    {
        if (_ring is not { } ring || _isPumping || !IsEnabled || IsDraining || Session.IsPaused)
            return;
        (_isPumping, IsHeld) = (true, false);
        Session.Enter();
        try
        {
            ring.SuppressKicks();
            // A ring's length at a time: a driver that is faster than we are doesn't keep the loop to itself.
            var turn = Entries;
            do
            {
                while (ring.TryTake(Session.Chain))
                {
                    if (!_idle.TryPop(out var request))
                        request = new VhostRequest(this);
                    InFlight++;
                    Begin(request, ring);
                    if (InFlight < VhostProtocol.MaxInFlight && Session.HasRoom && --turn > 0)
                        continue;
                    IsHeld = true;
                    Session.PumpLater();
                    return;
                }
            }
            while (ring.AskForKick());
        }
        catch (VhostException e)
        {
            Break(e.Message);
        }
        finally
        {
            _isPumping = false;
            _ = Session.CheckMemory();
            Session.Leave();
        }
    }

    /// <summary>A request has ended; its object is free again.</summary>
    /// <param name="ring">The one that it was taken off. If that has been stopped, nobody is told, and least of all the ring that took its
    /// place.</param>
    public void Ended(VhostRequest request, VirtRing ring, int id, int ringEntries, int inflightEntry, uint writtenBytes)
    {
        InFlight--;
        _idle.Push(request);
        // mutation: requests-of-another-ring-given-back (3 lines)
        if (_ring == ring)
        {
            ring.Give(id, ringEntries, inflightEntry, writtenBytes);
            CallLater();
        }
        Session.RequestEnded();
    }

    public void Dispose()
    {
        _ring = null;
        _kick?.Close();
        SetCall(-1);
        SetError(-1);
    }

    private void Begin(VhostRequest request, VirtRing ring)
    {
        try
        {
            request.Begin(Session.Chain, ring);
        }
        catch (VhostException)
        {
            InFlight--;
            throw;
        }
    }

    /// <summary>
    /// The guest has broken the ring's rules: its requests in flight end in silence, and it gets no others. A start goes on after those.
    /// </summary>
    private void Break(string why)
    {
        // mutation: stopped-ring-forgets-where-it-was
        Base = _ring?.Base ?? Base;
        _ring = null;
        Session.Log($"queue {Index} was stopped: {why}");
        if (_error >= 0)
            new CallSignal(Session.Loop, _error).SignalAndClose();
        _error = -1;
    }

    private void CallLater()
    {
        if (_isCalling)
            return;
        _isCalling = true;
        Session.Loop.CompleteSoon(_callStep, 0);
    }

    private void Call()
    {
        _isCalling = false;
        if (_call is not null && _ring?.ShouldCall() == true)
            // mutation: ring-answers-without-calls
            _call.Signal();
    }

    /// <summary>One call for all requests that end in a turn.</summary>
    private sealed class CallStep(VhostQueue queue) : IoCompletion
    {
        public override void Complete(int result)
        {
            if (!queue._isCalling)
                return;
            queue.Session.Enter();
            queue.Call();
            _ = queue.Session.CheckMemory();
            queue.Session.Leave();
        }
    }

    /// <summary>Waits for kicks, as long as the ring runs; then closes their descriptor.</summary>
    private sealed class KickWait : IoCompletion
    {
        private readonly VhostQueue _queue;
        private readonly int _descriptor;
        private bool _isClosed;

        public KickWait(VhostQueue queue, int descriptor)
        {
            (_queue, _descriptor) = (queue, descriptor);
            queue.Session.Loop.AwaitReadable(descriptor, this);
        }

        public void Close()
        {
            _isClosed = true;
            _queue.Session.Loop.CancelWait(this);
        }

        public override void Complete(int result)
        {
            if (_isClosed || result < 0 && result is not (-Errno.Interrupted or -Errno.Again))
            {
                DescriptorSocket.Close(_descriptor);
                return;
            }
            _ = DescriptorSocket.TakeEvents(_descriptor);
            _queue.Pump();
            if (_isClosed)
                DescriptorSocket.Close(_descriptor);
            else
                _queue.Session.Loop.AwaitReadable(_descriptor, this);
        }
    }

    /// <summary>Signals an eventfd; what is asked for while a signal is on its way follows it.</summary>
    private sealed class CallSignal(IoLoop loop, int descriptor) : IoCompletion
    {
        private bool _isBusy, _isWanted, _isClosed;

        public void Signal()
        {
            if (_isBusy)
            {
                _isWanted = true;
                return;
            }
            _isBusy = true;
            loop.Signal(descriptor, this);
        }

        public void SignalAndClose()
        {
            Signal();
            Close();
        }

        public void Close()
        {
            _isClosed = true;
            if (!_isBusy)
                DescriptorSocket.Close(descriptor);
            else
                loop.CancelWait(this);
        }

        // One that is full has not been read: whoever reads it will come to know.
        public override void Complete(int result)
        {
            _isBusy = false;
            if (_isWanted && !_isClosed)
            {
                _isWanted = false;
                Signal();
            }
            else if (_isClosed)
            {
                DescriptorSocket.Close(descriptor);
            }
        }
    }
}
