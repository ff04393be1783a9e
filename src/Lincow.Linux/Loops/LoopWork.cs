namespace Lincow.Linux;

/// <summary>
/// Work that may wait for a disk or for somebody else's code, and so isn't done on a loop's thread: see <see cref="IoLoop.RunElsewhere"/>. Owned and
/// reused by whoever starts it; one object carries one piece of work at a time, and none is allocated for it.
/// </summary>
public abstract class LoopWork : IThreadPoolWorkItem
{
    private readonly Action _comeBack;
    private IoLoop? _loop;
    private IoCompletion? _completion;
    private int _result;

    protected LoopWork() => _comeBack = ComeBack;

    /// <summary>The work itself, on any thread; it throws nothing. Returns what the completion is told.</summary>
    public abstract int Run();

    void IThreadPoolWorkItem.Execute()
    {
        _result = Run();
        // What Run has written is seen on the loop's thread: the queue of posted actions is a barrier.
        _loop!.Post(_comeBack);
    }

    internal void Start(IoLoop loop, IoCompletion completion)
    {
        (_loop, _completion) = (loop, completion);
        loop.WorkElsewhere++;
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
