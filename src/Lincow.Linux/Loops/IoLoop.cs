using System.Collections.Concurrent;
using System.Diagnostics;

namespace Lincow.Linux;

/// <summary>
/// What happens when an operation ends. The caller owns the object and may reuse it for the next operation once it has been completed; one
/// object carries one operation at a time. The memory that an operation reads or writes stays untouched until then.
/// </summary>
internal abstract class IoCompletion
{
    /// <summary>Called on the loop's thread. <paramref name="result"/> is the byte count or descriptor, or a negative errno.</summary>
    public abstract void Complete(int result);
}

/// <summary>
/// One thread's event loop: file and socket operations that complete later on the same thread, timers, and work posted from other threads.
/// <see cref="UringLoop"/> is the real one; <see cref="PosixLoop"/> serves where io_uring is refused. No operation completes before the
/// call that started it has returned, so a caller never meets its own completion half way.
/// </summary>
internal abstract unsafe class IoLoop : IDisposable
{
    /// <summary>
    /// What is ready may make more ready: all of it goes before the next system call, up to this depth, so that nobody starves.
    /// </summary>
    private const int MaxReadyRounds = 16;

    /// <summary>Modes of <see cref="Allocate"/>, as fallocate(2) knows them.</summary>
    public const int KeepSize = Libc.FallocKeepSize, PunchHole = Libc.FallocPunchHole;

    private readonly ConcurrentQueue<Action> _posted = new();
    private readonly Queue<(IoCompletion Completion, int Result)> _ready = new(64);
    private readonly Queue<IoCompletion> _nextTurn = new(16);
    private readonly PriorityQueue<IoCompletion, long> _timers = new();
    private int _wakeSignalled;
    private bool _stopping;

    protected IoLoop()
    {
        WakeDescriptor = Libc.eventfd(0, Libc.CloseOnExec);
        if (WakeDescriptor < 0)
            throw new LinuxException("eventfd", "event loop", Libc.LastError);
    }

    /// <summary>Native buffers of this loop's devices and connections.</summary>
    public BufferPool Buffers { get; } = new();

    /// <summary>
    /// Operations on files that have not ended; whoever starts them counts. While it is 1, a short wait on this thread delays nobody
    /// else's.
    /// </summary>
    public int FileOperations { get; set; }

    /// <summary>"io_uring" or "posix".</summary>
    public abstract string Name { get; }

    /// <summary>A clock for decisions about durations, in the unit of <see cref="Stopwatch.Frequency"/>.</summary>
    public virtual long Timestamp => Stopwatch.GetTimestamp();

    protected int WakeDescriptor { get; }

    /// <summary>LINCOW_IO=posix in the environment.</summary>
    public static bool IsPosixForced => Environment.GetEnvironmentVariable("LINCOW_IO") == "posix";

    /// <summary>A ring where the kernel grants one; otherwise a <see cref="PosixLoop"/>, with the reason.</summary>
    public static IoLoop Create(out string? whyNotUring)
    {
        if (IsPosixForced)
        {
            whyNotUring = null;
            return new PosixLoop();
        }
        try
        {
            whyNotUring = null;
            return new UringLoop();
        }
        catch (LinuxException e)
        {
            whyNotUring =
                $"io_uring is refused ({e.Reason}); it needs Linux 5.19, kernel.io_uring_disabled=0 and a seccomp profile that allows it. "
                    + "Serving with plain system calls instead, which is slower";
            return new PosixLoop();
        }
    }

    public abstract void Read(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion);
    public abstract void Write(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion);
    public abstract void SyncData(int descriptor, IoCompletion completion);
    public abstract void Allocate(int descriptor, int mode, long byteOffset, long byteLength, IoCompletion completion);
    public abstract void Accept(int descriptor, IoCompletion completion);
    public abstract void Receive(int descriptor, nint buffer, int byteCount, IoCompletion completion);

