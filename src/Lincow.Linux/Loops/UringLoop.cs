using System.Diagnostics;

namespace Lincow.Linux;

/// <summary>
/// The loop on an io_uring: one ring, one thread, one system call a turn. An operation takes a slot in a table whose index is its
/// user_data; completions are copied out of the ring before they are called back, so that callbacks may submit freely.
/// </summary>
internal sealed unsafe class UringLoop : IoLoop
{
    /// <summary>Submissions between two system calls; a full queue is submitted early, so it only bounds the batch.</summary>
    private const uint SubmissionEntries = 512;

    /// <summary>Completions that the ring holds without the kernel's overflow list.</summary>
    private const uint CompletionEntries = 8192;

    /// <summary>A command of a driver has 80 bytes of its own, after the first 48 of an entry.</summary>
    private const int WideEntryBytes = 128, CommandAt = 48;

    /// <summary>
    /// Threads of the kernel's that may wait for file operations of this ring at once; by itself it allows four a processor. They are made
    /// when needed and end soon after. A blob takes a few at most (FileBlob), so this many let a dozen blobs stand still before
    /// others notice.
    /// </summary>
    private const uint MaxFileWorkers = 128;

    /// <summary>Completions copied out before their callbacks run.</summary>
    private const int ReapBatch = 128;

    /// <summary>How long a wait may spin: about what it costs to sleep and be woken.</summary>
    private static readonly long SpinTicks = Stopwatch.Frequency / 1_000_000 * 50;

    /// <summary>A wait that took longer, with the cost of sleep and waking in it, would not have ended while spinning.</summary>
    private static readonly long ShortWaitTicks = Stopwatch.Frequency / 1_000_000 * 200;

    /// <summary>Waits without spinning after spinning in vain again and again: what that costs stays below a fiftieth.</summary>
    private const int MaxSpinPause = 64;

    private readonly int _ring;
    private readonly nint _rings, _entries;
    private readonly nuint _ringsBytes, _entriesBytes;
    private readonly uint* _sqHead, _sqTail, _sqFlags, _sqArray, _cqHead, _cqTail;
    private readonly uint _sqMask, _cqMask, _sqCount;
    private readonly CompletionEntry* _cqes;
    private readonly WakeCompletion _wake;
    private readonly NativeBuffer _one;
    private IoCompletion?[] _slots = new IoCompletion?[1024];
    private int[] _freeSlots = new int[1024];
    private int _freeCount;
    private uint _localTail;
    private uint _unsubmitted;
    private bool _lastWaitWasShort;
    private int _waitsSinceSpin, _spinPause;

