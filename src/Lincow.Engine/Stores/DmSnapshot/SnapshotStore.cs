using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Stores.DmSnapshot;

/// <summary>
/// The kernel's exception store (dm-snapshot) behind the same device as the linear one. Chunks lie in order of arrival:
///
///     Reserve   the chunks of a write that the store doesn't hold get the next data chunks, together
///     Locate    where a chunk lies: reserved, or by its entry; the area with the entry may have to be read first
///     Record    the write has ended: its entries are appended to the list, in memory
///     a round   data synced, then the list: first everything after its first changed area, together with the data, for nothing leads
///               there yet; then the changed sectors of that area, and a sync. The kernel commits before each write is answered; here
///               flushes commit, and share. After a round that failed, the next flush commits the same entries first, then those that
///               came since.
///
/// Invariants: an entry on disk names a chunk whose data was synced before; entries follow each other without a gap, and the area behind a
/// full one is zeroed before the last entry of the full one is there, so the list always ends; what was committed is never written again,
/// except by the kernel's own rule that sectors are whole.
///
/// In memory: the state of each chunk (<see cref="ChunkMap"/>), the number of each exception's entry (<see cref="ChunkTable"/>), and areas
/// as a bounded cache. Without a metadata blob it is the non-persistent store (N): chunks from 0 on, the table in memory alone.
/// </summary>
internal sealed unsafe class SnapshotStore : ExceptionStore
{
    private const int SectorBytes = 512;

    /// <summary>Chunks that are looked up together: a read of more goes in pieces, and others get their turn in between.</summary>
    private const int MaxTogether = 1024;

    private readonly IBlob _data;
    private readonly SnapshotLayout _layout;
    private readonly BufferPool _buffers;
    private readonly ChunkTable _entries = new();
    private readonly AreaCache _cache;
    private readonly Func<long> _tryReadStoreBytes;
    private readonly WhenFull _whenFull;

    // The areas that hold entries which aren't committed, from AreaOf(_committed) on.
    private readonly List<NativeBuffer> _tail = new(16);

    // For the one header that may have to be written, when there may be no memory.
    private NativeBuffer _headerRoom;
    private HashSet<ulong> _damaged = [];
    private Action? _whenInvalid;
    private readonly bool _isCommitUnfinished;
    private bool _isIncomplete;
    private long _reservedEntries;
    private long _entryCount, _committed, _roundEnd, _flushEnd, _nextImage, _nextNumber, _capacity, _storeBytes;
    private bool _isLastImageTaken = true, _hasSaidFull, _isInvalidating, _isGivenUp;

    /// <param name="geometry">The device.</param>
    /// <param name="data">The store.</param>
    /// <param name="isPersistent">P; else N.</param>
    /// <param name="options">The size of the cache and what happens when the store is full.</param>
    /// <param name="tryReadStoreBytes">Asked when the store is full: it may have been enlarged. A negative errno when nobody can
    /// tell.</param>
    /// <param name="buffers">The loop's.</param>
    public SnapshotStore(Geometry geometry, IBlob data, bool isPersistent, SnapshotOptions options, Func<long> tryReadStoreBytes,
        BufferPool buffers)
        : base(new ChunkMap(geometry, startsEmpty: true, buffers), isPersistent ? data : null, knowsZeroes: false)
    {
        (_data, _buffers, _tryReadStoreBytes, _whenFull) = (data, buffers, tryReadStoreBytes, options.WhenFull);
        (_layout, _isCommitUnfinished) = (new SnapshotLayout(geometry.ChunkShift), options.IsCommitUnfinished);
        _cache = new AreaCache(data, _layout, buffers, options.AreaCacheBytes, request => Resume!(request));
        if (isPersistent)
            _headerRoom = buffers.Rent(Math.Max(SnapshotHeader.SizeBytes, data.AlignmentBytes));
        Measure();
    }

    public Geometry Geometry => Map.Geometry;

    public override bool IsIdle => _cache.IsIdle && !_isInvalidating;

    public override bool HasUncommitted => _entryCount > _committed;

    /// <summary>
    /// Sectors in use as dm counts them (persistent_usage): everything up to the next free chunk, the last area's chunk being part of it.
    /// </summary>
    public long AllocatedSectors => (MetadataBlob is null ? _nextNumber : _layout.ChunkOfData(_nextNumber)) << (_layout.ChunkShift - 9);

