using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Makes acknowledged flushes true. A round is: data to stable storage, then the metadata that points at it, then stable storage again,
/// then the replies. One round runs at a time, and everybody who asks while it runs shares the next one, because a write that completed
/// after the round's first sync may not be covered by it.
///
///     idle --join--> gather --> (early images) --> sync data --nothing to commit--> reply
///                                                      |
///                                                      +--> write images --> sync metadata --> reply
///
/// Invariants: images are taken before the round's data sync starts, so they name no chunk whose data that sync doesn't cover; an image
/// overwrites nothing that was acknowledged (the store sees to that); after any failed sync the device is failed for good. A write of an
/// image that failed says nothing of what was synced: it is tried again, the same bytes at the same place, and if that fails too, the flush
/// fails and the next one takes new images. It may have landed all the same; what the store then writes where the image leads to is the
/// store's care.
/// </summary>
internal sealed class FlushRounds
{
    /// <summary>Images in memory at once (map pages: 4 MiB); a round with more goes in batches, each with a data sync of its own.</summary>
    private const int MaxImages = 1024;

    /// <summary>Images that are taken, or writes of them that are started, in one turn of the loop: each costs some microseconds.</summary>
    // mutation: images-of-a-batch-at-once
    private const int ImagesPerTurn = 64;

    /// <summary>How often an image is written before its flush fails: an error that passes should cost nobody a flush.</summary>
    private const int MaxAttempts = 3;

    private readonly LayerStack _stack;
    private readonly IBlob _data;
    private readonly BufferPool _buffers;
    private readonly SyncOperation _gather, _moreImages, _moreWrites, _dataSync, _mapSync, _roomPause;
    private readonly Stack<ImageWrite> _idleWrites = new(64);
    private readonly List<MetadataImage> _batch = new(64);
    private readonly Action<BlockRequest, int> _complete;
    private RequestQueue _current, _next;
    private int _writesInFlight, _writesToStart, _nextWrite, _batchError;
    private bool _isRunning, _isEarly, _hasMore, _hasToldOfWrites;

    // True at first: a process that was killed before us may have acknowledged writes that only its page cache, now ours, knows of.
    private bool _hasUnsyncedData = true;

    public FlushRounds(LayerStack stack, BufferPool buffers, Action<BlockRequest, int> complete)
    {
        (_stack, _data, _buffers, _complete) = (stack, stack.Data, buffers, complete);
        _gather = new SyncOperation(_ => StartRound());
        _moreImages = new SyncOperation(_ => TakeImages());
        _moreWrites = new SyncOperation(_ => StartWrites());
        _dataSync = new SyncOperation(DataSynced);
        _mapSync = new SyncOperation(MapSynced);
        _roomPause = new SyncOperation(_ => StartRound());
    }

    /// <summary>Asked where a round found no room: whether its flushes wait for it, with all that it had to do.</summary>
    public Func<bool>? WaitsForRoom { get; set; }

    public bool IsIdle => !_isRunning;

    /// <summary>Rounds that had something to make durable.</summary>
    public long Count { get; private set; }

    /// <summary>Something below has changed since the last round began: the next flush has to sync.</summary>
    public void NoteChange() => _hasUnsyncedData = true;

    /// <summary>Completes the request when everything that has completed by now is on stable storage.</summary>
    public void Join(BlockRequest request)
    {
        if (_stack.FailedBecause is not null)
        {
            _complete(request, -Errno.IO);
            return;
        }
        if (_stack.MetadataBlob is null)
        {
            // Transient: nothing is promised beyond this process, so there is nothing to wait for.
            _complete(request, 0);
            return;
        }
        // mutation: join-running-round (3 lines)
        _next.Enqueue(request);
        if (_isRunning)
            return;
        // Those whose flush came with the same receive, or the same turn, go with this round.
        _isRunning = true;
        // mutation: first-flush-goes-alone
        _data.Yield(_gather);
    }

    private void StartRound()
    {
        (_current, _next) = (_next, default);
        // mutation: flush-ignores-dirty-pages, flush-ignores-unsynced-data, real-flush-ignores-dirty-pages
        if (!_hasUnsyncedData && !_stack.HasUncommitted)
        {
            EndRound(0);
            return;
        }
        _isRunning = true;
        Count++;
        _stack.BeginRound();
        StartBatch();
    }

    private void StartBatch()
    {
        Debug.Assert(_isRunning && _batch.Count == 0 && _writesInFlight == 0, "one round at a time, and one batch of it");
        _hasUnsyncedData = false;
        _batchError = 0;
        _batch.Clear();
        _hasMore = true;
        TakeImages();
    }

    // All of them before the data's sync begins, however many turns that takes.
    private void TakeImages()
    {
        for (var count = 0; count < ImagesPerTurn && _batch.Count < MaxImages && _hasMore; count++)
        {
            if (!_idleWrites.TryPop(out var write))
                write = new ImageWrite(this);
            _hasMore = _stack.TryTakeImage(write);
            if (_hasMore)
                _batch.Add(write);
            else
                _idleWrites.Push(write);
        }
        // mutation: flush-answered-without-its-images
        if (_stack.LacksMemory)
        {
            GiveUpBatch();
            return;
        }
        if (_hasMore && _batch.Count < MaxImages)
            _data.NextTurn(_moreImages);
        else if (!TryStartWrites(early: true))
            // mutation: skip-data-sync, real-skip-data-sync
            _data.Flush(_dataSync);
    }

