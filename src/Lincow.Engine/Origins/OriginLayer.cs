using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Requests;

namespace Lincow.Origins;

/// <summary>
/// What lies below the overlays: a file, a block device, a program's code or nothing. Opened read-only and never written. Its holes are
/// found as requests come to them, some hundred at a time, without holding up the loop, and remembered, since the origin doesn't change
/// while it is open.
/// </summary>
internal sealed class OriginLayer : ILayer, IDisposable
{
    /// <summary>Searches on their way at once; who needs another one waits for one of these.</summary>
    private const int MaxSearches = 4;

    /// <summary>Remembered runs that are moved aside for a unit of work.</summary>
    private const int MovedPerUnit = 64;

    /// <summary>Where a search fails, so much is taken for data; then it is tried again.</summary>
    private const long UnsearchableBytes = 64 << 20;

    private readonly IReadableBlob? _blob;
    private readonly IBlobControl? _control;
    private readonly bool _ignoresHoles;
    private readonly KnownRuns _known = new();
    private readonly List<Search> _searches = new(MaxSearches);
    private RequestQueue _waiting;
    private Action<BlockRequest>? _resume;
    private TurnWork? _turns;

    /// <param name="uri">As the user names it.</param>
    /// <param name="identity">What it is like.</param>
    /// <param name="blob">Its data half; null where there are no bytes to read.</param>
    /// <param name="control">Its control half, to be asked whether it was changed; null where nobody asks.</param>
    /// <param name="ignoreHoles">No hole is looked for.</param>
    public OriginLayer(string uri, OriginIdentity identity, IReadableBlob? blob, IBlobControl? control = null, bool ignoreHoles = false)
    {
        Uri = uri;
        _ignoresHoles = ignoreHoles;
        _control = control;
        Identity = identity;
        _blob = blob;
        SizeBytes = blob is null ? 0 : identity.SizeBytes;
    }

    /// <summary>As the user names it: a path, or zero:SIZE.</summary>
    public string Uri { get; }

    public OriginIdentity Identity { get; }

    /// <summary>Bytes that can be read from it: 0 for an origin of nothing, whose every byte is beyond the end.</summary>
    public long SizeBytes { get; }

    /// <summary>Told of what an origin in a program's code has thrown, a sentence each.</summary>
    internal Action<LincowError>? Report
    {
        set
        {
            if (_blob is not null)
                _blob.Report = value;
        }
    }

    /// <inheritdoc cref="IReadableBlob.CancelReads"/>
    internal void CancelReads() => _blob?.CancelReads();

    public int AlignmentBytes => _blob?.AlignmentBytes ?? 1;

    /// <summary>No search is on its way.</summary>
    public bool IsIdle => _searches.Count == 0;

    public void Serve(Action<BlockRequest> resume, TurnWork turns) => (_resume, _turns) = (resume, turns);

    public Run Resolve(BlockRequest request, long byteOffset, long byteEnd)
    {
        if (byteOffset >= SizeBytes)
            return new Run(RunSource.OriginHole, null, 0, byteEnd - byteOffset);
        // mutation: holes-not-ignored
        if (_ignoresHoles)
            return new Run(RunSource.Origin, _blob, byteOffset, Math.Min(SizeBytes, byteEnd) - byteOffset);
        if (_known.TryFind(byteOffset, out var isHole, out var end))
        {
            var length = Math.Min(end, byteEnd) - byteOffset;
            return isHole ? new Run(RunSource.OriginHole, null, 0, length) : new Run(RunSource.Origin, _blob, byteOffset, length);
        }
        WaitFor(request, byteOffset / AlignmentBytes * AlignmentBytes);
        return default;
    }

    public void Dispose() => _blob?.Dispose();

    /// <summary>What is different from when it was opened, as far as that shows: a part of a sentence; null when nothing is.</summary>
    internal async ValueTask<string?> FindChangeAsync()
    {
        if (_control is null || _control.Facts.Kind is not (BlobKind.File or BlobKind.BlockDevice))
            return null;
        try
        {
            return await Identity.FindChangeAsync(_control).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException)
        {
            // What can't be looked at any more has said so to those who read it.
            return null;
        }
    }

    private void WaitFor(BlockRequest request, long byteOffset)
    {
        var search = FindSearch(byteOffset);
        if (search is null && _searches.Count < MaxSearches)
        {
            // Not kept: most origins are known after a few, and there may be a thousand of them.
            _searches.Add(search = new Search(this));
            _turns?.Spend(TurnWork.UnitsPerCall);
            search.Start(byteOffset);
        }
        // The end of its operations resumes it; by then this may be known.
        if (request.Outstanding > 0)
            return;
        if (search is not null)
            search.Waiters.Wait(request);
        else
            _waiting.Wait(request);
    }

    private Search? FindSearch(long byteOffset)
    {
        foreach (var search in _searches)
        {
            if (search.ByteOffset == byteOffset)
                return search;
        }
        return null;
    }

    private void Found(Search search, int result)
    {
        if (result < 0 || search.Runs.Count == 0)
        {
            search.Runs.Clear(search.ByteOffset);
            search.Runs.TryAdd(Math.Min(search.ByteOffset + UnsearchableBytes, SizeBytes), isData: true);
        }
        var moved = _known.Add(AlignmentBytes == 1 ? search.Runs : InWholeBlocks(search.Runs));
        Debug.Assert(_known.TryFind(search.ByteOffset, out _, out _), "what was searched is known");
        _turns?.Spend(TurnWork.UnitsPerCall + (moved / MovedPerUnit) + search.Runs.Count);
        _searches.Remove(search);
        var waiters = search.Waiters;
        search.Waiters = default;
        // Those who found no search free: their places may be known now, and if not, one of them starts the next search.
        waiters.TakeAll(ref _waiting);
        while (waiters.Dequeue() is { } waiter)
            _resume!(waiter);
    }

    /// <summary>Reads that must be aligned must not be cut at an unaligned hole: data grows to whole blocks, and holes shrink.</summary>
    private BlobRuns InWholeBlocks(BlobRuns runs)
    {
        var whole = new BlobRuns(runs.Count + 1);
        whole.Clear(runs.ByteOffset);
        for (var i = 0; i < runs.Count; i++)
        {
            var end = runs.EndOf(i);
            if (end < SizeBytes)
                end = runs.IsData(i) ? Math.Min((end + AlignmentBytes - 1) / AlignmentBytes * AlignmentBytes, SizeBytes)
                    : end / AlignmentBytes * AlignmentBytes;
            if (end > whole.ByteEnd)
                whole.TryAdd(end, runs.IsData(i));
        }
        if (whole.Count == 0)
            whole.TryAdd(Math.Min(runs.ByteOffset + AlignmentBytes, SizeBytes), isData: true);
        return whole;
    }

    /// <summary>A search on its way.</summary>
    private sealed class Search(OriginLayer origin) : BlobOperation
    {
        public RequestQueue Waiters;

        public new BlobRuns Runs { get; } = new();

        public new long ByteOffset { get; private set; }

        public void Start(long byteOffset)
        {
            ByteOffset = byteOffset;
            origin._blob!.FindRuns(byteOffset, origin.SizeBytes, Runs, this);
        }

        public override void End(int result) => origin.Found(this, result);
    }
}
