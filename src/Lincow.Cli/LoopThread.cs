using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>A thread that runs one loop.</summary>
internal sealed class LoopThread
{
    private readonly Thread _thread;

    private LoopThread(Thread thread, IoLoop loop, string? whyNotUring) => (_thread, Loop, WhyNotUring) = (thread, loop, whyNotUring);

    public IoLoop Loop { get; }

    public string? WhyNotUring { get; }

    public static LoopThread Start(string name)
    {
        var made = new TaskCompletionSource<(IoLoop, string?)>(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() => Run(made)) { Name = name, IsBackground = true };
        thread.Start();
        var (loop, reason) = made.Task.GetAwaiter().GetResult();
        return new LoopThread(thread, loop, reason);
    }

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
