using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// Reads again what couldn't be read: past the page cache, and no more than the logical blocks that were asked for.
///
///     page cache   [   4 KiB or more: one bad sector, and all of it is EIO   ]
///     asked for                 [ 512 bytes ]
///     read again                [ 512 bytes ]  EIO if one of these sectors is bad, and only then
///
/// It also serves what isn't aligned over a file that is opened past the cache.
/// </summary>
internal sealed class FileRereads(FileBlob blob, LinuxFile file, IoLoop loop) : IDisposable
{
    /// <summary>Every file can be read past the cache in blocks of this size.</summary>
    private const int LargestUnit = 4096;

    /// <summary>How often what asks to be tried again is tried.</summary>
    private const int Attempts = 16;

    private readonly Stack<Reread> _idle = new();
    private LinuxFile? _direct = file.IsDirect ? file : null;
    private int _unit = file.SmallestBlockBytes;
    private bool _isHopeless;

    /// <summary>
    /// Starts to read again; the operation ends with what comes of it. False: there is no way but the one that has failed.
    /// </summary>
    public bool TryStart(BlobOperation operation)
    {
        if (_isHopeless)
            return false;
        (_idle.TryPop(out var reread) ? reread : new Reread(this)).Start(operation);
        return true;
    }

    public void Dispose()
    {
        if (_direct != file)
            _direct?.Dispose();
    }

    private void End(Reread reread, BlobOperation operation, int result)
    {
        _idle.Push(reread);
        blob.End(operation, result);
    }

    private sealed class Reread(FileRereads owner) : IoCompletion
    {
        private BlobOperation? _operation;
        private Opening? _opening;
        private NativeBuffer _buffer;
        private long _start, _end, _cursor;
        private int _attempts;

        public void Start(BlobOperation operation)
        {
            (_operation, _attempts) = (operation, 0);
            if (owner._direct is not null)
                Begin();
            else
                // An open may wait for the disk.
                owner.Loop.RunElsewhere(_opening = new Opening(owner.File), this);
        }

        public override void Complete(int result)
        {
            if (_opening is { } opening)
                Opened(opening, result);
            else if (result is -Errno.Interrupted or -Errno.Again && ++_attempts < Attempts)
                Go();
            else if (result == -Errno.Invalid && owner._unit < LargestUnit)
                Enlarge();
            else if (result <= 0)
                End(-Errno.IO);
            else
                Advance(result);
        }

        private void Opened(Opening opening, int result)
        {
            _opening = null;
            if (owner._direct is null && result >= 0)
                owner._direct = opening.File;
            else
                opening.File?.Dispose();
            if (owner._direct is not null)
            {
                Begin();
                return;
            }
            // A file system without direct I/O stays one; descriptors and memory come back.
            owner._isHopeless = result is -Errno.Invalid or -Errno.NotSupported;
            End(-Errno.IO);
        }

        private void Begin()
        {
            var (operation, unit) = (_operation!, owner._unit);
            _start = _cursor = operation.ByteOffset & -unit;
            _end = (operation.ByteOffset + operation.ByteCount + unit - 1) & -unit;
            if (owner.Loop.Buffers.TryRent(_end - _start, out _buffer))
                Go();
            else
                End(-Errno.NoMemory);
        }

        private void Go() => owner.Loop.Read(owner._direct!.Descriptor, _buffer.Address + (nint)(_cursor - _start), (int)(_end - _cursor),
            _cursor, this);

        private void Enlarge()
        {
            owner._unit = LargestUnit;
            owner.Loop.Buffers.Return(_buffer);
            _buffer = default;
            Begin();
        }

        private void Advance(int byteCount)
        {
            _cursor += byteCount;
            if (_cursor >= _operation!.ByteOffset + _operation.ByteCount)
                End(0);
            // What ends within a block ends there for good.
            else if (_cursor % owner._unit != 0)
                End(-Errno.IO);
            else
                Go();
        }

        private void End(int result)
        {
            var operation = _operation!;
            if (result == 0)
                GuardedMemory.Copy(_buffer.Address + (nint)(operation.ByteOffset - _start), operation.Buffer, (nuint)operation.ByteCount);
            owner.Loop.Buffers.Return(_buffer);
            (_buffer, _operation) = (default, null);
            owner.End(this, operation, result);
        }
    }

    private LinuxFile File => file;

    private IoLoop Loop => loop;

    /// <summary>Opens the file once more, past the cache, on another thread.</summary>
    private sealed class Opening(LinuxFile file) : LoopWork
    {
        public LinuxFile? File { get; private set; }

        protected override void Begin()
        {
            try
            {
                File = file.Reopen(writable: false, direct: true);
                End(0);
            }
            catch (LinuxException e)
            {
                End(-e.Errno);
            }
        }
    }
}
