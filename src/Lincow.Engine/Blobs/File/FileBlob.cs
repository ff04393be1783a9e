using System.Diagnostics;
using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// A file or block device on an <see cref="IoLoop"/>. Finishes short transfers and retries interrupted ones, so that the engine sees whole
/// operations only.
/// </summary>
public sealed class FileBlob : IBlob
{
    /// <summary>Buffered transfers up to this size are made on the loop's own thread; larger ones copy on another core.</summary>
    private const int MaxInlineBytes = 128 << 10;

    /// <summary>
    /// Buffered writes are made in calls of this size. The kernel caches what one call writes in folios as large as the call, and ext4
    /// walks every block of a folio for each later write into it: 4 KiB into a folio of 1 MiB costs five times what it costs into one of 32
    /// KiB.
    /// </summary>
    internal const int PieceBytes = 32 << 10;

    /// <summary>A sync with more than this to write takes too long for the loop's own thread.</summary>
    private const long MaxInlineSyncBytes = 1 << 20;

    /// <summary>So does the next sync after one that took longer than this.</summary>
    private static readonly long MaxInlineSyncTicks = Stopwatch.Frequency / 1000;

    /// <summary>
    /// Operations of one storage that may take a worker thread of the ring's at once: as many as a machine with two processors has by
    /// itself. What one file system leaves standing takes no more of them, so that the others' syncs and trims go on.
    /// </summary>
    internal const int MaxWorkerOperations = 8;

    private readonly LinuxFile _file;
    private readonly IoLoop _loop;
    private readonly Stack<WritePiece> _idlePieces = new();
    private readonly Stack<RunSearch> _idleSearches = new();
    private readonly DataSearch _findData;
    private readonly Queue<BlobOperation> _withoutWorker = new();
    private readonly bool _isBlockDevice;
    private bool? _readsWithoutWorker;
    private int _workerCount, _searchCount;
    private bool _isDisposed;
    private long _unsyncedBytes, _syncStarted, _lastSyncTicks = long.MaxValue;

    public FileBlob(LinuxFile file, IoLoop loop)
    {
        _file = file;
        _loop = loop;
        _findData = file.TryFindData;
        AlignmentBytes = file.IsDirect ? file.LogicalBlockBytes : 1;
        _isBlockDevice = file.Facts.Kind == FileKind.BlockDevice;
        // Direct reads wait for the device, not in a thread.
        _readsWithoutWorker = file.IsDirect ? true : null;
    }

    public string Name => _file.Path;

    public Action<LincowError>? Report { get; set; }

    public int AlignmentBytes { get; }

    /// <summary>Syncs that were made on the loop's own thread, for tests.</summary>
    internal long SyncsInPlace { get; private set; }

    /// <summary>Operations that wait because the storage has its share of worker threads, for tests.</summary>
    internal int WaitingForWorkers => _withoutWorker.Count;

