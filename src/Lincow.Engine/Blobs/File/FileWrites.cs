using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>
/// Buffered writes, in pieces: a short one on the loop's own thread, for the copy is shorter than a worker's wake-up; the pieces of a long
/// one by the ring.
/// </summary>
internal sealed class FileWrites
{
    /// <summary>Writes up to this size are made on the loop's own thread; larger ones copy on another core.</summary>
    public const int MaxInlineBytes = 128 << 10;

    /// <summary>
    /// Buffered writes are made in calls of this size. The kernel caches what one call writes in folios as large as the call, and ext4
    /// walks every block of a folio for each later write into it: 4 KiB into a folio of 1 MiB costs five times what it costs into one of 32
    /// KiB.
    /// </summary>
    public const int PieceBytes = 32 << 10;

    private readonly FileBlob _blob;
    private readonly LinuxFile _file;
    private readonly Stack<WritePiece> _idlePieces = new();

    public FileWrites(FileBlob blob, LinuxFile file) => (_blob, _file) = (blob, file);

    /// <summary>Writes at once; returns how much, or a negative errno.</summary>
    public int WriteNow(BlobOperation operation)
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

    /// <summary>Starts the pieces; the operation ends with the last of them.</summary>
    public void Start(BlobOperation operation)
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

    /// <summary>A piece of a large buffered write; the pieces go one after the other, on a worker thread of the kernel's.</summary>
    private sealed class WritePiece(FileWrites writes) : BlobOperation
    {
        private BlobOperation? _whole;

        public void Start(BlobOperation whole, int start, int byteCount)
        {
            _whole = whole;
            (Buffer, ByteCount) = (whole.Buffer + start, byteCount);
            // mutation: piece-misplaced
            writes._blob.Start(FileCall.WritePiece, whole.ByteOffset + start, byteCount, this);
        }

        public override void End(int result)
        {
            var whole = _whole!;
            _whole = null;
            writes._idlePieces.Push(this);
            if (result < 0)
                // mutation: piece-error-forgotten
                whole.PieceError = result;
            if (--whole.PiecesLeft == 0)
                writes._blob.End(whole, whole.PieceError);
        }
    }
}
