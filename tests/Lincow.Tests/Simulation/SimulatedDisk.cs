using System.Runtime.InteropServices;
using Lincow.Linux;
using Lincow.Stores.DmSnapshot;

namespace Lincow.Tests.Simulation;

/// <summary>
/// A disk, or a file, with a volatile cache, in memory. A write is in the cache until a sync; a power cut keeps, for each 512-byte sector
/// by itself, the synced content or any later one, so writes are torn and reordered as badly as a disk is allowed to. A sync that fails has
/// written any part of what it should have; the page cache goes on showing all of it until it is dropped, as the kernel's does.
/// </summary>
internal sealed class SimulatedDisk(string name, FileKind kind, int holeBytes)
{
    public const int SectorBytes = 512;
    private const int GroupSectors = 64;

    private Sector?[]?[] _groups = [];
    private readonly List<Sector> _dirty = [];
    private readonly List<Sector> _ghosts = [];
    private Before? _before;
    private long _clock, _stableLength;

    public string Name { get; } = name;

    public FileKind Kind { get; } = kind;

    public long Length { get; private set; }

    /// <summary>Whether space can be given back.</summary>
    public bool CanPunch { get; init; } = true;

    /// <summary>An origin: whoever writes to it breaks the first promise.</summary>
    public bool IsReadOnly { get; set; }

    /// <summary>On the disk that holds the map: where the map ends.</summary>
    public long MapEnd { get; set; }

    /// <summary>On the disk of a snapshot store: where its areas lie.</summary>
    public SnapshotLayout? Areas { get; set; }

    /// <summary>What was written since the last sync began, for naming that sync: the most telling site.</summary>
    public SimulationSite WrittenSite { get; set; }

    /// <summary>A point in time for <see cref="Sync"/>: everything written by now.</summary>
    public long Now => _clock;

    /// <summary>A new file, or a device without history.</summary>
    public void Blank(long length)
    {
        _groups = [];
        _dirty.Clear();
        _ghosts.Clear();
        _before = null;
        Grow(length);
        (Length, _stableLength) = (length, length);
    }

    public void SetLength(long length)
    {
        if (length < Length)
        {
            // Like a journal: a cut leaves the file as it was, or truncated.
            _before ??= new Before(_groups, [.. _dirty], _stableLength);
            _groups = [];
            _dirty.Clear();
            _ghosts.Clear();
        }
        Grow(length);
        Length = length;
    }

    /// <summary>What a reader sees now; returns the bytes before the end of the file.</summary>
    public int Read(long byteOffset, Span<byte> target)
    {
        var available = (int)Math.Clamp(Length - byteOffset, 0, target.Length);
        for (var done = 0; done < available;)
        {
            var (sector, inSector) = Math.DivRem(byteOffset + done, SectorBytes);
            var count = Math.Min(SectorBytes - (int)inSector, available - done);
            if (Find(sector)?.View is { } content)
                content.AsSpan((int)inSector, count).CopyTo(target[done..]);
            else
                target.Slice(done, count).Clear();
            done += count;
        }
        return available;
    }

    public void Write(long byteOffset, ReadOnlySpan<byte> source)
    {
        if (IsReadOnly || byteOffset < 0 || byteOffset + source.Length > Length)
            throw new InvalidOperationException($"{Name}: a write of bytes {byteOffset} to {byteOffset + source.Length} of "
                + $"{Length}{(IsReadOnly ? ", and it must not be written" : "")}");
        for (var done = 0; done < source.Length;)
        {
            var (sector, inSector) = Math.DivRem(byteOffset + done, SectorBytes);
            var count = Math.Min(SectorBytes - (int)inSector, source.Length - done);
            var state = Touch(sector);
            var content = new byte[SectorBytes];
            if (count < SectorBytes)
                state.View?.CopyTo(content, 0);
            source.Slice(done, count).CopyTo(content.AsSpan((int)inSector));
            Put(state, content);
            done += count;
        }
    }

    /// <summary>A hole: reads as zeroes.</summary>
    public void Punch(long byteOffset, long byteLength)
    {
        var end = Math.Min(byteOffset + byteLength, Length);
        for (var cursor = byteOffset; cursor < end;)
        {
            var (sector, inSector) = Math.DivRem(cursor, SectorBytes);
            if (_groups[sector / GroupSectors] is null)
            {
                cursor = (sector / GroupSectors + 1) * GroupSectors * SectorBytes;
                continue;
            }
            var count = (int)Math.Min(SectorBytes - inSector, end - cursor);
            // Also where a failed sync left what the cache no longer shows.
            if (Find(sector) is { } state && (state.View ?? state.Stable) is not null)
            {
                byte[]? content = null;
                if (count < SectorBytes && state.View is { } view)
                {
                    content = view.ToArray();
                    content.AsSpan((int)inSector, count).Clear();
                }
                Put(state, content);
            }
            cursor += count;
        }
    }