    public void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        (operation.Buffer, operation.ByteCount) = (buffer, byteCount);
        Start(FileCall.Read, byteOffset, byteCount, operation);
    }

    public void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        if (!_file.IsDirect)
            _unsyncedBytes += byteCount;
        (operation.Buffer, operation.ByteCount) = (buffer, byteCount);
        Start(FileCall.Write, byteOffset, byteCount, operation);
    }

    public void Flush(BlobOperation operation) => Start(FileCall.Flush, 0, 0, operation);

    public void Yield(BlobOperation operation) => Start(FileCall.Yield, 0, 0, operation);

    // No operation on the file: a short sync on this thread needn't wait for it.
    public void NextTurn(BlobOperation operation)
    {
        operation.Blob = null;
        _loop.CompleteNextTurn(operation);
    }

    public void PunchHole(long byteOffset, long byteLength, BlobOperation operation) =>
        Start(FileCall.PunchHole, byteOffset, byteLength, operation);

    public void Reserve(long byteOffset, long byteLength, BlobOperation operation) =>
        Start(FileCall.Reserve, byteOffset, byteLength, operation);

    public void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
    {
        operation.Runs = runs;
        _searchCount++;
        Start(FileCall.FindRuns, byteOffset, byteEnd - byteOffset, operation);
    }

    public bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd) =>
        _file.TryFindData(byteOffset, byteEnd, out dataStart, out dataEnd);

    public void CancelReads()
    {
    }

    public void WillNeed(long byteOffset, long byteLength) => _file.WillNeed(byteOffset, byteLength);

    public void Turn() => _loop.RunOnce();

    /// <summary>A search that is on its way keeps the descriptor: its number could be another file's.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        if (_searchCount == 0)
            _file.Dispose();
    }

    private void Start(FileCall call, long byteOffset, long byteLength, BlobOperation operation)
    {
        (operation.Blob, operation.Call, operation.ByteOffset, operation.ByteLength) = (this, call, byteOffset, byteLength);
        _loop.FileOperations++;
        Submit(operation);
    }

    /// <summary>Hands the operation, or what is left of it, to the loop, as soon as it may take a worker if it needs one.</summary>
    private void Submit(BlobOperation operation)
    {
        if (operation.Call == FileCall.Read && TryReadCached(operation))
            return;
        if (!operation.HasWorker && TakesWorker(operation.Call))
        {
            // mutation: storage-takes-all-workers
            if (_workerCount == MaxWorkerOperations)
            {
                _withoutWorker.Enqueue(operation);
                return;
            }
            _workerCount++;
            operation.HasWorker = true;
        }
        Perform(operation);
    }

    // Buffered writes to a file take turns by themselves (the kernel lets one worker do all of an inode's), and there is one sync at a
    // time.
    private bool TakesWorker(FileCall call) => call switch
    {
        FileCall.PunchHole or FileCall.Reserve or FileCall.FindRuns => true,
        FileCall.WritePiece => _isBlockDevice,
        FileCall.Read => _readsWithoutWorker == false,
        _ => false,
    };

    private void Perform(BlobOperation operation)
    {
        var descriptor = _file.Descriptor;
        switch (operation.Call)
        {
            case FileCall.Read:
                _loop.Read(descriptor, operation.Buffer, operation.ByteCount, operation.ByteOffset, operation);
                break;
            // A buffered write is a copy into the page cache. Many file systems can't do that without blocking in principle (ext4 among
            // them), so io_uring hands it to a worker thread, whose wake-up costs more than the copy.
            case FileCall.Write when !_file.IsDirect && operation.ByteCount <= MaxInlineBytes:
                _loop.CompleteSoon(operation, WriteInPieces(operation));
                break;
            case FileCall.Write when !_file.IsDirect:
                StartPieces(operation);
                break;
            case FileCall.Write or FileCall.WritePiece:
                _loop.Write(descriptor, operation.Buffer, operation.ByteCount, operation.ByteOffset, operation);
                break;
            case FileCall.Flush:
                StartSync(operation);
                break;
            case FileCall.Yield:
                _loop.CompleteSoon(operation, 0);
                break;
            case FileCall.PunchHole:
                _loop.Allocate(descriptor, IoLoop.KeepSize | IoLoop.PunchHole, operation.ByteOffset, operation.ByteLength, operation);
                break;
            case FileCall.FindRuns:
                StartSearch(operation);
                break;
            default:
                _loop.Allocate(descriptor, IoLoop.KeepSize, operation.ByteOffset, operation.ByteLength, operation);
                break;
        }
    }

    // SEEK_DATA may read a file system's map from the disk, and walk over all of it; no ring knows it.
    private void StartSearch(BlobOperation operation)
    {
        if (!_idleSearches.TryPop(out var search))
            search = new RunSearch(_findData);
        search.Set(operation.ByteOffset, operation.ByteOffset + operation.ByteLength, operation.Runs!);
        operation.Search = search;
        // mutation: search-on-the-loop
        if (_loop.BlocksOnFiles)
            _loop.CompleteSoon(operation, search.Run());
        else
            _loop.RunElsewhere(search, operation);
    }

    // io_uring hands a sync to a worker thread: two wake-ups, which take as long as the sync of a little data on a fast disk. So a sync
    // that will be short is made here, if nothing else waits for this thread.
    private void StartSync(BlobOperation operation)
    {
        // mutation: long-sync-in-place
        var isShort = _lastSyncTicks < MaxInlineSyncTicks && _unsyncedBytes <= MaxInlineSyncBytes;
        _unsyncedBytes = 0;
        _syncStarted = _loop.Timestamp;
        // mutation: sync-in-place-while-others-wait
        if (isShort && _loop.FileOperations == 1)
        {
            SyncsInPlace++;
            _loop.CompleteSoon(operation, _file.TrySyncData());
        }
        else
        {
            _loop.SyncData(_file.Descriptor, operation);
        }
    }

    private int WriteInPieces(BlobOperation operation)
    {
        var done = 0;
        while (done < operation.ByteCount)
        {
            var piece = Math.Min(PieceBytes, operation.ByteCount - done);
            var result = _file.TryWriteOnce(operation.Buffer + done, piece, operation.ByteOffset + done);
            // After a part, what is left is tried again, and its error is the answer then.
            if (result < 0)
                return done > 0 ? done : result;
            done += result;
            if (result < piece)
                break;
        }
        return done;
    }

    private void StartPieces(BlobOperation operation)
    {
        operation.PieceError = 0;
        operation.PiecesLeft = (operation.ByteCount + PieceBytes - 1) / PieceBytes;
        for (var start = 0; start < operation.ByteCount; start += PieceBytes)
        {
            if (!_idlePieces.TryPop(out var piece))
                piece = new WritePiece(this);
            piece.Start(operation, start, Math.Min(PieceBytes, operation.ByteCount - start));
        }
    }

    // What is in the page cache is copied at once; everything else goes through the ring.
    private bool TryReadCached(BlobOperation operation)
    {
        if (_readsWithoutWorker is { } known && (!known || _file.IsDirect || operation.ByteCount > MaxInlineBytes))
            return false;
        // Of a large one only the first byte, once, to learn whether the file system can read without waiting at all.
        var byteCount = operation.ByteCount > MaxInlineBytes ? 1 : operation.ByteCount;
        var result = _file.TryReadCached(operation.Buffer, byteCount, operation.ByteOffset);
        _readsWithoutWorker ??= result is not (-Errno.NotSupported or -Errno.NoSystemCall);
        if (byteCount < operation.ByteCount)
            return false;
        if (result <= 0)
            return false;
        _loop.CompleteSoon(operation, result);
        return true;
    }

    internal void Continue(BlobOperation operation, int result)
    {
        switch (operation.Call)
        {
            case FileCall.Read or FileCall.Write or FileCall.WritePiece:
                if (result is -Errno.Interrupted or -Errno.Again)
                {
                    Submit(operation);
                    return;
                }
                if (result > 0 && result < operation.ByteCount)
                {
                    // mutation: short-transfer-is-whole
                    operation.Buffer += result;
                    operation.ByteOffset += result;
                    operation.ByteCount -= result;
                    Submit(operation);
                    return;
                }
                // 0 bytes: a read met the end of a file that has become shorter, a write made no progress. Both mean broken storage.
                End(operation, result == operation.ByteCount ? 0 : result == 0 ? -Errno.IO : result);
                return;
            case FileCall.PunchHole or FileCall.Reserve
                when result is -Errno.NotSupported or -Errno.NoSystemCall or -Errno.Invalid or -Errno.NotTypewriter:
                End(operation, 0);
                return;
            case FileCall.Flush when result >= 0:
                _lastSyncTicks = _loop.Timestamp - _syncStarted;
                End(operation, 0);
                return;
            case FileCall.FindRuns:
                EndSearch(operation, result);
                return;
            case FileCall.Flush or FileCall.PunchHole or FileCall.Reserve when result == -Errno.Interrupted:
                // mutation: interrupted-sync-is-success (2 lines)
                // A signal is no answer: for a sync too, it says nothing of the data.
                Submit(operation);
                return;
            default:
                End(operation, Math.Min(result, 0));
                return;
        }
    }

    private void EndSearch(BlobOperation operation, int result)
    {
        _idleSearches.Push(operation.Search!);
        operation.Search = null;
        if (result == -Errno.Interrupted)
        {
            Submit(operation);
            return;
        }
        operation.Runs = null;
        if (--_searchCount == 0 && _isDisposed)
            _file.Dispose();
        End(operation, result);
    }

    private void End(BlobOperation operation, int result)
    {
        _loop.FileOperations--;
        if (operation.HasWorker)
        {
            operation.HasWorker = false;
            _workerCount--;
            if (_withoutWorker.TryDequeue(out var next))
                Submit(next);
        }
        operation.End(result);
    }

    /// <summary>A piece of a large buffered write; the pieces go one after the other, on a worker thread of the kernel's.</summary>
    private sealed class WritePiece(FileBlob blob) : BlobOperation
    {
        private BlobOperation? _whole;

        public void Start(BlobOperation whole, int start, int byteCount)
        {
            _whole = whole;
            (Buffer, ByteCount) = (whole.Buffer + start, byteCount);
            // mutation: piece-misplaced
            blob.Start(FileCall.WritePiece, whole.ByteOffset + start, byteCount, this);
        }

        public override void End(int result)
        {
            var whole = _whole!;
            _whole = null;
            blob._idlePieces.Push(this);
            if (result < 0)
                // mutation: piece-error-forgotten
                whole.PieceError = result;
            if (--whole.PiecesLeft == 0)
                blob.End(whole, whole.PieceError);
        }
    }
}
