using System.Diagnostics;
using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// A file or block device on an <see cref="IoLoop"/>. Finishes short transfers and tries again what only asks for that, so that the engine
/// sees whole operations and final errors only. How writes, syncs and searches are made, and on which thread, is said next door:
/// <see cref="FileWrites"/>,
/// <see cref="FileSyncs"/>, <see cref="FileSearches"/>, <see cref="FileRereads"/>, <see cref="WorkerShare"/>.
/// </summary>
internal sealed class FileBlob : IBlob
{
    /// <summary>Reads up to this size are copied from the page cache on the loop's own thread; larger ones on another core.</summary>
    private const int MaxInlineBytes = 128 << 10;

    /// <summary>How often what asks to be tried again is tried at once.</summary>
    internal const int QuickAttempts = 16;

    /// <summary>Afterwards it is tried for this long, at these intervals; then the answer is EIO, and final.</summary>
    internal const int PatienceMilliseconds = 5000, PauseMilliseconds = 50;

    private readonly LinuxFile _file;
    private readonly IoLoop _loop;
    private readonly FileWrites _writes;
    private readonly FileSyncs _syncs;
    private readonly FileSearches _searches;
    private readonly FileRereads _rereads;
    private readonly WorkerShare _workers = new();
    private readonly bool _isBlockDevice;
    private bool? _readsWithoutWorker;
    private bool _isDisposed;

    public FileBlob(LinuxFile file, IoLoop loop)
    {
        _file = file;
        _loop = loop;
        (_writes, _syncs, _searches) = (new FileWrites(this, file), new FileSyncs(file, loop), new FileSearches(file, loop));
        _rereads = new FileRereads(this, file, loop);
        AlignmentBytes = file.IsDirect ? file.LogicalBlockBytes : 1;
        _isBlockDevice = file.Facts.Kind == FileKind.BlockDevice;
        // Direct reads wait for the device, not in a thread.
        _readsWithoutWorker = file.IsDirect ? true : null;
    }

    public string Name => _file.Path;

    public Action<LincowError>? Report { get; set; }

    public int AlignmentBytes { get; }

    /// <summary>Operations that wait because the blob has its share of worker threads, for tests.</summary>
    internal int WaitingForWorkers => _workers.WaitingCount;

    /// <summary>Syncs that were made on the loop's own thread, for tests.</summary>
    internal long SyncsInPlace => _syncs.CountInPlace;

