namespace Lincow.Linux;

/// <summary>A thread that runs one loop. An exception on it ends the process, for half a turn's state can't be trusted.</summary>
public sealed class LoopThread
{
    private readonly Thread _thread;

    private LoopThread(Thread thread, IoLoop loop, string? whyNotUring) => (_thread, Loop, WhyNotUring) = (thread, loop, whyNotUring);

    /// <summary>The loop; from other threads only its Post and Invoke may be used.</summary>
    public IoLoop Loop { get; }

    /// <summary>Why the loop isn't an io_uring, a sentence; null when it is one.</summary>
    public string? WhyNotUring { get; }

    /// <summary>Starts a thread and its loop.</summary>
    public static LoopThread Start(string name)
    {
        var made = new TaskCompletionSource<(IoLoop, string?)>(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() => Run(made)) { Name = name, IsBackground = true };
        thread.Start();
        var (loop, reason) = made.Task.GetAwaiter().GetResult();
        return new LoopThread(thread, loop, reason);
    }

    /// <summary>Ends the loop, then the thread. What is served on it must have been closed.</summary>
    public void Stop()
    {
        Loop.Post(Loop.Stop);
        _thread.Join();
    }

    private static void Run(TaskCompletionSource<(IoLoop, string?)> made)
    {
        IoLoop loop;
        try
        {
            loop = IoLoop.Create(out var reason);
            made.SetResult((loop, reason));
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
            // Half a turn's state can't be trusted: what is on disk can, so stop here and now.
            Environment.FailFast($"lincow: the event loop failed: {e}");
        }
        loop.Dispose();
    }
}
