using Lincow.Linux;

namespace Lincow.Storage;

/// <summary>
/// A file or block device on an <see cref="IoLoop"/>. Finishes short transfers and retries interrupted ones, so that the engine sees whole
/// operations only.
/// </summary>
public sealed class FileStorage : IStorage
{
    /// <summary>Buffered transfers up to this size are made on the loop's own thread; larger ones copy on another core.</summary>
    private const int MaxInlineBytes = 128 << 10;

    private const int FallocKeepSize = 1, FallocPunchHole = 2;

    private readonly LinuxFile _file;
    private readonly IoLoop _loop;

    public FileStorage(LinuxFile file, IoLoop loop)
    {
        _file = file;
        _loop = loop;
        AlignmentBytes = file.IsDirect ? file.LogicalBlockBytes : 1;
    }

    public string Name => _file.Path;

    public int AlignmentBytes { get; }

    public void Read(long byteOffset, nint buffer, int byteCount, StorageOperation operation)
    {
        (operation.Buffer, operation.ByteCount) = (buffer, byteCount);
        Start(StorageCall.Read, byteOffset, byteCount, operation);
    }

    public void Write(long byteOffset, nint buffer, int byteCount, StorageOperation operation)
    {
        (operation.Buffer, operation.ByteCount) = (buffer, byteCount);
        Start(StorageCall.Write, byteOffset, byteCount, operation);
    }

    public void Flush(StorageOperation operation) => Start(StorageCall.Flush, 0, 0, operation);

    public void PunchHole(long byteOffset, long byteLength, StorageOperation operation) =>
        Start(StorageCall.PunchHole, byteOffset, byteLength, operation);

    public void Reserve(long byteOffset, long byteLength, StorageOperation operation) =>
        Start(StorageCall.Reserve, byteOffset, byteLength, operation);

    public bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd) =>
        _file.TryFindData(byteOffset, byteEnd, out dataStart, out dataEnd);

    public void WillNeed(long byteOffset, long byteLength) => _file.WillNeed(byteOffset, byteLength);

    public void Turn() => _loop.RunOnce();

    public void Dispose() => _file.Dispose();

    private void Start(StorageCall call, long byteOffset, long byteLength, StorageOperation operation)
    {
        (operation.Storage, operation.Call, operation.ByteOffset, operation.ByteLength) = (this, call, byteOffset, byteLength);
        Submit(operation);
    }

    /// <summary>Hands the operation, or what is left of it, to the loop.</summary>
    private void Submit(StorageOperation operation)
    {
        var descriptor = _file.Descriptor;
        switch (operation.Call)
        {
            case StorageCall.Read:
                if (!TryReadCached(operation))
                    _loop.Read(descriptor, operation.Buffer, operation.ByteCount, operation.ByteOffset, operation);
                break;
            // A buffered write is a copy into the page cache. Many file systems can't do that without blocking in principle (ext4 among them),
            // so io_uring hands it to a worker thread, whose wake-up costs more than the copy.
            case StorageCall.Write when !_file.IsDirect && operation.ByteCount <= MaxInlineBytes:
                _loop.CompleteSoon(operation, _file.TryWriteOnce(operation.Buffer, operation.ByteCount, operation.ByteOffset));
                break;
            case StorageCall.Write:
                _loop.Write(descriptor, operation.Buffer, operation.ByteCount, operation.ByteOffset, operation);
                break;
            case StorageCall.Flush:
                _loop.SyncData(descriptor, operation);
                break;
            case StorageCall.PunchHole:
                _loop.Allocate(descriptor, FallocKeepSize | FallocPunchHole, operation.ByteOffset, operation.ByteLength, operation);
                break;
            default:
                _loop.Allocate(descriptor, FallocKeepSize, operation.ByteOffset, operation.ByteLength, operation);
                break;
        }
    }

    // What is in the page cache is copied at once; everything else goes through the ring.
    private bool TryReadCached(StorageOperation operation)
    {
        if (_file.IsDirect || operation.ByteCount > MaxInlineBytes)
            return false;
        var result = _file.TryReadCached(operation.Buffer, operation.ByteCount, operation.ByteOffset);
        if (result <= 0)
            return false;
        _loop.CompleteSoon(operation, result);
        return true;
    }

    internal void Continue(StorageOperation operation, int result)
    {
        switch (operation.Call)
        {
            case StorageCall.Read or StorageCall.Write:
                if (result is -Errno.Interrupted or -Errno.Again)
                {
                    Submit(operation);
                    return;
                }
                if (result > 0 && result < operation.ByteCount)
                {
                    operation.Buffer += result;
                    operation.ByteOffset += result;
                    operation.ByteCount -= result;
                    Submit(operation);
                    return;
                }
                // 0 bytes: a read met the end of a file that has become shorter, a write made no progress. Both mean broken storage.
                operation.End(result == operation.ByteCount ? 0 : result == 0 ? -Errno.IO : result);
                return;
            case StorageCall.PunchHole or StorageCall.Reserve
                when result is -Errno.NotSupported or -Errno.NoSystemCall or -Errno.Invalid or -Errno.NotTypewriter:
                operation.End(0);
                return;
            case StorageCall.Flush or StorageCall.PunchHole or StorageCall.Reserve when result == -Errno.Interrupted:
                // A signal is no answer: for a sync too, it says nothing of the data.
                Submit(operation);
                return;
            default:
                operation.End(Math.Min(result, 0));
                return;
        }
    }
}
