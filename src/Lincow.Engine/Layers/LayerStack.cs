using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Layers;

/// <summary>
/// Which layer holds a byte, and how that changes: the only place that decides where data lives. The device above asks for runs of bytes
/// and says what it has written; it sees no map, no store and no chunk's state.
///
///     top       the overlay's exception store: a chunk is data (where the store says), zero, or not the top's
///     frozen    overlays below it, if any, looked up in one index whatever their number (FrozenLayers)
///     origin    everything else, at the same offset; zeroes in its holes and beyond its end
///
/// Where an answer has to be read first, a method returns nothing or false, and the request is resumed when it may be there. A request asks
/// when nothing else of it waits: it is in one queue at a time.
/// </summary>
internal sealed class LayerStack
{
    /// <summary>
    /// Entries that a list takes between two looks at the turn's units. A map's page of one state can't be set in part without memory.
    /// </summary>
    private const int RecordChunks = 1024;

    private readonly ExceptionStore _top;
    private readonly ChunkMap _map;
    private readonly ILayer _below;

    public LayerStack(ExceptionStore top, IBlob data, ILayer below)
    {
        (_top, _map, _below, Data, Geometry) = (top, top.Map, below, data, top.Map.Geometry);
        AlignmentBytes = Math.Max(data.AlignmentBytes, below.AlignmentBytes);
    }

    public Geometry Geometry { get; }

    /// <summary>Direct I/O on any layer makes its unit, in bytes, the device's.</summary>
    public int AlignmentBytes { get; }

    /// <summary>What holds the top layer's chunks: where the device writes.</summary>
    public IBlob Data { get; }

    /// <summary>
    /// Whether a chunk of the top can be zero without holding zeroes. If not, zeroes are written like any data, and nothing is discarded.
    /// </summary>
    public bool KnowsZeroes => _top.KnowsZeroes;

    /// <summary>Whether another process finds what was written.</summary>
    public bool IsPersistent => _top.MetadataBlob is not null;

    /// <summary>Nothing is being loaded.</summary>
    public bool IsIdle => _top.IsIdle && _below.IsIdle;

    /// <summary>The top layer, for the control plane.</summary>
    public ExceptionStore Top => _top;

    /// <summary>The device tells how requests are resumed, and what look-ups may cost in a turn.</summary>
    public void Serve(Action<BlockRequest> resume, TurnWork turns)
    {
        (_top.Resume, _top.Turns) = (resume, turns);
        _below.Serve(resume, turns);
    }

    /// <summary>A turn has begun: resumes those that an earlier one had no units for.</summary>
    public void ResumeWaiting() => _top.ResumeWaiting();

    /// <summary>True when it is known which of the chunks the top holds. Otherwise the request waits.</summary>
    public bool TryLoad(ChunkIndex first, ChunkIndex end, BlockRequest request) => _top.TryLoad(first, end, request);

    /// <summary>Whether that is known of a chunk without a wait.</summary>
    public bool IsLoaded(ChunkIndex chunk) => _map.IsLoaded(ChunkMap.PageOf(chunk.Value));

    /// <summary>Whether the top has lost what it holds of a run of chunks, or whether it holds any.</summary>
    public bool IsLost(ChunkIndex first, ChunkIndex end) => _top.IsDamaged(first, end);

    /// <summary>Whether the top holds the data of a byte.</summary>
    public bool IsHeld(long byteOffset) => _map.StateOf(Geometry.ChunkAt(byteOffset)) == ChunkState.Data;

    /// <summary>Whether a byte isn't the top's: neither data nor zero.</summary>
    public bool IsBelow(long byteOffset) => _map.StateOf(Geometry.ChunkAt(byteOffset)) == ChunkState.Origin;

