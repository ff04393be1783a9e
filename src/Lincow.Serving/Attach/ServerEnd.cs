namespace Lincow.Serving.Attach;

/// <summary>
/// The end of an attachment's server: who detaches waits for it, and if nobody does, the device ended by itself and its target is told.
/// </summary>
internal sealed class ServerEnd(AttachTarget target)
{
    private readonly ManualResetEventSlim _ended = new(initialState: true);

    /// <summary>Whether somebody detaches.</summary>
    public bool IsExpected { private get; set; }

    /// <summary>From here on there is a server to wait for.</summary>
    public void Begins() => _ended.Reset();

    public void Ended()
    {
        _ended.Set();
        if (!IsExpected)
            target.Ended();
    }

    public void Wait() => TryWait(Timeout.InfiniteTimeSpan);

    /// <summary>False when it has not ended in time.</summary>
    public bool TryWait(TimeSpan patience)
    {
        IsExpected = true;
        return _ended.Wait(patience);
    }
}