    /// <summary>The store's size when it was last looked at: on opening, and whenever it was full.</summary>
    public long TotalSectors => _storeBytes >> 9;

    /// <summary>Sectors of header and areas (persistent_usage).</summary>
    public long MetadataSectors => MetadataBlob is null ? 0 : (_layout.AreaOf(_entryCount) + 2) << (_layout.ChunkShift - 9);

    /// <summary>A write found no room, and none has found any since.</summary>
    public bool IsFull { get; private set; }

    /// <summary>It is invalid, as its header says.</summary>
    public bool IsGivenUp => _isGivenUp || (MetadataBlob is null && FailedBecause is not null);

    public AreaCache Cache => _cache;

    public long ExceptionCount => _entryCount;

    /// <summary>Takes over an entry that was found in the store.</summary>
    public void Adopt(long number, ExceptionEntry entry, bool isSound)
    {
        Debug.Assert(number == _entryCount, "entries follow each other without a gap");
        _entryCount = _committed = number + 1;
        if (isSound)
            _entries.TryAdd(entry.OldChunk, (uint)number);
        if ((long)entry.OldChunk >= Geometry.ChunkCount || entry.OldChunk >= long.MaxValue)
            return;
        var chunk = new ChunkIndex((long)entry.OldChunk);
        if (!Map.TryPrepare(chunk, chunk + 1, default, ChunkState.Data))
            throw new LinuxException("malloc", "the states of chunks", Errno.NoMemory);
        Map.Set(chunk, 1, ChunkState.Data);
    }

    /// <summary>Everything has been adopted; the last area goes on where it ends. 0 or a negative errno.</summary>
    public int Continue(SnapshotScan scan)
    {
        (_nextNumber, _damaged, _isIncomplete) = (scan.NextNumber, scan.Damaged, scan.IsIncomplete);
        if (_layout.IndexInArea(_committed) == 0)
            return 0;
        var buffer = _buffers.Rent(_layout.ChunkBytes);
        var result = _data.ReadNow(_layout.AreaOffset(_layout.AreaOf(_committed)), buffer, _layout.ChunkBytes);
        Bytes(buffer)[(_layout.IndexInArea(_committed) * ExceptionEntry.SizeBytes)..].Clear();
        _tail.Add(buffer);
        return result;
    }

    public override TurnWork? Turns { get => _cache.Turns; set => _cache.Turns = value; }

    public override void ResumeWaiting() => _cache.ResumeWaiting();

    public override bool TryLoad(ChunkIndex first, ChunkIndex end, BlockRequest request) => true;

    public override bool IsDamaged(ChunkIndex first, ChunkIndex end)
    {
        if (_damaged.Count == 0 && !_isIncomplete)
            return false;
        for (; first < end; first += 1)
        {
            // mutation: unlisted-chunks-shown
            if (_damaged.Contains((ulong)first.Value) || (_isIncomplete && Map.StateOf(first) == ChunkState.Origin))
                return true;
        }
        return false;
    }

    public override int Reserve(BlockRequest request)
    {
        var (first, end) = (Geometry.ChunkAt(request.LockStart), Geometry.ChunkFrom(request.LockEnd));
        var count = CountNew(first, end);
        if (count > _capacity - _nextNumber && count > 0)
        {
            // mutation: full-store-never-measured-again
            Measure();
            if (count > _capacity - _nextNumber)
                // mutation: full-store-writes-over-the-last
                return Overflow();
        }
        // Recorded in pieces, so no page is set as a whole.
        // mutation: list-recorded-in-pieces-unprepared (2 lines)
        if (!Map.TryPrepare(first, end, default, ChunkState.Data) || !TryPrepareTail(count)
            || !_entries.TryPrepare(_reservedEntries + count))
            return -Errno.NoMemory;
        IsFull &= count == 0;
        (request.ReservedFrom, request.ReservedCount, request.ReservedBefore, request.PlaceChunk) = (_nextNumber, count, 0, first.Value);
        // mutation: entry-before-its-data, places-given-twice, real-next-free-chunk-skips
        _nextNumber += count;
        _reservedEntries += count;
        return 0;
    }

