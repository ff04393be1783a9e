using System.Runtime.InteropServices;
using Lincow.Linux;

namespace Lincow.Storage;

/// <summary>
/// A world of simulated storages: operations wait in it and complete in an order that a seed decides, one a turn, so every run can be
/// repeated.
/// </summary>
internal sealed class SimulatedWorld(Random random)
{
    private readonly List<(Action Effect, StorageOperation Operation, Func<int> Result)> _pending = [];

    public Random Random { get; } = random;

    public int PendingCount => _pending.Count;

    /// <summary>Completes one of the pending operations. Nothing happens when none is pending.</summary>
    public void Turn()
    {
        if (_pending.Count == 0)
            return;
        var index = Random.Next(_pending.Count);
        var (effect, operation, result) = _pending[index];
        _pending.RemoveAt(index);
        var outcome = result();
        if (outcome == 0)
            effect();
        operation.End(outcome);
    }

    /// <summary>The power goes: what is pending never completes.</summary>
    public void DropPending() => _pending.Clear();

    public void Add(Action effect, StorageOperation operation, Func<int> result) => _pending.Add((effect, operation, result));
}

/// <summary>
/// A disk with a volatile cache, in memory. A write is in the cache until a flush; a power cut keeps, for each 512-byte sector by itself, the
/// flushed content or any later one, so writes are torn and reordered as badly as a disk is allowed to. A flush that fails loses the cache,
/// as a kernel's page cache does.
/// </summary>
internal sealed unsafe class SimulatedStorage(SimulatedWorld world, long sizeBytes, string name) : IStorage
{
    public const int SectorBytes = 512;

    private readonly Dictionary<long, byte[]> _stable = [];
    private readonly Dictionary<long, List<byte[]>> _cached = [];

    public string Name { get; } = name;

    public int AlignmentBytes => 1;

    /// <summary>Decides whether an operation fails: 0, or a negative errno.</summary>
    public Func<StorageCall, long, int> Fault { get; set; } = (_, _) => 0;

    public int Writes { get; private set; }

    public int Flushes { get; private set; }

    public void Read(long byteOffset, nint buffer, int byteCount, StorageOperation operation) =>
        world.Add(() => CopyOut(byteOffset, new Span<byte>((void*)buffer, byteCount)), operation, () => Fault(StorageCall.Read, byteOffset));

    public void Write(long byteOffset, nint buffer, int byteCount, StorageOperation operation)
    {
        Writes++;
        world.Add(() => CopyIn(byteOffset, new ReadOnlySpan<byte>((void*)buffer, byteCount)), operation, () =>
        {
            var fault = Fault(StorageCall.Write, byteOffset);
            // A write that fails may have written any part of itself.
            if (fault < 0)
                CopyIn(byteOffset, new ReadOnlySpan<byte>((void*)buffer, world.Random.Next(byteCount / SectorBytes + 1) * SectorBytes));
            return fault;
        });
    }

    public void Flush(StorageOperation operation)
    {
        Flushes++;
        // What was in the cache when the flush began is what it covers; later writes stay volatile.
        var covered = _cached.ToDictionary(entry => entry.Key, entry => entry.Value.Count);
        world.Add(() => MakeStable(covered), operation, () =>
        {
            var fault = Fault(StorageCall.Flush, 0);
            if (fault < 0)
                Cut();
            return fault;
        });
    }

    public void Yield(StorageOperation operation) => world.Add(() => { }, operation, () => 0);

    public void PunchHole(long byteOffset, long byteLength, StorageOperation operation) =>
        world.Add(() => CopyIn(byteOffset, new byte[byteLength]), operation, () => Fault(StorageCall.PunchHole, byteOffset));

    public void Reserve(long byteOffset, long byteLength, StorageOperation operation) =>
        world.Add(() => { }, operation, () => Fault(StorageCall.Reserve, byteOffset));

    public bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd)
    {
        (dataStart, dataEnd) = (byteOffset, byteEnd);
        var sector = byteOffset / SectorBytes;
        var end = (byteEnd + SectorBytes - 1) / SectorBytes;
        while (sector < end && !HasData(sector))
            sector++;
        if (sector >= end)
            return false;
        dataStart = Math.Max(byteOffset, sector * SectorBytes);
        while (sector < end && HasData(sector))
            sector++;
        dataEnd = Math.Min(byteEnd, sector * SectorBytes);
        return true;
    }

    public void WillNeed(long byteOffset, long byteLength)
    {
    }

    public void Turn() => world.Turn();

    public void Dispose()
    {
    }

    /// <summary>The power goes: every sector keeps its flushed content or one of those written since.</summary>
    public void Cut()
    {
        foreach (var (sector, versions) in _cached)
        {
            var choice = world.Random.Next(versions.Count + 1);
            if (choice > 0)
                _stable[sector] = versions[choice - 1];
        }
        _cached.Clear();
    }

    /// <summary>The content as a reader sees it now.</summary>
    public void CopyOut(long byteOffset, Span<byte> target)
    {
        for (var done = 0; done < target.Length;)
        {
            var (sector, inSector) = Math.DivRem(byteOffset + done, SectorBytes);
            var count = Math.Min(SectorBytes - (int)inSector, target.Length - done);
            if (Current(sector) is { } content)
                content.AsSpan((int)inSector, count).CopyTo(target[done..]);
            else
                target.Slice(done, count).Clear();
            done += count;
        }
    }

    /// <summary>Writes into the cache.</summary>
    public void CopyIn(long byteOffset, ReadOnlySpan<byte> source)
    {
        if (byteOffset < 0 || byteOffset + source.Length > sizeBytes)
            throw new InvalidOperationException($"{Name}: a write of bytes {byteOffset} to {byteOffset + source.Length} leaves the file of {sizeBytes}");
        for (var done = 0; done < source.Length;)
        {
            var (sector, inSector) = Math.DivRem(byteOffset + done, SectorBytes);
            var count = Math.Min(SectorBytes - (int)inSector, source.Length - done);
            var content = (byte[]?)Current(sector)?.Clone() ?? new byte[SectorBytes];
            source.Slice(done, count).CopyTo(content.AsSpan((int)inSector));
            CollectionsMarshal.GetValueRefOrAddDefault(_cached, sector, out _) ??= [];
            _cached[sector].Add(content);
            done += count;
        }
    }

    /// <summary>Makes everything stable: for a test's preparations.</summary>
    public void Settle() => MakeStable(_cached.ToDictionary(entry => entry.Key, entry => entry.Value.Count));

    private void MakeStable(Dictionary<long, int> covered)
    {
        foreach (var (sector, count) in covered)
        {
            if (!_cached.TryGetValue(sector, out var versions) || versions.Count < count)
                continue;
            _stable[sector] = versions[count - 1];
            versions.RemoveRange(0, count);
            if (versions.Count == 0)
                _cached.Remove(sector);
        }
    }

    private byte[]? Current(long sector) => _cached.TryGetValue(sector, out var versions) ? versions[^1] : _stable.GetValueOrDefault(sector);

    private bool HasData(long sector) => Current(sector) is { } content && content.AsSpan().IndexOfAnyExcept((byte)0) >= 0;
}
