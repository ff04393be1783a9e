using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// A live origin with snapshots of it (dm's snapshot-origin): reads and writes go to the origin itself, and before a chunk of it changes,
/// every snapshot that still shows it keeps the old one.
///
///     write -> CopyUp with FUA on each snapshot (waits for their reads of that range, copies, commits)
///           -> all have ended -> write to the origin
///
/// Zeroes go window by window: each is kept by the snapshots, then written, before the next is begun, so that a request of any length takes
/// little at a time.
///
/// Invariant: the origin's chunk changes only after the old one is on stable storage in each snapshot; so a cut leaves every snapshot as it
/// was when it was taken. A snapshot that can't keep a chunk is given up, as in the kernel: the origin goes on.
/// Everything runs on one loop: the origin's blob and every snapshot's.
/// </summary>
internal sealed class OriginDevice : BlockDevice
{
    /// <summary>Zeroes in one write.</summary>
    private const int ZeroBytes = 1 << 20;

    /// <summary>Zeroes for which snapshots keep chunks at a time; the largest chunk is as long.</summary>
    private const long WindowBytes = 64 << 20;

    private static readonly nint _zeroes = NativePages.Reserve(ZeroBytes);

    // Here too, so that it is made with the device, where that may still fail.
    private readonly nint _zeroSource = _zeroes;
    private readonly IBlob _blob;
    private readonly IReadOnlyList<CowDevice> _snapshots;
    private readonly Stack<OriginWork> _idle = new(64);
    private readonly RequestErrors _errors;
    private string? _failedBecause;
    private long _requestCount;
    private int _inFlight;

    /// <param name="geometry">The origin's size; the chunk size is a hint for clients.</param>
    /// <param name="blob">The origin, open for writing.</param>
    /// <param name="snapshots">Devices over this origin, on the same loop.</param>
    public OriginDevice(Geometry geometry, IBlob blob, IReadOnlyList<CowDevice> snapshots)
        : base(blob)
    {
        (Geometry, _blob, _snapshots) = (geometry, blob, snapshots);
        _errors = new RequestErrors(Counters, blob.Name, error => Report?.Invoke(error));
    }

    public override Geometry Geometry { get; }

    public override bool IsReadOnly => false;

    public override bool CanDiscard => false;

    public override long MaxZeroBytes => long.MaxValue;

    /// <summary>Where windows end: at multiples of this. Small ones are for tests.</summary>
    internal long ZeroWindowBytes { get; init; } = WindowBytes;

    public override long MaxExtentsBytes => long.MaxValue;

    public override long RequestCount => _requestCount;

    /// <summary>Requests in flight.</summary>
    public int InFlight => _inFlight;

    /// <summary>What it has been asked for.</summary>
    public DeviceCounters Counters { get; } = new();

    /// <summary>Why the device answers everything with EIO; null while it is well.</summary>
    public string? FailedBecause => _failedBecause;

    public override bool IsIdle => _inFlight == 0;

    /// <summary>Told of snapshots that are given up and of the origin's failure.</summary>
    public Action<LincowError>? Report { get; set; }

    public override bool IsPersistent => true;

    // A snapshot keeps a chunk, for good, before the chunk changes.
    public override bool HasUncommitted => false;

    public override bool IsFastToZero(long byteOffset, long byteLength) => false;

    private protected override void Start(BlockRequest request)
    {
        request.ResetState();
        _requestCount++;
        Counters.Note(request);
        _inFlight++;
        if (_failedBecause is not null)
        {
            Complete(request, -Errno.IO);
            return;
        }
        switch (request.Operation)
        {
            case BlockOperation.Flush:
            case BlockOperation.Read or BlockOperation.Write or BlockOperation.WriteZeroes when request.ByteLength > 0:
                (_idle.TryPop(out var work) ? work : new OriginWork(this)).Start(request);
                break;
            case BlockOperation.Extents:
                FillExtents(request);
                Complete(request, 0);
                break;
            case BlockOperation.Cache:
                _blob.WillNeed(request.ByteOffset, request.ByteLength);
                Complete(request, 0);
                break;
            default:
                Complete(request, request.ByteLength == 0 ? 0 : -Errno.NotSupported);
                break;
        }
    }

    private static unsafe void FillExtents(BlockRequest request)
    {
        *(BlockExtent*)request.Buffer = new BlockExtent(request.ByteLength, RunSource.Origin);
        request.ExtentCount = 1;
    }

    private protected override void Tell(BlockRequest request, int result)
    {
        _inFlight--;
        if (result < 0)
            _errors.Note(request, result, counts: true);
        request.OnCompleted(result);
    }

