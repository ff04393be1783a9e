using System.Runtime.InteropServices;
using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Stores.Linear;

/// <summary>
/// The linear exception store of one open overlay: its superblock, its chunk map, the loading of map pages on demand and the state of its
/// health. Without a map's blob it is transient: the map lives in memory only.
/// </summary>
internal sealed unsafe class LinearStore : ExceptionStore
{
    /// <summary>Map pages being read at once; more wait for one of these to end.</summary>
    private const int MaxLoads = 32;

    private readonly BufferPool _buffers;
    private readonly List<PageLoad> _loads = [];
    private readonly Stack<PageLoad> _idleLoads = [];
    private readonly MapPages _pages;
    private int _loadCount;
    private bool _wasClean;
    private RequestQueue _waitingForLoad;
    private bool _hasDamage;
    private long _blankStart, _blankEnd, _dataStart, _dataEnd;
    private PageLoad? _searching;

    // Of the one search that is on its way: the hole or data where it began, and what follows.
    private readonly BlobRuns _found = new(2);
    private List<long> _roundPages = [];
    private int _nextPage;

    public LinearStore(Superblock superblock, IBlob? mapBlob, BufferPool buffers)
        : base(new ChunkMap(superblock.Geometry, startsEmpty: mapBlob is null, buffers), mapBlob, knowsZeroes: true)
    {
        Superblock = superblock;
        _buffers = buffers;
        _pages = new MapPages(Map);
        _wasClean = !superblock.InUse;
        // One has its memory for good, so loads always get on. The others are made when they are needed first.
        if (mapBlob is not null)
        {
            _ = TryTakeLoad(out var load) ? true : throw new LinuxException("malloc", "a buffer for map pages", Errno.NoMemory);
            _idleLoads.Push(load);
        }
    }

    public Superblock Superblock { get; set; }

    /// <summary>No map page is being read.</summary>
    public override bool IsIdle => _loads.Count == 0;

    public override bool HasUncommitted => Map.DirtyCount > 0;

    /// <summary>
    /// True when every map page of a run of chunks is in memory. Otherwise starts reading what is missing and false: the request is resumed
    /// when a page has come.
    /// </summary>
    public override bool TryLoad(ChunkIndex first, ChunkIndex end, BlockRequest request)
    {
        var lastPage = ChunkMap.PageOf(end.Value - 1);
        var isWaiting = false;
        for (var page = ChunkMap.PageOf(first.Value); page <= lastPage; page++)
        {
            if (Map.IsLoaded(page) || TryTakeBlank(page))
                continue;
            // What a search finds may settle other pages, too, so there is one at a time.
            var load = FindLoad(page) ?? (IsKnownData(page) ? null : _searching);
            if (load is null && TryTakeLoad(out load))
            {
                _loads.Add(load);
                Turns?.Spend(TurnWork.UnitsPerCall);
                if (IsKnownData(page))
                    load.StartRead(page);
                else
                    (_searching = load).StartSearch(page);
            }
            Turns?.Spend(1);
            if (isWaiting)
                continue;
            isWaiting = true;
            if (load is not null)
                load.Waiters.Wait(request);
            else
                _waitingForLoad.Wait(request);
        }
        return !isWaiting;
    }