    /// <summary>
    /// Makes the ring. The thread that runs the loop must be the one that makes it. Throws <see cref="LinuxException"/> when refused.
    /// </summary>
    public UringLoop()
    {
        RingParameters parameters;
        _ring = Setup(UringAbi.SetupSingleIssuer | UringAbi.SetupDeferTaskRun, &parameters);
        if (_ring == -Errno.Invalid)
            _ring = Setup(UringAbi.SetupCoopTaskRun, &parameters);
        const uint needed = UringAbi.FeatureSingleMmap | UringAbi.FeatureNoDrop | UringAbi.FeatureExtArg;
        if (_ring >= 0 && (parameters.Features & needed) != needed)
        {
            _ = Libc.close(_ring);
            _ring = -Errno.NoSystemCall;
        }
        if (_ring < 0)
        {
            base.Dispose();
            throw new LinuxException("io_uring_setup", "event loop", -_ring);
        }
        _ringsBytes = Math.Max(parameters.Sq.Seventh + parameters.SqEntries * 4,
            parameters.Cq.Sixth + parameters.CqEntries * (uint)sizeof(CompletionEntry));
        _entriesBytes = parameters.SqEntries * WideEntryBytes;
        _rings = Map(_ringsBytes, UringAbi.OffsetRings);
        _entries = Map(_entriesBytes, UringAbi.OffsetSqes);
        _sqHead = (uint*)(_rings + (nint)parameters.Sq.Head);
        _sqTail = (uint*)(_rings + (nint)parameters.Sq.Tail);
        _sqFlags = (uint*)(_rings + (nint)parameters.Sq.Fifth);
        _sqArray = (uint*)(_rings + (nint)parameters.Sq.Seventh);
        _sqMask = *(uint*)(_rings + (nint)parameters.Sq.RingMask);
        _cqHead = (uint*)(_rings + (nint)parameters.Cq.Head);
        _cqTail = (uint*)(_rings + (nint)parameters.Cq.Tail);
        _cqMask = *(uint*)(_rings + (nint)parameters.Cq.RingMask);
        _cqes = (CompletionEntry*)(_rings + (nint)parameters.Cq.Sixth);
        _sqCount = parameters.SqEntries;
        for (uint i = 0; i < _sqCount; i++)
            _sqArray[i] = i;
        for (var i = _slots.Length - 1; i >= 0; i--)
            _freeSlots[_freeCount++] = i;
        // A kernel that doesn't know how keeps its own bound.
        var workers = stackalloc uint[2] { MaxFileWorkers, 0 };
        _ = Libc.syscall(UringAbi.RegisterCall, _ring, UringAbi.RegisterMaxWorkers, (long)workers, 2, 0, 0);
        _one = Buffers.Rent(sizeof(ulong));
        *(ulong*)_one.Address = 1;
        _wake = new WakeCompletion(this);
        _wake.Arm();
        try
        {
            // A profile may allow the one call and refuse the other; later that would be the end.
            Enter(timeoutMilliseconds: 0);
        }
        catch (LinuxException)
        {
            Dispose();
            throw;
        }
    }

    public override string Name => "io_uring";

    public override void Read(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion) =>
        Prepare(UringAbi.OpRead, descriptor, (ulong)buffer, (uint)byteCount, (ulong)byteOffset, 0, completion);

    public override void Write(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion) =>
        Prepare(UringAbi.OpWrite, descriptor, (ulong)buffer, (uint)byteCount, (ulong)byteOffset, 0, completion);

    public override void SyncData(int descriptor, IoCompletion completion) =>
        Prepare(UringAbi.OpFsync, descriptor, 0, 0, 0, UringAbi.FsyncDataSync, completion);

    public override void Allocate(int descriptor, int mode, long byteOffset, long byteLength, IoCompletion completion) =>
        Prepare(UringAbi.OpFallocate, descriptor, (ulong)byteLength, (uint)mode, (ulong)byteOffset, 0, completion);

    public override void Accept(int descriptor, IoCompletion completion) =>
        Prepare(UringAbi.OpAccept, descriptor, 0, 0, 0, Libc.CloseOnExec, completion);

    public override void Receive(int descriptor, nint buffer, int byteCount, IoCompletion completion) =>
        Prepare(UringAbi.OpReceive, descriptor, (ulong)buffer, (uint)byteCount, 0, 0, completion);

    public override void Send(int descriptor, MessageHeader* message, IoCompletion completion) =>
        Prepare(UringAbi.OpSendMessage, descriptor, (ulong)message, 1, 0, LinuxSocket.SendFlags, completion);

    public override void AwaitReadable(int descriptor, IoCompletion completion) =>
        Prepare(UringAbi.OpPoll, descriptor, 0, 0, 0, (uint)PollDescriptor.In, completion);

    public override bool HasCommands => true;

    public override void Command(int descriptor, uint operation, nint address, uint length, ReadOnlySpan<byte> command,
        IoCompletion completion)
    {
        var entry = Prepare(UringAbi.OpCommand, descriptor, (ulong)address, length, operation, 0, completion);
        var room = new Span<byte>((byte*)entry + CommandAt, MaxCommandBytes);
        command.CopyTo(room);
        room[command.Length..].Clear();
    }

    public override void CancelWait(IoCompletion completion)
    {
        var slot = Array.IndexOf(_slots, completion);
        // The slot can't be used again before the kernel has seen this entry.
        if (slot >= 0)
            Prepare(UringAbi.OpAsyncCancel, -1, (ulong)slot, 0, 0, 0, Ignored.Instance);
    }

