using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>One operation in flight on a blob; owned and reused by whoever starts it.</summary>
internal abstract class BlobOperation : IoCompletion
{
    internal FileBlob? Blob { get; set; }
    internal FileCall Call { get; set; }
    internal long ByteOffset { get; set; }
    internal nint Buffer { get; set; }
    internal int ByteCount { get; set; }
    internal long ByteLength { get; set; }
    internal BlobRuns? Runs { get; set; }
    internal RunSearch? Search { get; set; }

    /// <summary>Answers in a row that only asked to try again.</summary>
    internal int Refusals { get; set; }

    /// <summary>It waits before it is tried again.</summary>
    internal bool IsPausing { get; set; }

    internal int PiecesLeft { get; set; }
    internal int PieceError { get; set; }

    /// <summary>It is on its way, and counts as one that may take a worker thread.</summary>
    internal bool HasWorker { get; set; }

    /// <summary>Called once with 0 or a negative errno.</summary>
    public abstract void End(int result);

    public sealed override void Complete(int result)
    {
        if (Blob is { } blob)
            blob.Continue(this, result);
        else
            End(result);
    }
}

internal enum FileCall
{
    Read,
    Write,

    /// <summary>Inside a blob: a part of a large write.</summary>
    WritePiece,
    Flush,
    Yield,
    PunchHole,
    Reserve,
    FindRuns,
}
