using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Tests.Simulation;

/// <summary>
/// A world of simulated blobs: operations wait in it and complete in an order that a seed decides, one a turn, so every run can be
/// repeated.
/// </summary>
internal sealed class SimulatedWorld(Random random)
{
    private readonly List<(Action Effect, BlobOperation Operation, Func<int> Result)> _pending = [];

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

    public void Add(Action effect, BlobOperation operation, Func<int> result) => _pending.Add((effect, operation, result));
}

/// <summary>
/// A <see cref="SimulatedDisk"/> right under the engine, without files and without a loop: for tests of one thing, that say themselves what
/// fails and when.
/// </summary>
internal sealed unsafe class SimulatedBlob : IBlob
{
    private readonly SimulatedWorld _world;
    private readonly SimulatedDisk _disk;
    private SimulationRandom _random;

    public SimulatedBlob(SimulatedWorld world, long sizeBytes, string name)
    {
        (_world, _random, Name) = (world, new SimulationRandom((ulong)world.Random.NextInt64(), 0), name);
        _disk = new SimulatedDisk(name, FileKind.Regular, SimulatedDisk.SectorBytes);
        _disk.Blank(sizeBytes);
    }

    public string Name { get; }

    public Action<LincowError>? Report { get; set; }

    public int AlignmentBytes => 1;

    /// <summary>Decides whether an operation fails: 0, or a negative errno.</summary>
    public Func<FileCall, long, int> Fault { get; set; } = (_, _) => 0;

    /// <summary>A read that touches one of these bytes is EIO.</summary>
    public (long Start, long End) Bad { get; set; }

    public int Writes { get; private set; }

    public int Flushes { get; private set; }

    /// <summary>Reads and searches for data: a system call each, in a file.</summary>
    public int Looks { get; private set; }

    public void Read(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        Looks++;
        _world.Add(() => CopyOut(byteOffset, new Span<byte>((void*)buffer, byteCount)), operation,
            () => byteOffset < Bad.End && byteOffset + byteCount > Bad.Start ? -Errno.IO : Fault(FileCall.Read, byteOffset));
    }

    public void Write(long byteOffset, nint buffer, int byteCount, BlobOperation operation)
    {
        Writes++;
        _world.Add(() => CopyIn(byteOffset, new ReadOnlySpan<byte>((void*)buffer, byteCount)), operation, () =>
        {
            var fault = Fault(FileCall.Write, byteOffset);
            // A write that fails may have written any part of itself.
            if (fault < 0)
                CopyIn(byteOffset, new ReadOnlySpan<byte>((void*)buffer,
                    _random.Next(byteCount / SimulatedDisk.SectorBytes + 1) * SimulatedDisk.SectorBytes));
            return fault;
        });
    }

    public void Flush(BlobOperation operation)
    {
        Flushes++;
        // What was in the cache when the flush began is what it covers; later writes stay volatile.
        var covered = _disk.Now;
        _world.Add(() => _disk.Sync(covered), operation, () =>
        {
            var fault = Fault(FileCall.Flush, 0);
            if (fault < 0)
                Cut();
            return fault;
        });
    }

    public void Yield(BlobOperation operation) => _world.Add(() => { }, operation, () => 0);

    public void NextTurn(BlobOperation operation) => _world.Add(() => { }, operation, () => 0);

    public void Delay(int milliseconds, BlobOperation operation) => _world.Add(() => { }, operation, () => 0);

    public void PunchHole(long byteOffset, long byteLength, BlobOperation operation) =>
        _world.Add(() => _disk.Punch(byteOffset, byteLength), operation, () => Fault(FileCall.PunchHole, byteOffset));

    public void Reserve(long byteOffset, long byteLength, BlobOperation operation) =>
        _world.Add(() => { }, operation, () => Fault(FileCall.Reserve, byteOffset));

    public void FindRuns(long byteOffset, long byteEnd, BlobRuns runs, BlobOperation operation)
    {
        Looks++;
        _world.Add(() => RunSearch.Fill(_disk.TryFindData, byteOffset, byteEnd, runs), operation, () =>
            Fault(FileCall.FindRuns, byteOffset));
    }

    public void CancelReads()
    {
    }

    public void WillNeed(long byteOffset, long byteLength)
    {
    }

    public void Turn() => _world.Turn();

    public void Dispose()
    {
    }

    /// <summary>The power goes.</summary>
    public void Cut() => _disk.Cut(ref _random);

    /// <summary>The content as a reader sees it now.</summary>
    public void CopyOut(long byteOffset, Span<byte> target) => _disk.Read(byteOffset, target);

    /// <summary>Fills it, and an array alike, with runs of data and holes, of lengths that respect nothing.</summary>
    public void FillWithRuns(Random random, Span<byte> content)
    {
        for (var cursor = 0; cursor < content.Length;)
        {
            var length = Math.Min(content.Length - cursor, random.Next(1, 40_000));
            if (random.Next(3) > 0)
            {
                random.NextBytes(content.Slice(cursor, length));
                CopyIn(cursor, content.Slice(cursor, length));
            }
            cursor += length;
        }
        Settle();
    }

    /// <summary>Writes into the cache.</summary>
    public void CopyIn(long byteOffset, ReadOnlySpan<byte> source) => _disk.Write(byteOffset, source);

    /// <summary>Makes a hole.</summary>
    public void Punch(long byteOffset, long byteLength) => _disk.Punch(byteOffset, byteLength);

    /// <summary>Makes everything stable: for a test's preparations.</summary>
    public void Settle() => _disk.Sync(long.MaxValue);
}