    /// <summary>
    /// Where the bytes from an offset on come from, and how many share that, up to an end. Their place may still have to be found.
    /// </summary>
    public BlockExtent Look(BlockRequest request, long byteOffset, long byteEnd)
    {
        var state = StateAt(request, byteOffset, byteEnd, out var length);
        if (length == 0)
            return default;
        if (state == ChunkState.Origin)
        {
            var below = _below.Resolve(request, byteOffset, byteOffset + length);
            return new BlockExtent(below.ByteLength, below.Source);
        }
        return new BlockExtent(length, state == ChunkState.Data ? RunSource.Data : RunSource.Zero);
    }

    /// <summary>Where the bytes from an offset on lie, and how many lie together there, up to an end.</summary>
    public Run Resolve(BlockRequest request, long byteOffset, long byteEnd)
    {
        var state = StateAt(request, byteOffset, byteEnd, out var length);
        if (state == ChunkState.Origin)
            return length == 0 ? default : _below.Resolve(request, byteOffset, byteOffset + length);
        if (state == ChunkState.Zero)
            return new Run(RunSource.Zero, null, 0, length);
        var place = _top.Locate(request, byteOffset, byteOffset + length);
        return new Run(RunSource.Data, Data, place.DataOffset, place.ByteLength);
    }

    // A length of 0 when it is lost.
    private ChunkState StateAt(BlockRequest request, long byteOffset, long byteEnd, out long byteLength)
    {
        var chunk = Geometry.ChunkAt(byteOffset);
        Debug.Assert(byteOffset < byteEnd && _map.IsLoaded(ChunkMap.PageOf(chunk.Value)),
            "the states of a range are loaded before it is looked at");
        if (_top.IsDamaged(chunk, chunk + 1))
        {
            (request.Error, byteLength) = (-Errno.IO, 0);
            return ChunkState.Origin;
        }
        var (state, count) = _map.RunAt(chunk, Geometry.ChunkFrom(byteEnd) - chunk);
        byteLength = Math.Min(byteEnd, Geometry.StartOf(chunk + count)) - byteOffset;
        return state;
    }

    /// <summary>
    /// Makes sure of room for what a request is going to change in its locked range: chunks that the top doesn't hold, and memory for what
    /// is then known of them. Whatever could be missing is missing now, before anything has been written. 0 or a negative errno.
    /// </summary>
    public int Reserve(BlockRequest request) => _top.Reserve(request);

    /// <summary>The request has ended without recording what it had reserved.</summary>
    public void GiveUp(BlockRequest request)
    {
        if (request.ReservedCount > 0)
            _top.GiveUp(request);
    }

    /// <summary>
    /// Where a request with a reservation writes bytes of its range in <see cref="Data"/>, and how many lie together; a length as
    /// <see cref="Run"/>'s.
    /// </summary>
    public Place PlaceFor(BlockRequest request, long byteOffset, long byteEnd) => _top.Locate(request, byteOffset, byteEnd);

    /// <summary>The end of the chunks from one on that are recorded in one go.</summary>
    public ChunkIndex EndOfRecord(ChunkIndex first, ChunkIndex end) =>
        // mutation: map-page-set-in-pieces
        KnowsZeroes ? ChunkMap.EndOfPage(first, end) : end - first > RecordChunks ? first + RecordChunks : end;

    /// <summary>
    /// What recording so many chunks costs, in units of a turn: a list has an entry for each chunk, a map a word for 32 of them.
    /// </summary>
    public int UnitsToRecord(long chunkCount) => (int)(KnowsZeroes ? chunkCount >> 5 : chunkCount);

    /// <summary>What it costs to find where bytes of the top lie: a list is asked for each chunk.</summary>
    public int UnitsToLocate(long byteCount) => KnowsZeroes ? 0 : (int)(byteCount >> Geometry.ChunkShift);

    /// <summary>All bytes of a run of chunks are in the top now.</summary>
    public void Record(BlockRequest request, ChunkIndex first, ChunkIndex end) => _top.Record(request, first, end);

