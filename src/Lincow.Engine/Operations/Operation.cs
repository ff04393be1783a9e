using Lincow.Linux;

namespace Lincow.Operations;

/// <summary>
/// How operations run. Each is a class with <c>Run</c>, which returns when it has ended, for callers with a thread to spare, and
/// <c>RunAsync</c>, which is the same on a thread of its own. Control files are read and written with calls that wait, so a thread of the
/// pool, which others need, or a loop, on which devices live, is never used for that.
/// </summary>
internal static class Operation
{
    /// <summary>Runs the work on a thread of its own. What <paramref name="stop"/> ended is a cancelled task.</summary>
    public static Task<T> Start<T>(Func<T> work, CancellationToken stop) =>
        Task.Factory.StartNew(() => Guard(work), stop, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach,
            TaskScheduler.Default);

    /// <summary>Has what the system refuses come out as a <see cref="LincowException"/>, as all else does.</summary>
    public static T Guard<T>(Func<T> work)
    {
        try
        {
            return work();
        }
        catch (LinuxException e)
        {
            throw new LincowException(LincowError.Of(e), e);
        }
    }

    /// <summary>
    /// For work that says how far it is: tells the observer, and throws when the operation is to end. The work is in a state then in which
    /// it may end.
    /// </summary>
    public static Action<double> Observe(string stage, IProgress<OperationProgress>? progress, CancellationToken stop) => fraction =>
    {
        stop.ThrowIfCancellationRequested();
        progress?.Report(new OperationProgress(stage, fraction));
    };
}