    // The kernel writes in place what it can without waiting, and hands the rest to a worker thread.
    public override void Signal(int descriptor, IoCompletion completion) =>
        Prepare(UringAbi.OpWrite, descriptor, (ulong)_one.Address, sizeof(ulong), 0, 0, completion);

    public override void Dispose()
    {
        if (IsDisposed)
            return;
        _ = Libc.close(_ring);
        _ = Libc.munmap(_rings, _ringsBytes);
        _ = Libc.munmap(_entries, _entriesBytes);
        base.Dispose();
    }

    protected override void Poll(int timeoutMilliseconds)
    {
        if (timeoutMilliseconds != 0 && !HasEntries)
            Wait(timeoutMilliseconds);
        else
            Enter(timeoutMilliseconds: 0);
        Reap(putAside: false);
    }

    /// <summary>
    /// Waits for a completion. To put a thread to sleep and wake it up again costs tens of microseconds on a virtual machine, more than a
    /// small request; so while waits are short the thread looks for completions for a moment before it sleeps. One long wait ends that, so
    /// a device at rest costs nothing; spinning in vain makes pauses that double, so a slow client costs next to nothing.
    /// </summary>
    private void Wait(int timeoutMilliseconds)
    {
        var started = Stopwatch.GetTimestamp();
        if (!_lastWaitWasShort || _waitsSinceSpin < _spinPause)
        {
            _waitsSinceSpin++;
            Enter(timeoutMilliseconds);
        }
        else if (TrySpin(started))
        {
            _spinPause = 0;
        }
        else
        {
            (_waitsSinceSpin, _spinPause) = (0, Math.Min(MaxSpinPause, _spinPause * 2 + 1));
            Enter(timeoutMilliseconds);
        }
        _lastWaitWasShort = Stopwatch.GetTimestamp() - started < ShortWaitTicks;
    }

    /// <summary>Submits, then looks for completions for at most <see cref="SpinTicks"/>; false when there was none.</summary>
    private bool TrySpin(long started)
    {
        if (_unsubmitted > 0)
            Enter(timeoutMilliseconds: 0);
        while (!HasCompletions)
        {
            // mutation: spins-without-end (2 lines)
            if (Stopwatch.GetTimestamp() - started >= SpinTicks)
                return false;
            // Whoever is to bring the completion may want this core.
            _ = Libc.sched_yield();
        }
        // With deferred task work, completions are posted by entering.
        if (!HasEntries)
            Enter(timeoutMilliseconds: 0);
        return true;
    }

    private bool HasEntries => Volatile.Read(ref *_cqTail) != *_cqHead;

    private bool HasCompletions =>
        HasEntries || (Volatile.Read(ref *_sqFlags) & (UringAbi.SubmissionTaskRun | UringAbi.SubmissionCqOverflow)) != 0;

    private SubmissionEntry* Prepare(byte opcode, int descriptor, ulong address, uint length, ulong offset, uint flags,
        IoCompletion completion)
    {
        while (_localTail - Volatile.Read(ref *_sqHead) == _sqCount)
        {
            Enter(timeoutMilliseconds: 0);
            // The kernel takes nothing while completions pile up; we may be in a callback, so they are only put aside.
            if (_localTail - Volatile.Read(ref *_sqHead) == _sqCount)
                Reap(putAside: true);
        }
        var entry = (SubmissionEntry*)(_entries + (nint)((_localTail & _sqMask) * WideEntryBytes));
        *entry = default;
        entry->Opcode = opcode;
        entry->Descriptor = descriptor;
        entry->Address = address;
        entry->Length = length;
        entry->Offset = offset;
        entry->OperationFlags = flags;
        entry->UserData = (ulong)TakeSlot(completion);
        _localTail++;
        _unsubmitted++;
        return entry;
    }