    /// <summary>Sends a gathered message; the header and its vectors stay valid until the completion.</summary>
    public abstract void Send(int descriptor, MessageHeader* message, IoCompletion completion);

    /// <summary>
    /// Completes with 0 or more when a descriptor can be read, or is at its end; it has to be one that can be polled. The one who is told
    /// reads without waiting.
    /// </summary>
    public abstract void AwaitReadable(int descriptor, IoCompletion completion);

    /// <summary>Whether <see cref="Command"/> is there.</summary>
    public virtual bool HasCommands => false;

    /// <summary>What <see cref="Command"/> takes at most.</summary>
    public const int MaxCommandBytes = 80;

    /// <summary>A command to the driver behind a descriptor (IORING_OP_URING_CMD).</summary>
    /// <param name="operation">The driver's number for it.</param>
    /// <param name="address">For most drivers, where more of it lies.</param>
    /// <param name="length">Whatever the driver takes it for.</param>
    /// <param name="command">The command itself; it is copied.</param>
    public virtual void Command(int descriptor, uint operation, nint address, uint length, ReadOnlySpan<byte> command,
        IoCompletion completion) =>
        throw new NotSupportedException("commands to drivers need io_uring");

    /// <summary>
    /// Ends an <see cref="AwaitReadable"/> or <see cref="Signal"/> that goes on: it completes with -ECANCELED, or with what has happened
    /// meanwhile.
    /// </summary>
    public abstract void CancelWait(IoCompletion completion);

    /// <summary>
    /// Adds 1 to an eventfd, or writes 8 bytes to a pipe or socket, without holding up the loop if its owner has filled it.
    /// </summary>
    public abstract void Signal(int descriptor, IoCompletion completion);

    /// <summary>File operations are blocking system calls on this thread, so what else waits for a disk may be one too.</summary>
    public virtual bool BlocksOnFiles => false;

    /// <summary>Work that was started elsewhere and has not come back.</summary>
    internal int WorkElsewhere { get; set; }

    /// <summary>Does work on a thread of the pool, and completes on this one with what it returned. Nothing is allocated.</summary>
    public virtual void RunElsewhere(LoopWork work, IoCompletion completion) => work.Start(this, completion);

    /// <summary>Completes with 0 after the given time.</summary>
    public virtual void Delay(int milliseconds, IoCompletion completion) =>
        _timers.Enqueue(completion, Environment.TickCount64 + milliseconds);

    /// <summary>Completes on the loop's next turn: for a result that is known already.</summary>
    public virtual void CompleteSoon(IoCompletion completion, int result) => _ready.Enqueue((completion, result));

    /// <summary>
    /// Completes with 0 in the loop's next turn, after what has ended meanwhile was taken: for whoever has more to do than others should
    /// wait for.
    /// </summary>
    // mutation: next-turn-is-this-one
    public virtual void CompleteNextTurn(IoCompletion completion) => _nextTurn.Enqueue(completion);

    /// <summary>Runs an action on the loop's thread. May be called from any thread.</summary>
    public void Post(Action action)
    {
        if (IsAbandoned)
            return;
        _posted.Enqueue(action);
        // One wake-up is enough for any number of actions: the loop clears the mark before it drains the queue.
        if (Interlocked.Exchange(ref _wakeSignalled, 1) == 0)
        {
            ulong one = 1;
            _ = Libc.write(WakeDescriptor, (nint)(&one), 8);
        }
    }

