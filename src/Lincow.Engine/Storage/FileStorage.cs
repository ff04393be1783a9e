using Lincow.Linux;

namespace Lincow.Storage;

/// <summary>
/// A file or block device on an <see cref="IoLoop"/>. Finishes short transfers and retries interrupted ones, so that the engine sees whole
/// operations only.
/// </summary>
public sealed class FileStorage : IStorage
{
    /// <summary>Buffered writes up to this size are made on the loop's own thread; larger ones copy on another core.</summary>
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

    public void Read(long byteOffset, nint buffer, int byteCount, StorageOperation operation) =>
        Start(StorageCall.Read, byteOffset, buffer, byteCount, operation);

    public void Write(long byteOffset, nint buffer, int byteCount, StorageOperation operation) =>
        Start(StorageCall.Write, byteOffset, buffer, byteCount, operation);

    public void Flush(StorageOperation operation)
    {
        (operation.Storage, operation.Call) = (this, StorageCall.Flush);
        Restart(operation);
    }

    public void PunchHole(long byteOffset, long byteLength, StorageOperation operation)
    {
        (operation.Storage, operation.Call, operation.ByteOffset, operation.ByteLength) = (this, StorageCall.PunchHole, byteOffset, byteLength);
        Restart(operation);
    }

    public void Reserve(long byteOffset, long byteLength, StorageOperation operation)
    {
        (operation.Storage, operation.Call, operation.ByteOffset, operation.ByteLength) = (this, StorageCall.Reserve, byteOffset, byteLength);
        Restart(operation);
    }

    public bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd) =>
        _file.TryFindData(byteOffset, byteEnd, out dataStart, out dataEnd);

    public void WillNeed(long byteOffset, long byteLength) => _file.WillNeed(byteOffset, byteLength);

    public void Turn() => _loop.RunOnce();

    public void Dispose() => _file.Dispose();

    private void Restart(StorageOperation operation)
    {
        if (operation.Call == StorageCall.Flush)
            _loop.SyncData(_file.Descriptor, operation);
        else
            _loop.Allocate(_file.Descriptor, FallocKeepSize | (operation.Call == StorageCall.PunchHole ? FallocPunchHole : 0), operation.ByteOffset, operation.ByteLength, operation);
    }

    private void Start(StorageCall call, long byteOffset, nint buffer, int byteCount, StorageOperation operation)
    {
        operation.Storage = this;
        operation.Call = call;
        operation.ByteOffset = byteOffset;
        operation.Buffer = buffer;
        operation.ByteCount = byteCount;
        Submit(operation);
    }

    private void Submit(StorageOperation operation)
    {
        // A buffered write is a copy into the page cache. Many file systems can't do that without blocking in principle (ext4 among them), so
        // io_uring hands it to a worker thread, whose wake-up costs more than the copy.
        if (!_file.IsDirect && operation.Call == StorageCall.Write && operation.ByteCount <= MaxInlineBytes)
            _loop.CompleteSoon(operation, _file.TryWriteOnce(operation.Buffer, operation.ByteCount, operation.ByteOffset));
        else if (operation.Call == StorageCall.Read && TryReadCached(operation))
            return;
        else if (operation.Call == StorageCall.Read)
            _loop.Read(_file.Descriptor, operation.Buffer, operation.ByteCount, operation.ByteOffset, operation);
        else
            _loop.Write(_file.Descriptor, operation.Buffer, operation.ByteCount, operation.ByteOffset, operation);
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
                Restart(operation);
                return;
            default:
                operation.End(Math.Min(result, 0));
                return;
        }
    }
}