    // Nothing has been written; the flush fails, and the next one tries again.
    private void GiveUpBatch()
    {
        _stack.KeepForLater(_batch);
        (_hasMore, _hasUnsyncedData) = (false, true);
        EndBatch(-Errno.NoMemory);
    }

    // False when the batch has none of that kind.
    private bool TryStartWrites(bool early)
    {
        (_isEarly, _nextWrite) = (early, 0);
        foreach (var write in _batch)
        {
            if (write.IsEarly == early)
                _writesInFlight++;
        }
        if (_writesInFlight == 0)
            return false;
        _writesToStart = _writesInFlight;
        StartWrites();
        return true;
    }

    private void StartWrites()
    {
        for (var count = 0; count < ImagesPerTurn && _writesToStart > 0;)
        {
            var write = (ImageWrite)_batch[_nextWrite++];
            if (write.IsEarly != _isEarly)
                continue;
            write.Start();
            (count, _writesToStart) = (count + 1, _writesToStart - 1);
        }
        if (_writesToStart > 0)
            _data.NextTurn(_moreWrites);
    }

    private void DataSynced(int result)
    {
        if (result < 0)
        {
            // mutation: data-synced-again-after-a-failed-sync (2 lines)
            // mutation: failed-sync-forgiven
            _stack.Fail($"syncing {_data.Name} failed ({Errno.Describe(-result)})");
            EndBatch(-Errno.IO);
        }
        else if (!TryStartWrites(early: false))
        {
            EndBatch(0);
        }
    }

    private void ImageWritten(int result)
    {
        Debug.Assert(_writesInFlight > 0, "an image is written once");
        // The worst counts: a lack of space is nothing that has to be looked into.
        if (result < 0 && (_batchError == 0 || Errno.IsLackOfSpace(_batchError)))
            // mutation: failed-map-write-ignored
            _batchError = result;
        if (--_writesInFlight > 0)
            return;
        if (_batchError == 0 && _isEarly)
            _data.Flush(_dataSync);
        else if (_batchError == 0)
            // mutation: skip-map-sync, answered-before-map-sync, real-skip-map-sync
            _stack.MetadataBlob!.Flush(_mapSync);
        else
            KeepForLater();
    }

    // Nothing that was acknowledged is lost; the flush fails, and the next one tries again.
    private void KeepForLater()
    {
        var isLackOfSpace = Errno.IsLackOfSpace(_batchError);
        if (!isLackOfSpace && !_hasToldOfWrites)
            _stack.Report(DeviceErrors.MetadataUnwritten(_stack.MetadataBlob!.Name, -_batchError));
        // mutation: failed-map-write-fails-the-device
        _hasToldOfWrites |= !isLackOfSpace;
        // mutation: failed-image-counts
        _stack.KeepForLater(_batch);
        (_hasMore, _hasUnsyncedData) = (false, true);
        EndBatch(isLackOfSpace ? -Errno.NoSpace : -Errno.IO);
    }

    private void MapSynced(int result)
    {
        if (result < 0)
        {
            // mutation: failed-map-sync-ignored (3 lines)
            // mutation: map-written-again-after-a-failed-sync (2 lines)
            _stack.Fail($"syncing {_stack.MetadataBlob!.Name} failed ({Errno.Describe(-result)})");
            EndBatch(-Errno.IO);
            return;
        }
        foreach (var write in _batch)
            _stack.Committed(write);
        EndBatch(0);
    }

    private void EndBatch(int result)
    {
        Debug.Assert(_writesInFlight == 0, "images go when nothing of them is in flight");
        foreach (var write in _batch)
            ((ImageWrite)write).Release();
        _batch.Clear();
        if (result == 0 && (_hasMore || _stack.TryContinueRound()))
            StartBatch();
        else
            EndRound(result);
    }

    private void EndRound(int result)
    {
        // mutation: full-map-not-waited-for
        if (Errno.IsLackOfSpace(result) && WaitsForRoom?.Invoke() == true)
        {
            _current.TakeAll(ref _next);
            (_next, _current) = (_current, default);
            _data.Delay(RoomWait.PauseMilliseconds, _roomPause);
            return;
        }
        var served = _current;
        _current = default;
        _isRunning = false;
        if (!_next.IsEmpty && _stack.FailedBecause is null)
            StartRound();
        while (served.Dequeue() is { } request)
            _complete(request, result);
        if (_stack.FailedBecause is null)
            return;
        while (_next.Dequeue() is { } request)
            _complete(request, -Errno.IO);
    }

    private sealed class SyncOperation(Action<int> ended) : BlobOperation
    {
        public override void End(int result) => ended(result);
    }

    private sealed class ImageWrite(FlushRounds rounds) : MetadataImage
    {
        private int _attempts;

        // mutation: images-after-data-sync, list-taken-after-the-data-sync
        public void Start() => rounds._stack.MetadataBlob!.Write(TargetOffset, Image.Address, ImageBytes, this);

        public void Release()
        {
            rounds._buffers.Return(Image);
            (Image, _attempts) = (default, 0);
            rounds._idleWrites.Push(this);
        }

        public override void End(int result)
        {
            // The same bytes: whatever part of them was written is right.
            // mutation: failed-map-write-not-tried-again
            if (result < 0 && !Errno.IsLackOfSpace(result) && ++_attempts < MaxAttempts)
                Start();
            else
                rounds.ImageWritten(result);
        }
    }
}
