namespace Lincow.Linux;

/// <summary>
/// A thread that runs one loop. An exception on it ends the loop, for half a turn's state can't be trusted, and what is on disk can:
/// whoever started the thread decides whether the process goes on without it, and by default it doesn't.
/// </summary>
internal sealed class LoopThread
{
    [ThreadStatic]
    private static bool _isCurrent;

    private readonly Thread _thread;

    private LoopThread(string name, Func<(IoLoop Loop, string? WhyNotUring)> make, Action<LoopThread, Exception>? faulted)
    {
        var made = new TaskCompletionSource<(IoLoop, string?)>(TaskCreationOptions.RunContinuationsAsynchronously);
        _thread = new Thread(() => Run(make, made, faulted)) { Name = name, IsBackground = true };
        _thread.Start();
        (Loop, WhyNotUring) = made.Task.GetAwaiter().GetResult();
    }

    /// <summary>This thread runs a loop, on which others are served, so nothing may wait here.</summary>
    public static bool IsCurrent => _isCurrent;

    /// <summary>The loop; from other threads only its Post and Invoke may be used.</summary>
    public IoLoop Loop { get; private set; }

    /// <summary>Why the loop isn't an io_uring, a sentence; null when it is one, or needn't be.</summary>
    public string? WhyNotUring { get; }

    /// <summary>Starts a thread and its loop: an io_uring where there can be one.</summary>
    /// <param name="name">The thread's.</param>
    /// <param name="faulted">
    /// Told, on the thread itself, of the exception that ended the loop; afterwards the loop is abandoned and the thread ends. Null, or an
    /// exception of its own: the process ends.
    /// </param>
    public static LoopThread Start(string name, Action<LoopThread, Exception>? faulted = null) => new(name, MakeLoop, faulted);

    /// <summary>Starts a thread with a loop for sockets alone, without a ring. An exception there ends the process.</summary>
    public static LoopThread StartWithoutRing(string name) => new(name, () => (new PosixLoop(), null), null);

    /// <summary>Ends the loop, then the thread. What is served on it must have been closed.</summary>
    public void Stop()
    {
        Loop.Post(Loop.Stop);
        _thread.Join();
    }

    /// <summary>
    /// As <see cref="Stop"/>, for a loop that may stand still: false when it has not ended in time, and ends with the process.
    /// </summary>
    public bool TryStop(TimeSpan patience)
    {
        Loop.Post(Loop.Stop);
        return _thread.Join(patience);
    }

    private static (IoLoop Loop, string? WhyNotUring) MakeLoop()
    {
        var loop = IoLoop.Create(out var reason);
        return (loop, reason);
    }

    private void Run(Func<(IoLoop Loop, string? WhyNotUring)> make, TaskCompletionSource<(IoLoop, string?)> made,
        Action<LoopThread, Exception>? faulted)
    {
        IoLoop loop;
        _isCurrent = true;
        try
        {
            var (mine, reason) = make();
            loop = Loop = mine;
            made.SetResult((mine, reason));
        }
        catch (Exception e)
        {
            made.SetException(e);
            return;
        }
        try
        {
            loop.Run();
        }
        catch (Exception e)
        {
            Fault(loop, e, faulted);
            return;
        }
        loop.Dispose();
    }

    // The loop isn't disposed of: what the kernel still does for it may end at any time, in its memory.
    private void Fault(IoLoop loop, Exception exception, Action<LoopThread, Exception>? faulted)
    {
        try
        {
            loop.Abandon();
            if (faulted is not null)
            {
                faulted(this, exception);
                return;
            }
        }
        catch (Exception second)
        {
            Environment.FailFast($"lincow: the event loop failed: {exception}; and so did what was to follow: {second}");
        }
        Environment.FailFast($"lincow: the event loop failed: {exception}");
    }
}
