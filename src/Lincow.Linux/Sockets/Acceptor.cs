namespace Lincow.Linux;

/// <summary>
/// Takes connections off one listening socket: the accept loop of everything that listens. All of it runs on the loop's thread.
///
///     accepting -> a connection is taken -> accepting; or on hold until Resume, where its taker has room for no more
///       |  \-> out of descriptors or memory: a pause, which doubles up to a second while that lasts; then accepting
///       \-> Stop: what waits on the socket ends, then the socket is closed
///
/// Who connects meanwhile waits in the kernel's queue. A socket that another process has too (it was inherited) is never shut down, for
/// that would end it for all: it is polled, and whoever waits in its queue at the end is the next process's.
/// </summary>
/// <param name="loop">The loop.</param>
/// <param name="descriptor">The listening socket. It is closed here in the end.</param>
/// <param name="isShared">Other processes have it too. It is in non-blocking mode then.</param>
/// <param name="take">Takes a connection's socket over. False: no other is accepted before <see cref="Resume"/>.</param>
/// <param name="log">Told once that connections can't be accepted, and why; again when that has ended and begins anew.</param>
internal sealed class Acceptor(IoLoop loop, int descriptor, Func<int, bool> take, Action<string> log, bool isShared = false) : IoCompletion
{
    /// <summary>
    /// Out of descriptors or memory: others have to leave first, and to ask in vain again and again costs those who are served.
    /// </summary>
    internal const int FirstPauseMilliseconds = 100, LastPauseMilliseconds = 1000;

    private State _state = State.Held;
    private int _pauseMilliseconds = FirstPauseMilliseconds;
    private bool _hasComplained;
    private Action? _stopped;

    private enum State
    {
        /// <summary>Nothing is in flight. Its taker calls <see cref="Resume"/>.</summary>
        Held,
        Accepting,

        /// <summary>A timer is in flight.</summary>
        Pausing,

        /// <summary>What was in flight ends, then the socket is closed.</summary>
        Stopping,
        Stopped,
    }

    /// <summary>Accepts connections, for the first time or again after a hold.</summary>
    public void Resume()
    {
        if (_state == State.Held)
            Accept();
    }

    /// <summary>Accepts no more. Calls back when the socket is closed.</summary>
    public void Stop(Action stopped)
    {
        if (_state == State.Stopped)
        {
            stopped();
            return;
        }
        _stopped = stopped;
        var isWaiting = _state is State.Accepting or State.Stopping;
        // mutation: inherited-socket-ends-for-all
        if (!isShared)
            LinuxSocket.Shutdown(descriptor, LinuxSocket.ShutdownBoth);
        else if (isWaiting)
            loop.CancelWait(this);
        if (isWaiting)
            _state = State.Stopping;
        else
            Close();
    }

    /// <summary>An accept has ended, or a pause.</summary>
    public override void Complete(int result)
    {
        switch (_state)
        {
            case State.Pausing:
                Accept();
                break;
            case State.Stopping:
                if (result >= 0 && !isShared)
                    LinuxSocket.Close(result);
                Close();
                break;
            case State.Accepting:
                Accepted(isShared && result >= 0 ? LinuxSocket.TryAccept(descriptor) : result);
                break;
            default:
                // A pause that outlived the socket.
                break;
        }
    }

    private void Accept()
    {
        _state = State.Accepting;
        if (isShared)
            loop.AwaitReadable(descriptor, this);
        else
            loop.Accept(descriptor, this);
    }

    private void Accepted(int result)
    {
        _state = State.Held;
        if (result >= 0)
        {
            (_hasComplained, _pauseMilliseconds) = (false, FirstPauseMilliseconds);
            // mutation: more-are-accepted-than-there-is-room-for
            if (take(result))
                Accept();
        }
        else if (result is -Errno.Interrupted or -Errno.Again or -Errno.ConnectionReset or -Errno.ConnectionAborted)
        {
            Accept();
        }
        else
        {
            Pause(result);
        }
    }

    private void Pause(int result)
    {
        if (!_hasComplained)
            log($"failed: {Errno.Describe(-result)}");
        _hasComplained = true;
        _state = State.Pausing;
        // mutation: accepting-ends-without-descriptors
        loop.Delay(_pauseMilliseconds, this);
        _pauseMilliseconds = Math.Min(2 * _pauseMilliseconds, LastPauseMilliseconds);
    }

    private void Close()
    {
        _state = State.Stopped;
        LinuxSocket.Close(descriptor);
        var stopped = _stopped;
        _stopped = null;
        stopped?.Invoke();
    }
}