    public void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        (operation.Buffer, operation.ByteCount) = (buffer, byteCount);
        Start(FileCall.Read, byteOffset, byteCount, operation);
    }

    // Direct I/O needs aligned offsets, lengths and addresses.
    private bool IsUnaligned(BlobOperation operation) =>
        _file.IsDirect && ((operation.ByteOffset | operation.Buffer | (uint)operation.ByteCount) & (AlignmentBytes - 1)) != 0;

    public void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        if (!_file.IsDirect)
            _syncs.NoteWritten(byteCount);
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

    public void Delay(int milliseconds, BlobOperation operation)
    {
        operation.Blob = null;
        _loop.Delay(milliseconds, operation);
    }

    public void PunchHole(long byteOffset, long byteLength, BlobOperation operation) =>
        Start(FileCall.PunchHole, byteOffset, byteLength, operation);

    public void Reserve(long byteOffset, long byteLength, BlobOperation operation) =>
        Start(FileCall.Reserve, byteOffset, byteLength, operation);

    public void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
    {
        operation.Runs = runs;
        _searches.Count++;
        Start(FileCall.FindRuns, byteOffset, byteEnd - byteOffset, operation);
    }

    public void CancelReads()
    {
    }

    public void WillNeed(long byteOffset, long byteLength) => _file.WillNeed(byteOffset, byteLength);

    public void Turn() => _loop.RunOnce();

    /// <summary>A search that is on its way keeps the descriptor: its number could be another file's.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        if (_searches.Count == 0)
            CloseFile();
    }

    private void CloseFile()
    {
        _rereads.Dispose();
        _file.Dispose();
    }

    internal void Start(FileCall call, long byteOffset, long byteLength, BlobOperation operation)
    {
        operation.Refusals = 0;
        (operation.Blob, operation.Call, operation.ByteOffset, operation.ByteLength) = (this, call, byteOffset, byteLength);
        _loop.FileOperations++;
        Submit(operation);
    }

    /// <summary>Hands the operation, or what is left of it, to the loop, as soon as it may take a worker if it needs one.</summary>
    private void Submit(BlobOperation operation)
    {
        if (operation.Call == FileCall.Read && (IsUnaligned(operation) ? _rereads.TryStart(operation) : TryReadCached(operation)))
            return;
        if (TakesWorker(operation.Call) && !_workers.TryTake(operation))
            return;
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
            case FileCall.Write when !_file.IsDirect && operation.ByteCount <= FileWrites.MaxInlineBytes:
                _loop.CompleteSoon(operation, _writes.WriteNow(operation));
                break;
            case FileCall.Write when !_file.IsDirect:
                _writes.Start(operation);
                break;
            case FileCall.Write or FileCall.WritePiece:
                _loop.Write(descriptor, operation.Buffer, operation.ByteCount, operation.ByteOffset, operation);
                break;
            case FileCall.Flush:
                _syncs.Start(operation);
                break;
            case FileCall.Yield:
                _loop.CompleteSoon(operation, 0);
                break;
            case FileCall.PunchHole:
                _loop.Allocate(descriptor, IoLoop.KeepSize | IoLoop.PunchHole, operation.ByteOffset, operation.ByteLength, operation);
                break;
            case FileCall.FindRuns:
                _searches.Start(operation);
                break;
            default:
                _loop.Allocate(descriptor, IoLoop.KeepSize, operation.ByteOffset, operation.ByteLength, operation);
                break;
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
        if (operation.IsPausing)
        {
            operation.IsPausing = false;
            Submit(operation);
            return;
        }
        switch (operation.Call)
        {
            case FileCall.Read or FileCall.Write or FileCall.WritePiece:
                // mutation: passing-error-is-final
                if (result is -Errno.Interrupted or -Errno.Again)
                {
                    TryAgain(operation);
                    return;
                }
                if (result > 0 && result < operation.ByteCount)
                {
                    // mutation: short-transfer-is-whole
                    operation.Buffer += result;
                    operation.ByteOffset += result;
                    operation.ByteCount -= result;
                    operation.Refusals = 0;
                    Submit(operation);
                    return;
                }
                // mutation: bad-sector-takes-its-page
                if (operation.Call == FileCall.Read && result == -Errno.IO && !_file.IsDirect && _rereads.TryStart(operation))
                    return;
                // 0 bytes: a read met the end of a file that has become shorter, a write made no progress. Both mean broken storage, as
                // does what a disk says by its own names when nothing lies between.
                End(operation, result == operation.ByteCount ? 0 : result is 0 or -Errno.NoData ? -Errno.IO : result);
                return;
            case FileCall.PunchHole or FileCall.Reserve
                when result is -Errno.NotSupported or -Errno.NoSystemCall or -Errno.Invalid or -Errno.NotTypewriter or -Errno.Perm:
                End(operation, 0);
                return;
            case FileCall.Flush when result >= 0:
                _syncs.NoteEnd();
                End(operation, 0);
                return;
            case FileCall.FindRuns:
                _searches.NoteEnd(operation);
                if (_isDisposed && _searches.Count == 0)
                    CloseFile();
                End(operation, result);
                return;
            case FileCall.Flush or FileCall.PunchHole or FileCall.Reserve when result == -Errno.Interrupted:
                // mutation: interrupted-sync-is-success (2 lines)
                // A signal is no answer: for a sync too, it says nothing of the data.
                TryAgain(operation);
                return;
            default:
                End(operation, Math.Min(result, 0));
                return;
        }
    }

    private void TryAgain(BlobOperation operation)
    {
        operation.Refusals++;
        if (operation.Refusals <= QuickAttempts)
        {
            Submit(operation);
        }
        else if (operation.Refusals <= QuickAttempts + PatienceMilliseconds / PauseMilliseconds)
        {
            operation.IsPausing = true;
            _loop.Delay(PauseMilliseconds, operation);
        }
        else
        {
            End(operation, -Errno.IO);
        }
    }

    internal void End(BlobOperation operation, int result)
    {
        _loop.FileOperations--;
        if (_workers.GiveBack(operation) is { } next)
            Submit(next);
        operation.End(result);
    }
}