    /// <summary>Makes sure of areas for the entries of every request that has reserved, and so many more.</summary>
    private bool TryPrepareTail(long count)
    {
        if (MetadataBlob is null || count == 0)
            return true;
        var last = _layout.AreaOf(_entryCount + _reservedEntries + count - 1) - _layout.AreaOf(_committed);
        while (_tail.Count <= last)
        {
            if (!_buffers.TryRent(_layout.ChunkBytes, out var buffer))
                return false;
            Bytes(buffer).Clear();
            _tail.Add(buffer);
        }
        return true;
    }

    public override void GiveUp(BlockRequest request)
    {
        // Unless others have reserved behind it, the place is free again; else it is, at the next open.
        if (request.ReservedFrom + request.ReservedCount == _nextNumber)
            // mutation: place-not-given-back
            _nextNumber = request.ReservedFrom;
        _reservedEntries -= request.ReservedCount;
        request.ReservedCount = 0;
    }

    public override Place Locate(BlockRequest request, long byteOffset, long byteEnd)
    {
        var chunk = Geometry.ChunkAt(byteOffset);
        if (Map.StateOf(chunk) != ChunkState.Data)
            return LocateReserved(request, chunk, byteOffset, byteEnd);
        var missing = -1L;
        var place = Find(chunk, byteOffset, byteEnd, ref missing);
        if (place.ByteLength > 0)
            return place;
        if (missing < 0)
            request.Error = -Errno.IO;
        else if (request.Outstanding == 0)
            _cache.Load(missing, request);
        return default;
    }

    public override Place LocateNow(long byteOffset, long byteEnd)
    {
        while (true)
        {
            var missing = -1L;
            var place = Find(Geometry.ChunkAt(byteOffset), byteOffset, byteEnd, ref missing);
            if (place.ByteLength > 0)
                return place;
            if (missing < 0 || _cache.LoadNow(missing) < 0)
                throw new LincowException(SnapshotErrors.PlaceUnreadable(_data.Name, byteOffset));
        }
    }

    public override void Record(BlockRequest request, ChunkIndex first, ChunkIndex end)
    {
        for (var chunk = first; chunk < end;)
        {
            var (state, count) = Map.RunAt(chunk, end - chunk);
            if (state != ChunkState.Data)
            {
                for (var i = 0L; i < count; i++)
                    Append((ulong)(chunk.Value + i), request.ReservedFrom++);
                request.ReservedCount -= count;
                _reservedEntries -= count;
                Map.Set(chunk, count, ChunkState.Data);
            }
            chunk += count;
        }
    }

    public override void BeginRound()
    {
        _flushEnd = _entryCount;
        // A round that failed is finished first, to where it went: its last image may have landed for all its errors, and then leads to the
        // areas behind it.
        // mutation: failed-round-grows
        BeginPart(_roundEnd > _committed ? _roundEnd : _flushEnd);
    }

    public override bool TryContinueRound()
    {
        // mutation: flush-ends-with-the-failed-round
        if (_committed == _flushEnd)
            return false;
        BeginPart(_flushEnd);
        return true;
    }

    private void BeginPart(long end)
    {
        _roundEnd = end;
        // mutation: real-store-flush-without-list
        _isLastImageTaken = _roundEnd == _committed;
        _nextImage = _layout.AreaOf(_committed) + 1;
    }