    private void Fail(string reason)
    {
        _failedBecause ??= reason;
        Report?.Invoke(DeviceErrors.OriginFailed(_blob.Name, reason));
    }

    /// <summary>One request on its way: its copies, then itself.</summary>
    private sealed class OriginWork : BlobOperation
    {
        private readonly OriginDevice _device;
        private readonly Copy[] _copies;
        private BlockRequest? _request;
        private int _copiesLeft;
        private long _cursor, _windowEnd;
        private bool _isSyncing;

        public OriginWork(OriginDevice device)
        {
            _device = device;
            _copies = new Copy[device._snapshots.Count];
            for (var i = 0; i < _copies.Length; i++)
                _copies[i] = new Copy(this, device._snapshots[i]);
        }

        public void Start(BlockRequest request)
        {
            (_request, _cursor, _isSyncing) = (request, request.ByteOffset, false);
            if (!request.IsWrite)
            {
                Go();
                return;
            }
            Keep();
        }

        /// <summary>Has the snapshots keep what the next window, or the whole of a write, is about to change.</summary>
        private void Keep()
        {
            var (request, window) = (_request!, _device.ZeroWindowBytes);
            _windowEnd = request.Operation == BlockOperation.WriteZeroes ? Math.Min(request.End, (_cursor / window + 1) * window)
                : request.End;
            // One more than there are, so that the last to end is told from all but the last.
            _copiesLeft = _copies.Length + 1;
            foreach (var copy in _copies)
                copy.Start(_cursor, _windowEnd - _cursor);
            CopyEnded();
        }

        public override void End(int result)
        {
            var request = _request!;
            if (result < 0)
            {
                NoteFailure(request);
                if (request.Operation == BlockOperation.Flush || _isSyncing)
                    _device.Fail($"syncing failed ({Errno.Describe(-result)})");
                Finish(result);
            }
            else if (request.Operation == BlockOperation.WriteZeroes && _cursor < _windowEnd)
            {
                Go();
            }
            else if (request.Operation == BlockOperation.WriteZeroes && _cursor < request.End)
            {
                // mutation: live-zeroes-not-kept
                Keep();
            }
            else if (request.IsWrite && (request.Flags & BlockFlags.ForceUnitAccess) != 0 && !_isSyncing)
            {
                _isSyncing = true;
                _device._blob.Flush(this);
            }
            else
            {
                Finish(0);
            }
        }

        private void NoteFailure(BlockRequest request)
        {
            if (request.Operation == BlockOperation.Flush || _isSyncing)
                return;
            (request.FailedBlob, request.FailedOffset, request.FailedLength) = (_device._blob, request.ByteOffset, request.ByteLength);
            request.FailedToRead = request.Operation == BlockOperation.Read;
        }

        private void CopyEnded()
        {
            // mutation: live-origin-does-not-wait
            if (--_copiesLeft == 0)
                Go();
        }

        private void Go()
        {
            var request = _request!;
            switch (request.Operation)
            {
                case BlockOperation.Read:
                    _device._blob.Read(request.ByteOffset, request.Buffer, checked((int)request.ByteLength), this);
                    break;
                case BlockOperation.Write:
                    _device._blob.Write(request.ByteOffset, request.Buffer, checked((int)request.ByteLength), this);
                    break;
                case BlockOperation.WriteZeroes:
                    var count = (int)Math.Min(ZeroBytes, _windowEnd - _cursor);
                    _cursor += count;
                    _device._blob.Write(_cursor - count, _device._zeroSource, count, this);
                    break;
                default:
                    _device._blob.Flush(this);
                    break;
            }
        }

        private void Finish(int result)
        {
            var request = _request!;
            _request = null;
            _device._idle.Push(this);
            _device.Complete(request, result);
        }

        /// <summary>Has one snapshot keep what is about to change.</summary>
        private sealed class Copy(OriginWork work, CowDevice snapshot) : BlockRequest
        {
            public void Start(long byteOffset, long byteLength)
            {
                // mutation: live-origin-without-commit (2 lines)
                (Operation, Flags, ByteOffset, ByteLength) = (BlockOperation.CopyUp, BlockFlags.ForceUnitAccess, byteOffset,
                    Math.Min(byteLength, snapshot.SizeBytes - byteOffset));
                snapshot.Submit(this);
            }

            protected internal override void OnCompleted(int result)
            {
                // It is no snapshot any more, and says so on disk before the origin changes.
                if (result < 0)
                    snapshot.Stack.GiveUpForGood($"a chunk of the origin couldn't be kept ({Errno.Describe(-result)})", work.CopyEnded);
                else
                    work.CopyEnded();
            }
        }
    }
}
