using Lincow.Device;
using Lincow.Linux;
using Lincow.Storage;

namespace Lincow.Linear;

/// <summary>
/// Makes acknowledged flushes true. A round is: data to stable storage, then the map pages that point at it, then stable storage again, then
/// the replies. One round runs at a time, and everybody who asks while it runs shares the next one, because a write that completed after the
/// round's first sync may not be covered by it.
///
///     idle --join--> gather --> sync data --no page dirty--> reply
///                                   |
///                                   +--> write page images to their other slots --> sync map --> reply
///
/// Invariants: page images are taken before the round's data sync starts, so they name no chunk whose data that sync doesn't cover; an image
/// never overwrites the slot that holds the last acknowledged state; after any failed sync the store is failed for good.
/// </summary>
internal sealed unsafe class FlushRounds
{
    /// <summary>Page images in memory at once (4 MiB); a round with more goes in batches, each with a data sync of its own.</summary>
    private const int MaxImages = 1024;

    private readonly LinearStore _store;
    private readonly IStorage _data;
    private readonly BufferPool _buffers;
    private readonly SyncOperation _gather, _dataSync, _mapSync;
    private readonly Stack<ImageWrite> _idleWrites = new(64);
    private readonly List<ImageWrite> _batch = new(64);
    private readonly Action<BlockRequest, int> _complete;
    private RequestQueue _current, _next;
    private List<long> _pages = [];
    private int _nextPage, _writesInFlight, _batchError;
    private bool _isRunning;

    // True at first: a process that was killed before us may have acknowledged writes that only its page cache, now ours, knows of.
    private bool _hasUnsyncedData = true;

    public FlushRounds(LinearStore store, IStorage data, BufferPool buffers, Action<BlockRequest, int> complete)
    {
        (_store, _data, _buffers, _complete) = (store, data, buffers, complete);
        _gather = new SyncOperation(_ => StartRound());
        _dataSync = new SyncOperation(DataSynced);
        _mapSync = new SyncOperation(MapSynced);
    }

    public bool IsIdle => !_isRunning;

    /// <summary>Something below has changed since the last round began: the next flush has to sync.</summary>
    public void NoteChange() => _hasUnsyncedData = true;

    /// <summary>Completes the request when everything that has completed by now is on stable storage.</summary>
    public void Join(BlockRequest request)
    {
        if (_store.FailedBecause is not null)
        {
            _complete(request, -Errno.IO);
            return;
        }
        if (_store.MapStorage is null)
        {
            // Transient: nothing is promised beyond this process, so there is nothing to wait for.
            _complete(request, 0);
            return;
        }
        _next.Enqueue(request);
        if (_isRunning)
            return;
        // Those whose flush came with the same receive, or the same turn, go with this round.
        _isRunning = true;
        _data.Yield(_gather);
    }

    private void StartRound()
    {
        (_current, _next) = (_next, default);
        if (!_hasUnsyncedData && _store.Map.DirtyCount == 0)
        {
            EndRound(0);
            return;
        }
        _isRunning = true;
        _pages = _store.Map.TakeDirty();
        _nextPage = 0;
        StartBatch();
    }

    private void StartBatch()
    {
        _hasUnsyncedData = false;
        _batchError = 0;
        _batch.Clear();
        for (; _nextPage < _pages.Count && _batch.Count < MaxImages; _nextPage++)
        {
            if (!_idleWrites.TryPop(out var write))
                write = new ImageWrite(this);
            write.Take(_pages[_nextPage]);
            _batch.Add(write);
        }
        _data.Flush(_dataSync);
    }

    private void DataSynced(int result)
    {
        if (result < 0)
        {
            _store.Fail($"syncing {_data.Name} failed ({Errno.Describe(-result)})");
            EndBatch(-Errno.IO);
        }
        else if (_batch.Count == 0)
        {
            EndBatch(0);
        }
        else
        {
            _writesInFlight = _batch.Count;
            foreach (var write in _batch)
                write.Start();
        }
    }

    private void ImageWritten(int result)
    {
        // The worst counts: after anything but a lack of space, nothing can be kept for later.
        if (result < 0 && (_batchError == 0 || Errno.IsLackOfSpace(_batchError)))
            _batchError = result;
        if (--_writesInFlight > 0)
            return;
        if (_batchError == 0)
            _store.MapStorage!.Flush(_mapSync);
        else if (Errno.IsLackOfSpace(_batchError))
            KeepForLater();
        else
        {
            _store.Fail($"writing a map page failed ({Errno.Describe(-_batchError)})");
            EndBatch(-Errno.IO);
        }
    }

    // The slots that were written to are not the current ones, so nothing is lost; the flush fails, and the next one tries again.
    private void KeepForLater()
    {
        foreach (var write in _batch)
            _store.Map.MarkDirty(write.Page);
        for (; _nextPage < _pages.Count; _nextPage++)
            _store.Map.Requeue(_pages[_nextPage]);
        EndBatch(-Errno.NoSpace);
    }

    private void MapSynced(int result)
    {
        if (result < 0)
        {
            _store.Fail($"syncing {_store.MapStorage!.Name} failed ({Errno.Describe(-result)})");
            EndBatch(-Errno.IO);
            return;
        }
        foreach (var write in _batch)
            _store.Map.Committed(write.Page, write.Slot);
        EndBatch(0);
    }

    private void EndBatch(int result)
    {
        foreach (var write in _batch)
            write.Release();
        _batch.Clear();
        if (result == 0 && _nextPage < _pages.Count)
            StartBatch();
        else
            EndRound(result);
    }

    private void EndRound(int result)
    {
        var served = _current;
        _current = default;
        _isRunning = false;
        if (!_next.IsEmpty && _store.FailedBecause is null)
            StartRound();
        while (served.Dequeue() is { } request)
            _complete(request, result);
        if (_store.FailedBecause is null)
            return;
        while (_next.Dequeue() is { } request)
            _complete(request, -Errno.IO);
    }

    private sealed class SyncOperation(Action<int> ended) : StorageOperation
    {
        public override void End(int result) => ended(result);
    }

    private sealed class ImageWrite(FlushRounds rounds) : StorageOperation
    {
        private NativeBuffer _image;

        public long Page { get; private set; }

        public int Slot { get; private set; }

        public void Take(long page)
        {
            Page = page;
            _image = rounds._buffers.Rent(MapFormat.PageBytes);
            var superblock = rounds._store.Superblock;
            Slot = rounds._store.Map.Snapshot(page, new Span<byte>((void*)_image.Address, MapFormat.PageBytes), superblock.Uuid, superblock.Generation);
        }

        public void Start() =>
            rounds._store.MapStorage!.Write(LinearStore.PageOffset(Page, Slot), _image.Address, MapFormat.PageBytes, this);

        public void Release()
        {
            rounds._buffers.Return(_image);
            rounds._idleWrites.Push(this);
        }

        public override void End(int result) => rounds.ImageWritten(result);
    }
}