    private bool TryTakeLoad([System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out PageLoad? load)
    {
        if (!_idleLoads.TryPop(out load) && _loadCount < MaxLoads)
        {
            load = new PageLoad(this);
            _loadCount++;
        }
        if (load is not null && !load.TryTakeBuffer())
        {
            // Those with a buffer come back above it.
            _idleLoads.Push(load);
            load = null;
        }
        return load is not null;
    }

    // A hole of the map is pages that were never written: nothing to read. What was a hole when it was looked at stays one until one of its
    // pages is written, and by then that page is loaded; so the last hole is remembered. So is the last data, to be read without a search.
    private bool TryTakeBlank(long page) => IsKnownBlank(page)
        && FindLoad(page) is null && TryLoadBlank(page);

    private bool TryLoadBlank(long page) => _pages.TryLoad(page, new PageVerdict(-1, 0, 0, false, false, null), default);

    // mutation: written-page-taken-for-blank
    private bool IsKnownBlank(long page) => PageOffset(page, 0) >= _blankStart && PageOffset(page + 1, 0) <= _blankEnd;

    private bool IsKnownData(long page) => PageOffset(page, 0) >= _dataStart && PageOffset(page, 0) < _dataEnd;

    /// <summary>Whether a run of chunks touches a page whose states are lost.</summary>
    public override bool IsDamaged(ChunkIndex first, ChunkIndex end)
    {
        var lastPage = ChunkMap.PageOf(end.Value - 1);
        for (var page = ChunkMap.PageOf(first.Value); page <= lastPage; page++)
        {
            if (Map.IsDamaged(page))
                return true;
        }
        return false;
    }

    /// <summary>Chunks have their place already; their states may need memory.</summary>
    public override int Reserve(BlockRequest request)
    {
        var geometry = Map.Geometry;
        var (first, end) = (geometry.ChunkAt(request.LockStart), geometry.ChunkFrom(request.LockEnd));
        var isReady = request.Operation switch
        {
            BlockOperation.Write => Map.TryPrepare(first, end, (first, end), ChunkState.Data),
            // Leaves what is zero.
            BlockOperation.CopyUp => Map.TryPrepare(first, end, default, ChunkState.Data),
            // mutation: states-of-edges-not-prepared (2 lines)
            _ => Map.TryPrepare(first, end, (geometry.ChunkFrom(request.BodyStart), geometry.ChunkFrom(request.BodyEnd)),
                request.HeadBecomesData || request.TailBecomesData ? null : ChunkState.Zero),
        };
        return isReady ? 0 : -Errno.NoMemory;
    }

    public override Place Locate(BlockRequest request, long byteOffset, long byteEnd) => LocateNow(byteOffset, byteEnd);

    /// <summary>Where the device's byte lies in the overlay's data: the linear promise, in one line.</summary>
    public override Place LocateNow(long byteOffset, long byteEnd) => new(byteOffset + Superblock.DataOffset, byteEnd - byteOffset);

    public override void Record(BlockRequest request, ChunkIndex first, ChunkIndex end) => Map.Set(first, end - first, ChunkState.Data);

    public override void GiveUp(BlockRequest request)
    {
    }

    public override void BeginRound()
    {
        _roundPages = Map.TakeDirty();
        _nextPage = 0;
    }

    /// <summary>The next dirty page, for the slot that doesn't count.</summary>
    public override bool TryTakeImage(MetadataImage image)
    {
        LacksMemory = false;
        if (_nextPage == _roundPages.Count)
            return false;
        LacksMemory = !_buffers.TryRent(MapFormat.PageBytes, out var buffer);
        if (LacksMemory)
            return false;
        image.Page = _roundPages[_nextPage++];
        image.Image = buffer;
        image.ImageBytes = MapFormat.PageBytes;
        image.Slot = _pages.Encode(image.Page, new Span<byte>((void*)image.Image.Address, MapFormat.PageBytes), Superblock.Uuid,
            Superblock.Generation);
        image.TargetOffset = PageOffset(image.Page, image.Slot);
        return true;
    }

    public override void Committed(MetadataImage image) => _pages.Committed(image.Page, image.Slot);

    // The slots that were written to are not the current ones, so nothing is lost.
    public override void KeepForLater(List<MetadataImage> batch)
    {
        foreach (var image in batch)
            // mutation: no-space-forgets-pages
            Map.MarkDirty(image.Page);
        for (; _nextPage < _roundPages.Count; _nextPage++)
            Map.Requeue(_roundPages[_nextPage]);
    }

    /// <summary>
    /// Marks the overlay as used by a writer, before it changes anything: from now on twins alternate, so damage is judged more strictly
    /// until a clean close.
    /// </summary>
    public void MarkInUse()
    {
        // mutation: open-not-marked
        if (MetadataBlob is not null)
            Rewrite(Superblock with { Flags = Superblock.Flags | SuperblockFlags.InUse });
    }

    /// <summary>Puts another superblock of this overlay on stable storage. Throws <see cref="LincowException"/>.</summary>
    public void Rewrite(Superblock next) => Superblock = SuperblockFile.Update(MetadataBlob!, next, _buffers);

    /// <summary>
    /// The clean close, when no request is in flight and the last flush round has ended: makes every page's twins equal, then clears the
    /// in-use mark. After an open that followed a crash that means all pages, for any of them may have been cut. A failed device, or one
    /// with a damaged page, stays marked.
    /// </summary>
    public override void CloseCleanly(bool reclaimed)
    {
        if (MetadataBlob is null || FailedBecause is not null)
            return;
        // mutation: close-unmarks-first
        bool isSound;
        var buffer = _buffers.Rent(MapFormat.PairBytes);
        try
        {
            // mutation: crash-forgotten-at-close
            isSound = _wasClean || LoadEveryPage(buffer);
            // mutation: close-leaves-twins-apart (2 lines)
            if (!TryEvenTwins(buffer))
                return;
        }
        finally
        {
            _buffers.Return(buffer);
        }
        _pages.TwinsAreEqual();
        Check(MetadataBlob.FlushNow());
        var flags = Superblock.Flags;
        if (isSound && !_hasDamage)
            flags &= ~SuperblockFlags.InUse;
        if (reclaimed)
            flags &= ~SuperblockFlags.ReclaimPending;
        Superblock = SuperblockFile.Update(MetadataBlob, Superblock with { Flags = flags }, _buffers);
    }

    // False when there is no space for a second copy.
    private bool TryEvenTwins(NativeBuffer buffer)
    {
        foreach (var page in _pages.StaleTwins)
        {
            _pages.EncodeTwin(page, new Span<byte>((void*)buffer.Address, MapFormat.PageBytes), Superblock.Uuid, Superblock.Generation);
            // Without a current slot the page is empty whichever way it is cut, so both may be written.
            for (var slot = 0; slot < 2; slot++)
            {
                var result = _pages.SlotOf(page) == slot ? 0
                    : MetadataBlob!.WriteUntilItSucceeds(PageOffset(page, slot), buffer, MapFormat.PageBytes);
                if (Errno.IsLackOfSpace(result))
                {
                    Report?.Invoke(LinearErrors.TwinsNoSpace(MetadataBlob!.Name));
                    return false;
                }
                Check(result);
            }
        }
        return true;
    }

    private bool LoadEveryPage(NativeBuffer buffer)
    {
        var runs = new BlobRuns();
        for (var page = 0L; page < Map.PageCount;)
        {
            Check(MetadataBlob!.FindRunsNow(PageOffset(page, 0), PageOffset(Map.PageCount, 0), runs));
            for (var i = 0; i < runs.Count; i++)
            {
                for (; runs.IsData(i) && PageOffset(page, 0) < runs.EndOf(i); page++)
                    LoadNow(page, buffer);
                // A page that begins in a hole may end in data.
                page = Math.Max(page, (runs.EndOf(i) - Superblock.MapOffsetBytes) / MapFormat.PairBytes);
            }
        }
        return !_hasDamage;
    }

    private void LoadNow(long page, NativeBuffer buffer)
    {
        if (Map.IsLoaded(page))
            return;
        Check(MetadataBlob!.ReadNow(PageOffset(page, 0), buffer, MapFormat.PairBytes));
        Check(TryTakePage(page, buffer) ? 0 : -Errno.NoMemory);
    }

    private bool IsBlank(long byteOffset, long byteEnd)
    {
        var runs = new BlobRuns(1);
        Check(MetadataBlob!.FindRunsNow(byteOffset, byteEnd, runs));
        return runs.Count == 1 && !runs.IsData(0) && runs.ByteEnd == byteEnd;
    }

    /// <summary>
    /// Back to the origin, when no request is in flight and no flush round is running: one update of the superblock is the moment, as in
    /// OverlayReset. Throws, and fails the device, when it isn't known whether that has happened.
    /// </summary>
    public void Restart()
    {
        var next = Superblock.WithoutCommit() with
        {
            Generation = Superblock.Generation + 1,
            Flags = Superblock.Flags | SuperblockFlags.InUse | SuperblockFlags.ReclaimPending
        };
        if (MetadataBlob is not null)
        {
            try
            {
                next = SuperblockFile.Update(MetadataBlob, next, _buffers);
            }
            catch (LincowException e)
            {
                Fail(e.Message);
                throw;
            }
            // Pages that stay are of an older generation and read as empty. But their twins differ, as they do in use, so that a clean
            // close has to look at every one of them.
            MetadataBlob.PunchHoleNow(PageOffset(0, 0), next.MapBytes);
            if (!IsBlank(PageOffset(0, 0), PageOffset(Map.PageCount, 0)))
                _wasClean = false;
        }
        Superblock = next;
        Map.Forget();
        _pages.Forget();
        _hasDamage = false;
        (_blankStart, _blankEnd, _dataStart, _dataEnd) = (0, 0, 0, 0);
    }

    /// <summary>The byte offset of a page's slot in the map's blob.</summary>
    public static long PageOffset(long page, int slot) => Superblock.MapOffsetBytes + MapFormat.PairOffset(page)
        + slot * MapFormat.PageBytes;

    public override void Dispose()
    {
        Map.Dispose();
        _pages.Dispose();
        foreach (var load in _idleLoads)
            _buffers.Return(load.Buffer);
        MetadataBlob?.Dispose();
    }

    private void Check(int result)
    {
        if (result < 0)
            throw new LinuxException("write or sync of the map", MetadataBlob!.Name, -result);
    }

    private PageLoad? FindLoad(long page)
    {
        foreach (var load in CollectionsMarshal.AsSpan(_loads))
        {
            if (load.Page == page)
                return load;
        }
        return null;
    }

    private void Searched(PageLoad load, BlobRuns runs, int result)
    {
        _searching = null;
        var page = load.Page;
        if (result == 0)
            Remember(runs);
        var waiters = load.Waiters;
        load.Waiters = default;
        if (IsKnownBlank(page))
        {
            EndLoad(load);
            TryLoadBlank(page);
        }
        else
        {
            load.StartRead(page);
        }
        // Also those who need other pages.
        while (waiters.Dequeue() is { } waiter)
            Resume!(waiter);
        ResumeWaiting();
    }

    private void Remember(BlobRuns runs)
    {
        for (var i = 0; i < runs.Count; i++)
        {
            if (runs.IsData(i))
                (_dataStart, _dataEnd) = (runs.StartOf(i), runs.EndOf(i));
            else if (i == 0)
                (_blankStart, _blankEnd) = (runs.StartOf(i), runs.EndOf(i));
        }
    }

    private void EndLoad(PageLoad load)
    {
        _loads.Remove(load);
        _idleLoads.Push(load);
    }

    private void Loaded(PageLoad load, int result)
    {
        EndLoad(load);
        if (result < 0)
            Report?.Invoke(LinearErrors.MapPageUnreadable(MetadataBlob!.Name, load.Page, -result));
        else if (!TryTakePage(load.Page, load.Buffer))
            result = -Errno.NoMemory;
        var waiters = load.Waiters;
        load.Waiters = default;
        while (waiters.Dequeue() is { } waiter)
            ResumeOrFail(waiter, result);
        ResumeWaiting();
    }

    // Not one for one: a request whose page has come meanwhile starts no load, and must not use up another's turn. A request comes back
    // into this queue only when no load with a buffer is idle, so this ends. In a spent turn more than one would only change one queue for
    // another.
    public override void ResumeWaiting()
    {
        while (_idleLoads.TryPeek(out var idle) && !idle.Buffer.IsEmpty && _waitingForLoad.Dequeue() is { } next)
        {
            Resume!(next);
            if (Turns is { IsSpent: true })
                return;
        }
    }

    private void ResumeOrFail(BlockRequest waiter, int result)
    {
        if (result < 0)
            waiter.Error = result;
        Resume!(waiter);
    }

    // False when there is no memory for it; it isn't loaded then.
    private bool TryTakePage(long page, NativeBuffer buffer)
    {
        var pair = new ReadOnlySpan<byte>((void*)buffer.Address, MapFormat.PairBytes);
        var verdict = MapPageJudge.Judge(pair, Superblock, page, _wasClean);
        if (!_pages.TryLoad(page, verdict, verdict.Slot < 0 ? default
            : pair.Slice(verdict.Slot * MapFormat.PageBytes, MapFormat.PageBytes)))
            return false;
        _hasDamage |= verdict.IsDamaged;
        if (verdict.Finding is not null)
            Report?.Invoke(MapPageJudge.Describe(verdict, Superblock, page, MetadataBlob!.Name));
        return true;
    }

    /// <summary>Looks whether a page was ever written, unless that is known, and reads it.</summary>
    private sealed class PageLoad(LinearStore store) : BlobOperation
    {
        private bool _isSearching;

        public RequestQueue Waiters;

        public long Page { get; private set; }

        public new NativeBuffer Buffer { get; private set; }

        /// <summary>Makes sure of its buffer, which it keeps.</summary>
        public bool TryTakeBuffer()
        {
            if (Buffer.IsEmpty && store._buffers.TryRent(MapFormat.PairBytes, out var buffer))
                Buffer = buffer;
            return !Buffer.IsEmpty;
        }

        public void StartSearch(long page)
        {
            (Page, _isSearching) = (page, true);
            store.MetadataBlob!.FindRuns(PageOffset(page, 0), PageOffset(store.Map.PageCount, 0), store._found, this);
        }

        public void StartRead(long page)
        {
            (Page, _isSearching) = (page, false);
            store.MetadataBlob!.Read(PageOffset(page, 0), Buffer.Address, MapFormat.PairBytes, this);
        }

        public override void End(int result)
        {
            if (_isSearching)
                store.Searched(this, store._found, result);
            else
                store.Loaded(this, result);
        }
    }
}