    /// <summary>Everything written up to a point in time is stable.</summary>
    public void Sync(long upTo)
    {
        _before = null;
        _stableLength = Length;
        Settle(upTo, null, keepsView: true);
    }

    /// <summary>A sync that fails: of what it should have made stable, any part is. Nobody will try again.</summary>
    public void FailSync(long upTo, ref SimulationRandom random, bool keepsView)
    {
        var choice = random;
        Settle(upTo, cached => choice.Next(cached.Count(version => version.At <= upTo) + 1), keepsView);
        random = choice;
    }

    /// <summary>The page cache forgets what is clean, so readers see the disk.</summary>
    public void DropCache()
    {
        foreach (var sector in _ghosts)
        {
            if (sector.Cached.Count == 0)
                sector.View = sector.Stable;
        }
        _ghosts.Clear();
    }

    /// <summary>The power goes.</summary>
    public void Cut(ref SimulationRandom random)
    {
        if (_before is { } before)
        {
            _stableLength = 0;
            if (random.OneIn(2))
            {
                _groups = before.Groups;
                _dirty.Clear();
                _dirty.AddRange(before.Dirty);
                Length = _stableLength = before.StableLength;
            }
        }
        _before = null;
        if (Length != _stableLength && random.OneIn(2))
        {
            Punch(_stableLength, Math.Max(0, Length - _stableLength));
            Length = _stableLength;
        }
        _stableLength = Length;
        var choice = random;
        // Mostly a mixture; sometimes the disk was quick, or had done nothing yet, or had done the first things, or the last ones, only.
        var mode = choice.Next(8);
        var middle = _clock - choice.Next(64);
        Settle(long.MaxValue, cached => mode switch
        {
            0 => 0,
            1 => cached.Count,
            2 => cached.Count(version => version.At < middle),
            3 => cached[^1].At >= middle ? cached.Count : 0,
            _ => choice.Next(cached.Count + 1),
        }, keepsView: false);
        random = choice;
        DropCache();
    }

    public bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
    {
        (dataStart, dataEnd) = (byteOffset, byteEnd);
        if (byteOffset >= byteEnd)
            return false;
        if (Kind == FileKind.BlockDevice)
            return true;
        var block = byteOffset / holeBytes;
        var end = (Math.Min(byteEnd, Length) + holeBytes - 1) / holeBytes;
        while (block < end && !HasData(block))
            block++;
        if (block >= end)
            return false;
        dataStart = Math.Max(byteOffset, block * holeBytes);
        while (block < end && HasData(block))
            block++;
        dataEnd = Math.Min(byteEnd, block * holeBytes);
        return true;
    }

    private bool HasData(long block)
    {
        var sectors = holeBytes / SectorBytes;
        for (var sector = block * sectors; sector < (block + 1) * sectors && sector * SectorBytes < Length; sector++)
        {
            if (_groups[sector / GroupSectors] is { } group && group[sector % GroupSectors]?.View is not null)
                return true;
        }
        return false;
    }

    /// <summary>
    /// Ends the doubt about what was written up to a time: the last of it is stable, or as many of a sector's versions as somebody chooses.
    /// </summary>
    private void Settle(long upTo, Func<List<(long At, byte[]? Content)>, int>? choose, bool keepsView)
    {
        var kept = 0;
        foreach (var sector in CollectionsMarshal.AsSpan(_dirty))
        {
            var cached = sector.Cached;
            var count = cached.Count;
            while (count > 0 && cached[count - 1].At > upTo)
                count--;
            if (count > 0)
            {
                var choice = choose?.Invoke(cached) ?? count;
                if (choice > 0)
                    sector.Stable = cached[choice - 1].Content;
                cached.RemoveRange(0, count);
                if (choice < count)
                    _ghosts.Add(sector);
            }
            if (cached.Count > 0)
                _dirty[kept++] = sector;
            else if (!keepsView)
                sector.View = sector.Stable;
        }
        _dirty.RemoveRange(kept, _dirty.Count - kept);
    }

    private Sector? Find(long sector) => _groups[sector / GroupSectors]?[sector % GroupSectors];

    private Sector Touch(long sector)
    {
        ref var group = ref _groups[sector / GroupSectors];
        group ??= new Sector?[GroupSectors];
        return group[sector % GroupSectors] ??= new Sector();
    }

    private void Put(Sector sector, byte[]? content)
    {
        if (sector.Cached.Count == 0)
            _dirty.Add(sector);
        sector.View = content;
        sector.Cached.Add((++_clock, content));
    }

    private void Grow(long length)
    {
        var groups = (length + GroupSectors * SectorBytes - 1) / (GroupSectors * SectorBytes);
        if (groups > _groups.Length)
            Array.Resize(ref _groups, (int)groups);
    }

    /// <summary>Contents are never changed, only replaced; null is a hole.</summary>
    private sealed class Sector
    {
        public byte[]? Stable, View;
        public readonly List<(long At, byte[]? Content)> Cached = [];
    }

    private sealed record Before(Sector?[]?[] Groups, List<Sector> Dirty, long StableLength);
}