    /// <summary>
    /// First the areas behind the first changed one, an empty one too if it must end the list; then the changed sectors of the first.
    /// </summary>
    public override bool TryTakeImage(MetadataImage image)
    {
        LacksMemory = false;
        if (_isLastImageTaken)
            return false;
        LacksMemory = !_buffers.TryRent(_layout.ChunkBytes, out var buffer);
        if (LacksMemory)
            return false;
        image.Image = buffer;
        // mutation: areas-in-the-wrong-order (3 lines)
        // mutation: next-area-not-zeroed
        image.IsEarly = _nextImage <= _layout.AreaOf(_roundEnd);
        image.Page = image.IsEarly ? _nextImage++ : _layout.AreaOf(_committed);
        _isLastImageTaken = !image.IsEarly;
        var (from, to) = (0, _layout.ChunkBytes);
        if (!image.IsEarly)
        {
            var unit = Math.Max(SectorBytes, _data.AlignmentBytes);
            from = _layout.IndexInArea(_committed) * ExceptionEntry.SizeBytes / unit * unit;
            if (_layout.AreaOf(_roundEnd) == image.Page)
                to = (_layout.IndexInArea(_roundEnd) * ExceptionEntry.SizeBytes + unit - 1) / unit * unit;
        }
        image.ImageBytes = to - from;
        image.TargetOffset = _layout.AreaOffset(image.Page) + from;
        var target = new Span<byte>((void*)image.Image.Address, image.ImageBytes);
        var index = (int)(image.Page - _layout.AreaOf(_committed));
        if (index < _tail.Count)
            Bytes(_tail[index])[from..to].CopyTo(target);
        else
            target.Clear();
        // What was recorded since the round began is the next one's: there is no area yet to follow it.
        // mutation: entries-of-the-next-round-committed
        if (image.Page == _layout.AreaOf(_roundEnd))
            target[Math.Max(0, (_layout.IndexInArea(_roundEnd) * ExceptionEntry.SizeBytes) - from)..].Clear();
        return true;
    }

    public override void Committed(MetadataImage image)
    {
        if (image.IsEarly)
            return;
        Debug.Assert(_roundEnd > _committed && _roundEnd <= _entryCount, "a round commits what was recorded when it began");
        var before = _layout.AreaOf(_committed);
        // mutation: list-longer-than-the-round
        _committed = _roundEnd;
        var full = (int)(_layout.AreaOf(_committed) - before);
        for (var i = 0; i < full; i++)
            _cache.Insert(before + i, _tail[i]);
        _tail.RemoveRange(0, full);
    }

    // The entries are still here, and so is the round's end.
    public override void KeepForLater(List<MetadataImage> batch)
    {
    }

    /// <summary>The store knows no state in between: the last flush was its close.</summary>
    public override void CloseCleanly(bool reclaimed)
    {
    }

    public override void Dispose()
    {
        _cache.Clear();
        _buffers.Return(_headerRoom);
        _tail.ForEach(_buffers.Return);
        _tail.Clear();
        _entries.Dispose();
        Map.Dispose();
    }

    private Place LocateReserved(BlockRequest request, ChunkIndex chunk, long byteOffset, long byteEnd)
    {
        request.ReservedBefore += CountNew(new ChunkIndex(request.PlaceChunk), chunk);
        request.PlaceChunk = chunk.Value;
        var number = request.ReservedFrom + request.ReservedBefore;
        var (_, together) = Map.RunAt(chunk, Math.Max(1, Geometry.ChunkFrom(byteEnd) - chunk));
        if (MetadataBlob is not null)
            together = Math.Min(together, _layout.EntriesPerArea - _layout.IndexInArea(number));
        return PlaceAt(ChunkAt(number), chunk, together, byteOffset, byteEnd);
    }

    private Place PlaceAt(long storeChunk, ChunkIndex chunk, long together, long byteOffset, long byteEnd) => new(
        (storeChunk << _layout.ChunkShift) + byteOffset - Geometry.StartOf(chunk),
        Math.Min(byteEnd, Geometry.StartOf(chunk + together)) - byteOffset);

    // Of chunks that the store holds. A length of 0: the area "missing" has to be read, or, when there is none, the store is damaged.
    private Place Find(ChunkIndex chunk, long byteOffset, long byteEnd, ref long missing)
    {
        if (!TryFindChunk(chunk.Value, out var first, ref missing))
            return default;
        var end = Geometry.ChunkFrom(byteEnd);
        var together = 1L;
        var ignored = 0L;
        while (together < MaxTogether && chunk + together < end && Map.StateOf(chunk + together) == ChunkState.Data
            && TryFindChunk(chunk.Value + together, out var next, ref ignored) && next == first + together)
            together++;
        return PlaceAt(first, chunk, together, byteOffset, byteEnd);
    }