    /// <summary>As <see cref="Record"/>, but only of the chunks that weren't the top's: a copy-up changes nothing else.</summary>
    public void RecordCopies(BlockRequest request, ChunkIndex first, ChunkIndex end)
    {
        while (first < end)
        {
            var (state, count) = _map.RunAt(first, end - first);
            if (state == ChunkState.Origin)
                _top.Record(request, first, first + count);
            // mutation: copy-up-keeps-the-first-chunk-only
            first += count;
        }
    }

    /// <summary>The end of the chunks from one on that <see cref="Zero"/> takes in one go.</summary>
    public static ChunkIndex EndOfZero(ChunkIndex first, ChunkIndex end) => ChunkMap.EndOfPage(first, end);

    /// <summary>A run of whole chunks reads as zeroes from now on.</summary>
    public void Zero(ChunkIndex first, ChunkIndex end) => _map.Set(first, end - first, ChunkState.Zero);

    /// <summary>
    /// From the first to past the last chunk with data of the top's; what lies between them may be of any state. False when there is none.
    /// </summary>
    /// <param name="first">The first chunk to look at.</param>
    /// <param name="end">Past the last one.</param>
    /// <param name="from">The first chunk with data.</param>
    /// <param name="to">Past the last chunk with data.</param>
    /// <param name="runs">How many runs were looked at.</param>
    public bool TryFindHeld(ChunkIndex first, ChunkIndex end, out ChunkIndex from, out ChunkIndex to, out int runs)
    {
        (from, to) = (end, first);
        for (runs = 0; first < end; runs++)
        {
            var (isHeld, count) = HeldAt(first, end);
            if (isHeld)
            {
                if (first < from)
                    from = first;
                to = first + count;
            }
            first += count;
        }
        return from < to;
    }

    /// <summary>Whether a chunk is data of the top's, and how many chunks from it on share that, or a part of them.</summary>
    public (bool IsHeld, long ChunkCount) HeldAt(ChunkIndex first, ChunkIndex end)
    {
        var (state, count) = _map.RunAt(first, end - first);
        return (state == ChunkState.Data, count);
    }

    /// <summary>What holds the top's metadata; null for a transient overlay.</summary>
    public IBlob? MetadataBlob => _top.MetadataBlob;

    /// <summary>Why everything is EIO until the overlay is opened again; null while it is well.</summary>
    public string? FailedBecause => _top.FailedBecause;

    /// <summary>A sync has failed, so nobody knows what is on disk.</summary>
    public void Fail(string reason) => _top.Fail(reason);

    /// <summary>Tells a person, once, of damage or failure.</summary>
    public void Report(LincowError error) => _top.Report?.Invoke(error);

    /// <summary>Some metadata is only in memory; a crash would lose it.</summary>
    public bool HasUncommitted => _top.HasUncommitted;

    /// <inheritdoc cref="ExceptionStore.BeginRound"/>
    public void BeginRound() => _top.BeginRound();

    /// <inheritdoc cref="ExceptionStore.TryContinueRound"/>
    public bool TryContinueRound() => _top.TryContinueRound();

    /// <inheritdoc cref="ExceptionStore.TryTakeImage"/>
    public bool TryTakeImage(MetadataImage image) => _top.TryTakeImage(image);

    /// <summary>The last <see cref="TryTakeImage"/> found no memory for one.</summary>
    public bool LacksMemory => _top.LacksMemory;

    /// <inheritdoc cref="ExceptionStore.Committed"/>
    public void Committed(MetadataImage image) => _top.Committed(image);

    /// <inheritdoc cref="ExceptionStore.KeepForLater"/>
    public void KeepForLater(List<MetadataImage> batch) => _top.KeepForLater(batch);

    /// <inheritdoc cref="ExceptionStore.GiveUpForGood"/>
    public void GiveUpForGood(string reason, Action done) => _top.GiveUpForGood(reason, done);
}
