namespace Lincow.Linux;

/// <summary>
/// Work that may wait for a disk or for somebody else's code, and so isn't done on a loop's thread: see <see cref="IoLoop.RunElsewhere"/>.
/// Owned and reused by whoever starts it; one object carries one piece of work at a time, and none is allocated for it.
///
///     RunElsewhere --a thread of the pool--> Begin --that thread or any other, then or later--> End --the loop's thread--> the completion
/// </summary>
internal abstract class LoopWork : IThreadPoolWorkItem
{
    private readonly Action _comeBack;
    private IoLoop? _loop;
    private IoCompletion? _completion;
    private int _result;

    protected LoopWork() => _comeBack = ComeBack;

    /// <summary>Does the work, or starts what will do it; throws nothing, and sees to it that <see cref="End"/> follows once.</summary>
    protected abstract void Begin();

    void IThreadPoolWorkItem.Execute() => Begin();

    /// <summary>
    /// Hands over to the loop, where the completion is told the result. What was written before is seen there: the queue is a barrier.
    /// </summary>
    protected void End(int result)
    {
        _result = result;
        _loop!.Post(_comeBack);
    }

    /// <summary>Begins on a thread of the pool; or here, in a world where one thread does everything.</summary>
    internal void Start(IoLoop loop, IoCompletion completion, bool here = false)
    {
        (_loop, _completion) = (loop, completion);
        loop.WorkElsewhere++;
        if (here)
            Begin();
        else
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    private void ComeBack()
    {
        var completion = _completion!;
        _loop!.WorkElsewhere--;
        (_loop, _completion) = (null, null);
        completion.Complete(_result);
    }
}