    /// <summary>io_uring_enter: submits everything pending; waits for one completion when asked.</summary>
    private void Enter(int timeoutMilliseconds)
    {
        // The kernel reads entries up to the tail; they must be written before it moves (release).
        Volatile.Write(ref *_sqTail, _localTail);
        var time = stackalloc long[2] { timeoutMilliseconds / 1000, timeoutMilliseconds % 1000 * 1_000_000L };
        var argument = new GetEventsArgument { Timespec = (ulong)time };
        var bounded = timeoutMilliseconds > 0;
        while (true)
        {
            var result = Libc.syscall(UringAbi.EnterCall, _ring, _unsubmitted, timeoutMilliseconds == 0 ? 0 : 1,
                UringAbi.EnterGetEvents | (bounded ? UringAbi.EnterExtArg : 0), bounded ? (long)&argument : 0, bounded
                    ? sizeof(GetEventsArgument) : 0);
            if (result >= 0)
            {
                _unsubmitted -= (uint)result;
                if (_unsubmitted == 0 || timeoutMilliseconds != 0)
                    return;
                continue;
            }
            switch (Libc.LastError)
            {
                case Errno.Interrupted:
                    return;
                case Errno.Again or Errno.Busy:
                    // The kernel is short of memory for requests, or completions overflowed: make room, then submit again.
                    if (HasEntries)
                        return;
                    Thread.Yield();
                    continue;
                case 62: // ETIME: the timeout ended the wait; what was submitted stays submitted.
                    _unsubmitted = _localTail - Volatile.Read(ref *_sqHead);
                    return;
                default:
                    throw new LinuxException("io_uring_enter", "event loop", Libc.LastError);
            }
        }
    }

    private void Reap(bool putAside)
    {
        var batch = stackalloc CompletionEntry[ReapBatch];
        while (true)
        {
            var head = *_cqHead;
            // Acquire: the entries up to the tail that we see are whole.
            var count = (int)Math.Min(Volatile.Read(ref *_cqTail) - head, ReapBatch);
            if (count == 0)
                return;
            for (var i = 0; i < count; i++)
                batch[i] = _cqes[(head + (uint)i) & _cqMask];
            // Release: the kernel may overwrite the entries once the head has moved.
            Volatile.Write(ref *_cqHead, head + (uint)count);
            for (var i = 0; i < count; i++)
            {
                var slot = (int)batch[i].UserData;
                var completion = _slots[slot]!;
                _slots[slot] = null;
                _freeSlots[_freeCount++] = slot;
                if (putAside)
                    CompleteSoon(completion, batch[i].Result);
                else
                    completion.Complete(batch[i].Result);
            }
        }
    }

    private int TakeSlot(IoCompletion completion)
    {
        if (_freeCount == 0)
        {
            var old = _slots.Length;
            Array.Resize(ref _slots, old * 2);
            Array.Resize(ref _freeSlots, old * 2);
            for (var i = _slots.Length - 1; i >= old; i--)
                _freeSlots[_freeCount++] = i;
        }
        var slot = _freeSlots[--_freeCount];
        _slots[slot] = completion;
        return slot;
    }

    private static int Setup(uint flags, RingParameters* parameters)
    {
        const uint always = UringAbi.SetupCqSize | UringAbi.SetupWideEntries | UringAbi.SetupSubmitAll | UringAbi.SetupTaskRunFlag;
        *parameters = new RingParameters { Flags = flags | always, CqEntries = CompletionEntries };
        var result = Libc.syscall(UringAbi.SetupCall, SubmissionEntries, (long)parameters, 0, 0, 0, 0);
        return result >= 0 ? (int)result : -Libc.LastError;
    }

    private nint Map(nuint length, long offset)
    {
        var address = Libc.mmap(0, length, Libc.ProtRead | Libc.ProtWrite, Libc.MapShared | Libc.MapPopulate, _ring, offset);
        return address != -1 ? address : throw new LinuxException("mmap", "io_uring", Libc.LastError);
    }

    private sealed class Ignored : IoCompletion
    {
        public static readonly Ignored Instance = new();

        public override void Complete(int result)
        {
        }
    }

    /// <summary>Keeps a read of the eventfd in the ring, so that posted work ends a wait.</summary>
    private sealed class WakeCompletion(UringLoop loop) : IoCompletion
    {
        private readonly NativeBuffer _buffer = loop.Buffers.Rent(8);

        public void Arm() => loop.Read(loop.WakeDescriptor, _buffer.Address, 8, 0, this);

        public override void Complete(int result) => Arm();
    }
}
