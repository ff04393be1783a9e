using System.Runtime.CompilerServices;
using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// A call of a program's code for an operation, on a thread of the pool. What the code throws stays in here. It reads into memory of the
/// call's own, never the operation's: so the operation can end without it, when nobody wants to wait any longer, and it may come back
/// whenever it likes. A copy is what that costs; and the operation's memory may be a guest's, which managed code must not touch.
/// </summary>
internal abstract class UserCall : LoopWork
{
    private readonly Back _back;

    protected UserCall(UserBlob blob)
    {
        Blob = blob;
        _back = new Back(this);
    }

    protected UserBlob Blob { get; }

    /// <summary>Whose call it is; null when it was given up.</summary>
    public BlobOperation? Operation { get; private set; }

    /// <summary>Where it stands among those in flight.</summary>
    public int Index { get; set; }

    protected long ByteOffset { get; private set; }

    /// <summary>What the code has thrown.</summary>
    protected Exception? Failure { get; set; }

    protected void Start(IoLoop loop, long byteOffset, BlobOperation operation)
    {
        (Operation, ByteOffset, Failure) = (operation, byteOffset, null);
        operation.Blob = null;
        loop.RunElsewhere(this, _back);
    }

    /// <summary>It isn't waited for any longer.</summary>
    public BlobOperation GiveUp()
    {
        var operation = Operation!;
        // mutation: late-answer-ends-twice
        Operation = null;
        return operation;
    }

    /// <summary>It has come back, on the loop's thread; returns the operation's result.</summary>
    protected abstract int OnBack(int result);

    private sealed class Back(UserCall call) : IoCompletion
    {
        public override void Complete(int result)
        {
            result = call.OnBack(result);
            if (call.Failure is { } failure && call.Operation is not null)
                call.Blob.Complain(failure, call.ByteOffset);
            var operation = call.Operation;
            (call.Operation, call.Failure) = (null, null);
            call.Blob.OnBack(call, isGivenUp: operation is null);
            operation?.End(result);
        }
    }
}

/// <summary>A read.</summary>
internal sealed class UserRead : UserCall
{
    private readonly BorrowedMemory _memory = new();
    private readonly Action _goOn;
    private ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter _awaiter;
    private NativeBuffer _own;
    private nint _target;
    private int _byteCount;

    public UserRead(UserBlob blob)
        : base(blob) => _goOn = GoOn;

    public void Start(IoLoop loop, long byteOffset, nint target, NativeBuffer own, int byteCount, BlobOperation operation)
    {
        (_target, _own, _byteCount) = (target, own, byteCount);
        Start(loop, byteOffset, operation);
    }

    protected override void Begin()
    {
        try
        {
            // mutation: origin-asked-for-another-range
            Await(Blob.Origin.ReadAsync(ByteOffset, _memory.Over(_own.Address, _byteCount), Blob.Closing));
        }
        catch (Exception e)
        {
            Failure = e;
            End(-Errno.IO);
        }
    }

    private void Await(ValueTask read)
    {
        // A copy: once it is registered, the read may end at any time.
        var awaiter = _awaiter = read.ConfigureAwait(false).GetAwaiter();
        if (awaiter.IsCompleted)
            GoOn();
        else
            awaiter.UnsafeOnCompleted(_goOn);
    }

    private void GoOn()
    {
        var awaiter = _awaiter;
        _awaiter = default;
        try
        {
            awaiter.GetResult();
        }
        catch (Exception e)
        {
            Failure = e;
        }
        End(Failure is null ? 0 : -Errno.IO);
    }

    // The target may be a guest's memory, which no managed code may touch.
    protected override int OnBack(int result)
    {
        if (Operation is not null && result == 0)
            GuardedMemory.Copy(_own.Address, _target, (nuint)_byteCount);
        Blob.Loop.Buffers.Return(_own);
        (_own, _target) = (default, 0);
        return result;
    }
}

/// <summary>
/// A search for data and holes. What can't be told is data. Once it was given up no other is begun, so the runs are nobody's but its own.
/// </summary>
internal sealed class UserSearch(UserBlob blob) : UserCall(blob)
{
    private long _byteEnd;
    private BlobRuns? _runs;

    public void Start(IoLoop loop, long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
    {
        (_byteEnd, _runs) = (byteEnd, runs);
        Start(loop, byteOffset, operation);
    }

    protected override void Begin()
    {
        try
        {
            RunSearch.Fill(Blob.Origin.TryFindData, ByteOffset, _byteEnd, _runs!);
        }
        catch (Exception e)
        {
            Failure = e;
            _runs!.Clear(ByteOffset);
            _runs.TryAdd(_byteEnd, isData: true);
        }
        End(0);
    }

    protected override int OnBack(int result)
    {
        _runs = null;
        return result;
    }
}