    /// <summary>Runs code on the loop's thread and waits for its end; its exception comes back to the caller.</summary>
    public T Invoke<T>(Func<T> function)
    {
        RequireAlive();
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(() =>
        {
            try
            {
                done.SetResult(function());
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        });
        return done.Task.GetAwaiter().GetResult();
    }

    /// <inheritdoc cref="Invoke{T}"/>
    public void Invoke(Action action) => Invoke(() =>
    {
        action();
        return true;
    });

    /// <summary>Starts something on the loop's thread and waits until it says, on any thread, that it has ended.</summary>
    /// <param name="start">Is given what to call at the end.</param>
    public void InvokeUntilEnded(Action<Action> start) => StartUntilEnded(start).GetAwaiter().GetResult();

    /// <summary>As <see cref="InvokeUntilEnded"/>, for somebody who has something else to do meanwhile, or won't wait for ever.</summary>
    public Task StartUntilEnded(Action<Action> start) => StartUntilEnded<bool>(ended => start(() => ended(true)));

    /// <summary>As <see cref="StartUntilEnded(Action{Action})"/>, for something that has a result when it ends.</summary>
    /// <param name="start">Is given what to call with the result.</param>
    public Task<T> StartUntilEnded<T>(Action<Action<T>> start)
    {
        RequireAlive();
        var ended = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(() => start(result => ended.TrySetResult(result)));
        return ended.Task;
    }

    /// <summary>
    /// It runs no more and never will, and what waits for it waits in vain: its thread met an exception. What is posted to it is dropped.
    /// </summary>
    public bool IsAbandoned { get; private set; }

    /// <summary>Called by the thread that ran it, when it won't again.</summary>
    public void Abandon() => IsAbandoned = true;

    /// <summary>Runs until <see cref="Stop"/>.</summary>
    public void Run()
    {
        while (!_stopping)
            Turn(mayWaitAfterProgress: true);
    }

    /// <summary>Ends <see cref="Run"/> after the present turn. On the loop's thread.</summary>
    public void Stop() => _stopping = true;

    /// <summary>One turn for somebody who waits for an operation of their own: returns as soon as anything has happened.</summary>
    public void RunOnce() => Turn(mayWaitAfterProgress: false);

    // In Run, a turn completes what is ready and then submits what that led to with the same system call that waits for more.
    private void Turn(bool mayWaitAfterProgress)
    {
        var progress = false;
        for (var count = _nextTurn.Count; count > 0; count--)
            _ready.Enqueue((_nextTurn.Dequeue(), 0));
        for (var round = 0; round < MaxReadyRounds && _ready.Count > 0; round++)
        {
            for (var count = _ready.Count; count > 0; count--)
            {
                var (completion, result) = _ready.Dequeue();
                completion.Complete(result);
            }
            progress = true;
        }
        Poll(progress && !mayWaitAfterProgress ? 0 : WaitMilliseconds());
        var now = Environment.TickCount64;
        while (_timers.TryPeek(out var timer, out var due) && due <= now)
        {
            _timers.Dequeue();
            timer.Complete(0);
        }
        Volatile.Write(ref _wakeSignalled, 0);
        // The mark must be cleared before the queue is drained: an action that is enqueued in between then signals again.
        Interlocked.MemoryBarrier();
        while (_posted.TryDequeue(out var action))
            action();
    }

    /// <summary>Submits what is pending, waits up to the given time (-1: without end) and completes what has ended.</summary>
    protected abstract void Poll(int timeoutMilliseconds);

    /// <summary>A second Dispose does nothing: its descriptors' numbers may be somebody else's by now.</summary>
    protected bool IsDisposed { get; private set; }

    public virtual void Dispose()
    {
        if (IsDisposed)
            return;
        IsDisposed = true;
        // Work that never came back may still do so, with what it was lent: that is left to the end of the process.
        if (WorkElsewhere == 0)
        {
            Buffers.Dispose();
            _ = Libc.close(WakeDescriptor);
        }
        GC.SuppressFinalize(this);
    }

    private void RequireAlive()
    {
        if (IsAbandoned)
            throw new InvalidOperationException("this loop has ended by an exception");
    }

    private int WaitMilliseconds()
    {
        if (_ready.Count > 0 || _nextTurn.Count > 0 || !_posted.IsEmpty || _stopping)
            return 0;
        if (!_timers.TryPeek(out _, out var due))
            return -1;
        return (int)Math.Clamp(due - Environment.TickCount64, 0, int.MaxValue);
    }
}
