using System.Diagnostics;
using Lincow.Linux;
using Lincow.Operations;

namespace Lincow.Cli;

/// <summary>
/// The end of serving, loop by loop, so that nobody waits for somebody else's disk: when the clients of a loop's devices have their last answers, its
/// overlays are flushed and closed. What hasn't ended in time is named and left as a crash would leave it.
/// </summary>
/// <param name="limit">What all of it may take.</param>
internal sealed class ServeEnd(TimeSpan limit)
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly List<string> _failures = [];

    /// <summary>Waits until every loop has ended, or the time is over. Returns what went wrong, a sentence each.</summary>
    /// <param name="loops">The loops, each with what is on it.</param>
    public List<string> Run(IEnumerable<EndingLoop> loops)
    {
        Task.WhenAll(loops.Select(End)).GetAwaiter().GetResult();
        return _failures;
    }

    /// <summary>Waits for the threads themselves; one that stands still ends with the process.</summary>
    public void StopThreads(IEnumerable<LoopThread> threads)
    {
        foreach (var thread in threads)
            thread.TryStop(TimeSpan.FromMilliseconds(Math.Max(100, Left.TotalMilliseconds)));
    }

    private TimeSpan Left => limit - Stopwatch.GetElapsedTime(_start) is { Ticks: > 0 } left ? left : TimeSpan.Zero;

    private async Task End(EndingLoop ending)
    {
        var loop = ending.Thread.Loop;
        if (loop.IsAbandoned || !await InTime(ending.IntakeEnded))
        {
            ending.Sessions.ForEach(SayUnfinished);
            return;
        }
        if (ending.LiveOrigin is { } origin)
            await Close(done => Attempt(() => origin.Close([.. ending.Sessions.Select(session => session.Session)], loop), done), "the origin stands still");
        await Task.WhenAll(ending.Sessions.Select(session => Close(done => session.Session.CloseWhenPossible(done), Unfinished(session))));

        Task Close(Action<Action<LincowException?>> close, string otherwise) => CloseOn(loop, close, otherwise);
    }

    private async Task CloseOn(IoLoop loop, Action<Action<LincowException?>> close, string otherwise)
    {
        LincowException? failure = null;
        var closed = loop.StartUntilEnded(ended => close(error =>
        {
            failure = error;
            ended();
        }));
        if (!await InTime(closed))
            Say(otherwise);
        else if (failure is not null)
            Say(failure.Message);
    }

    private async Task<bool> InTime(Task task)
    {
        try
        {
            await task.WaitAsync(Left);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private void Say(string failure)
    {
        lock (_failures)
            _failures.Add(failure);
    }

    private void SayUnfinished(ServedSession session) => Say(Unfinished(session));

    private static string Unfinished(ServedSession session)
    {
        var options = session.Options;
        return session.Thread.Loop.IsAbandoned
            ? $"{options.Overlay ?? session.Session.Name}: an error of lincow itself ended it; what was written since the last flush is lost"
            : $"{options.Overlay ?? session.Session.Name}: stands still, so it could not be flushed in time; what was written since the last flush is lost"
            + (options.Overlay is null ? "" : ". The overlay stays marked as in use, and is examined at the next open");
    }

    private static void Attempt(Action close, Action<LincowException?> done)
    {
        LincowException? failure = null;
        try
        {
            close();
        }
        catch (LincowException e)
        {
            failure = e;
        }
        done(failure);
    }
}

/// <summary>A loop at its end.</summary>
/// <param name="Thread">Its thread.</param>
/// <param name="IntakeEnded">Ends when no client of its devices is connected any more.</param>
/// <param name="LiveOrigin">Closed before the sessions, if it is there.</param>
/// <param name="Sessions">Open overlays of this loop.</param>
internal sealed record EndingLoop(LoopThread Thread, Task IntakeEnded, LiveOrigin? LiveOrigin, List<ServedSession> Sessions);
