using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// A <see cref="UserOrigin"/> under the engine's seam. Only ever read. Its code runs on threads of the pool, except for reads of a quick
/// origin; what it throws becomes EIO and is told to the owner once.
///
///     read --> in flight --the code comes back--> ended
///                  \--closing, and too late----> ended with EIO; the code may come back whenever it likes
///
/// Invariant: an operation is among those in flight, or it has ended.
/// </summary>
internal sealed class UserBlob(UserOrigin origin, IoLoop loop) : IReadableBlob
{
    /// <summary>How long code is waited for that was told to cancel, in milliseconds.</summary>
    public const int PatienceMilliseconds = 1000;

    private readonly Stack<UserRead> _idleReads = new();
    private readonly Stack<UserSearch> _idleSearches = new();
    private readonly List<UserCall> _inFlight = [];
    private readonly CancellationTokenSource _closing = new();
    private int _callCount;
    private bool _isClosing, _isDisposed, _hasToldOfIO, _hasToldOfOther;

    public string Name => origin.Name;

    public int AlignmentBytes => 1;

    public Action<LincowError>? Report { get; set; }

    public bool TellsErrors => true;

    internal UserOrigin Origin => origin;

    internal IoLoop Loop => loop;

    internal CancellationToken Closing => _closing.Token;

    public void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        if (_isClosing || !loop.Buffers.TryRent(byteCount, out var own))
        {
            EndSoon(operation, _isClosing ? -Errno.IO : -Errno.NoMemory);
            return;
        }
        if (origin.IsQuick)
        {
            EndSoon(operation, ReadNow(byteOffset, buffer, own, byteCount));
            loop.Buffers.Return(own);
            return;
        }
        if (!_idleReads.TryPop(out var read))
            read = new UserRead(this);
        Add(read);
        read.Start(loop, byteOffset, buffer, own, byteCount, operation);
    }

    public void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
    {
        if (_isClosing)
        {
            EndSoon(operation, -Errno.IO);
            return;
        }
        if (!_idleSearches.TryPop(out var search))
            search = new UserSearch(this);
        Add(search);
        search.Start(loop, byteOffset, byteEnd, runs, operation);
    }

    public void WillNeed(long byteOffset, long byteLength)
    {
    }

    public void Turn() => loop.RunOnce();

    public void CancelReads()
    {
        if (_isClosing)
            return;
        _isClosing = true;
        if (_inFlight.Count == 0)
            return;
        // What the program has registered with the token runs elsewhere, too.
        // mutation: reads-not-cancelled
        _ = _closing.CancelAsync();
        loop.Delay(PatienceMilliseconds, new LosingPatience(this));
    }

    /// <summary>A call that never comes back keeps the origin: its code may still be at work.</summary>
    public void Dispose()
    {
        CancelReads();
        _isDisposed = true;
        if (_callCount == 0)
            DisposeNow();
    }

    internal void OnBack(UserCall call, bool isGivenUp)
    {
        if (!isGivenUp)
            Remove(call);
        if (call is UserRead read)
            _idleReads.Push(read);
        else
            _idleSearches.Push((UserSearch)call);
        if (--_callCount == 0 && _isDisposed)
            DisposeNow();
    }

    /// <summary>
    /// Once of what is to be expected, and once of what is a mistake in the program; not of what ends because we said so.
    /// </summary>
    internal void Complain(Exception exception, long byteOffset)
    {
        if (_isClosing && exception is OperationCanceledException)
            return;
        ref var hasTold = ref exception is IOException ? ref _hasToldOfIO : ref _hasToldOfOther;
        if (hasTold)
            return;
        hasTold = true;
        var what = exception is IOException ? exception.Message : exception.ToString();
        Report?.Invoke(DeviceErrors.UserReadFailed(Name, byteOffset, what));
    }

    private int ReadNow(long byteOffset, nint buffer, NativeBuffer own, int byteCount)
    {
        try
        {
            unsafe
            {
                origin.Read(byteOffset, new Span<byte>((void*)own.Address, byteCount));
            }
        }
        catch (Exception e)
        {
            Complain(e, byteOffset);
            return -Errno.IO;
        }
        GuardedMemory.Copy(own.Address, buffer, (nuint)byteCount);
        return 0;
    }

    private void EndSoon(BlobOperation operation, int result)
    {
        operation.Blob = null;
        loop.CompleteSoon(operation, result);
    }

    private void Add(UserCall call)
    {
        call.Index = _inFlight.Count;
        _inFlight.Add(call);
        _callCount++;
    }

    private void Remove(UserCall call)
    {
        var last = _inFlight[^1];
        // mutation: another-read-given-up
        (_inFlight[call.Index], last.Index) = (last, call.Index);
        _inFlight.RemoveAt(_inFlight.Count - 1);
    }

    private void DisposeNow()
    {
        _closing.Dispose();
        origin.Dispose();
    }

    private sealed class LosingPatience(UserBlob blob) : IoCompletion
    {
        public override void Complete(int result)
        {
            while (blob._inFlight.Count > 0)
            {
                var call = blob._inFlight[^1];
                blob.Remove(call);
                // mutation: dead-read-waited-for
                call.GiveUp().End(-Errno.IO);
            }
        }
    }
}
