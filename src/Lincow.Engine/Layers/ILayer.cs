using Lincow.Blobs;
using Lincow.Requests;

namespace Lincow.Layers;

/// <summary>What lies below the layer that is written: an origin, or frozen overlays with an origin below them. It never changes.</summary>
internal interface ILayer
{
    /// <summary>What direct I/O asks of offsets and lengths, in bytes: 1 through the page cache.</summary>
    int AlignmentBytes { get; }

    /// <summary>Nothing is being looked for or loaded.</summary>
    bool IsIdle { get; }

    /// <summary>The device tells how requests are resumed, and what look-ups may cost in a turn.</summary>
    void Serve(Action<BlockRequest> resume, TurnWork turns);

    /// <summary>
    /// Where the bytes from an offset on lie, and how many lie together there, up to an end. A length of 0: the request waits, unless
    /// something of it is in flight, whose end resumes it; or it has its error.
    /// </summary>
    Run Resolve(BlockRequest request, long byteOffset, long byteEnd);
}

/// <summary>An overlay that others stand on, so that nothing in it changes: what the index of such layers needs of its store.</summary>
internal interface IFrozenLayer : IDisposable
{
    Geometry Geometry { get; }

    /// <summary>What holds its chunks.</summary>
    IReadableBlob Data { get; }

    /// <summary>Where device byte 0 lies in <see cref="Data"/>.</summary>
    long DataOffset { get; }

    /// <summary>How long the image of a page is, in bytes.</summary>
    int ImageBytes { get; }

    /// <summary>Reads the image of a page of its chunk map (<see cref="ChunkMap.ChunksPerPage"/>).</summary>
    void ReadImage(long page, nint buffer, BlobOperation operation);

    /// <summary>The states in a page's image. False when they are lost; what that is, it tells.</summary>
    /// <param name="page">The page.</param>
    /// <param name="image">What was read.</param>
    /// <param name="words">Room for <see cref="ChunkMap.WordsPerPage"/> words.</param>
    /// <param name="report">Takes what is wrong.</param>
    bool TryDecode(long page, ReadOnlySpan<byte> image, Span<ulong> words, Action<LincowError>? report);
}