    private bool TryFindChunk(long chunk, out long storeChunk, ref long missing)
    {
        storeChunk = 0;
        if (!_entries.TryGet((ulong)chunk, out var number))
            return false;
        if (MetadataBlob is null)
        {
            storeChunk = number;
            return true;
        }
        var area = _layout.AreaOf(number);
        var inTail = area - _layout.AreaOf(_committed);
        var bytes = inTail >= 0 && inTail < _tail.Count ? Bytes(_tail[(int)inTail]) : _cache.Find(area);
        if (bytes.IsEmpty)
        {
            missing = area;
            return false;
        }
        var entry = ExceptionEntry.Read(bytes, _layout.IndexInArea(number));
        // mutation: changed-list-believed
        if (entry.OldChunk != (ulong)chunk || entry.NewChunk == 0 || entry.NewChunk >= (ulong)(_layout.ChunkOfData(_nextNumber)))
        {
            Fail($"area {area} of the exception store isn't what it was when it was opened (byte {_layout.AreaOffset(area)})");
            return false;
        }
        storeChunk = (long)entry.NewChunk;
        return true;
    }

    private void Append(ulong chunk, long dataNumber)
    {
        if (MetadataBlob is null)
        {
            _entries.TryAdd(chunk, (uint)dataNumber);
            _entryCount = _committed = _entryCount + 1;
            return;
        }
        Debug.Assert(dataNumber < _nextNumber && _entryCount >= _committed, "a chunk is listed at a place that was reserved for it");
        var index = (int)(_layout.AreaOf(_entryCount) - _layout.AreaOf(_committed));
        new ExceptionEntry(chunk, (ulong)_layout.ChunkOfData(dataNumber)).Write(Bytes(_tail[index]), _layout.IndexInArea(_entryCount));
        _entries.TryAdd(chunk, (uint)_entryCount);
        _entryCount++;
    }

    /// <summary>The store is invalid from now on, in its header too.</summary>
    public override void GiveUpForGood(string reason, Action written)
    {
        if (MetadataBlob is null || (_isGivenUp && !_isInvalidating))
        {
            written();
        }
        else
        {
            _whenInvalid += written;
            if (!_isGivenUp)
                // mutation: given-up-in-memory-alone
                new Invalidation(this).Start();
            _isGivenUp = true;
        }
        Fail($"{reason}: the exception store has been given up");
    }

    private int Overflow()
    {
        IsFull = true;
        if (_whenFull == WhenFull.Invalidate)
        {
            GiveUpForGood("the exception store is full", () => { });
            return -Errno.IO;
        }
        if (!_hasSaidFull)
            Report?.Invoke(SnapshotErrors.Full(_data.Name));
        _hasSaidFull = true;
        return -Errno.NoSpace;
    }

    private long CountNew(ChunkIndex chunk, ChunkIndex end) => Map.CountBesides(ChunkState.Data, chunk, end);

    private long ChunkAt(long dataNumber) => MetadataBlob is null ? dataNumber : _layout.ChunkOfData(dataNumber);

    private void Measure()
    {
        // A store whose size can't be asked for has the room that was known of it, and the write's own error tells the rest.
        // mutation: status-asks-the-file (2 lines)
        if (_tryReadStoreBytes() is >= 0 and var bytes)
            _storeBytes = bytes;
        _capacity = Math.Min(MetadataBlob is null ? _storeBytes >> _layout.ChunkShift : _layout.Capacity(_storeBytes), uint.MaxValue - 2);
    }

    private Span<byte> Bytes(NativeBuffer buffer) => new((void*)buffer.Address, _layout.ChunkBytes);

    /// <summary>Writes valid = 0 into the header, as the kernel does.</summary>
    private sealed class Invalidation(SnapshotStore store) : BlobOperation
    {
        private NativeBuffer _header;
        private bool _isSyncing;

        public void Start()
        {
            store._isInvalidating = true;
            var bytes = Math.Max(SnapshotHeader.SizeBytes, store._data.AlignmentBytes);
            (_header, store._headerRoom) = (store._headerRoom, default);
            var span = new Span<byte>((void*)_header.Address, bytes);
            span.Clear();
            new SnapshotHeader(IsValid: false, store._layout.ChunkShift, store._isCommitUnfinished).Encode(span);
            store._data.Write(0, _header.Address, bytes, this);
        }

        public override void End(int result)
        {
            if (result == 0 && !_isSyncing)
            {
                _isSyncing = true;
                store._data.Flush(this);
                return;
            }
            store._buffers.Return(_header);
            store._isInvalidating = false;
            store._whenInvalid?.Invoke();
            store._whenInvalid = null;
        }
    }
}
