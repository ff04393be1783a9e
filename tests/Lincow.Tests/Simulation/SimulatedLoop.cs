using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Tests.Simulation;

/// <summary>
/// A loop on a <see cref="SimulatedMachine"/>: everything that was started waits, and one of it, any, ends in a turn. So operations are
/// delayed and overtake each other in every order, and a run is repeated by its seed.
/// </summary>
internal sealed unsafe class SimulatedLoop(SimulatedMachine machine) : IoLoop
{
    private readonly List<Pending> _pending = new(64);

    public override string Name => "simulated";

    public override long Timestamp => machine.Timestamp;

    public int PendingCount => _pending.Count;

    public override void Read(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion)
    {
        var file = machine.Files[descriptor];
        file.RequireAligned(buffer, byteOffset, byteCount);
        _pending.Add(new Pending(Call.Read, SimulationSite.Read, completion, file, buffer, byteCount, byteOffset));
    }

    public override void Write(int descriptor, nint buffer, int byteCount, long byteOffset, IoCompletion completion)
    {
        var file = machine.Files[descriptor];
        file.RequireAligned(buffer, byteOffset, byteCount);
        var site = SimulatedMachine.SiteOf(file.Disk, byteOffset, SimulationSite.DataWrite, SimulationSite.Image,
            SimulationSite.Superblock);
        _pending.Add(new Pending(Call.Write, site, completion, file, buffer, byteCount, byteOffset));
    }

    public override void SyncData(int descriptor, IoCompletion completion)
    {
        var file = machine.Files[descriptor];
        // What has been written when the sync begins is what it covers.
        _pending.Add(new Pending(Call.Sync, SimulatedMachine.SyncSiteOf(file.Disk), completion, file, 0, 0, file.Disk.Now));
    }

    public override void Allocate(int descriptor, int mode, long byteOffset, long byteLength, IoCompletion completion)
    {
        var isPunch = (mode & PunchHole) != 0;
        _pending.Add(new Pending(isPunch ? Call.Punch : Call.Reserve, isPunch ? SimulationSite.PunchData
            : SimulationSite.Reserve, completion,
            machine.Files[descriptor], (nint)byteLength, 0, byteOffset));
    }

    public override void RunElsewhere(LoopWork work, IoCompletion completion) =>
        _pending.Add(new Pending(Call.Elsewhere, SimulationSite.Search, completion, null, 0, 0, 0, work));

    public override void Delay(int milliseconds, IoCompletion completion) => CompleteNextTurn(completion);

    public override void CompleteSoon(IoCompletion completion, int result) =>
        _pending.Add(new Pending(Call.Known, completion is BlobOperation { Call: FileCall.Yield } ? SimulationSite.Gather
            : SimulationSite.Result, completion, null, 0, result, 0));

    public override void CompleteNextTurn(IoCompletion completion) =>
        _pending.Add(new Pending(Call.Known, SimulationSite.Result, completion, null, 0, 0, 0));

    public override void Accept(int descriptor, IoCompletion completion) => throw new NotSupportedException();

    public override void Receive(int descriptor, nint buffer, int byteCount, IoCompletion completion) => throw new NotSupportedException();

    public override void Send(int descriptor, MessageHeader* message, IoCompletion completion) => throw new NotSupportedException();

    public override void AwaitReadable(int descriptor, IoCompletion completion) => throw new NotSupportedException();

    public override void CancelWait(IoCompletion completion) => throw new NotSupportedException();

    public override void Signal(int descriptor, IoCompletion completion) => throw new NotSupportedException();

    /// <summary>What is on its way when the power goes, or the process dies, may have got there in any part.</summary>
    public void TearPending()
    {
        foreach (var pending in _pending)
        {
            if (pending.Call == Call.Write && machine.Random.OneIn(2))
                machine.WriteSomeOf(pending.File!.Disk, pending.ByteOffset, pending.Content);
            else if (pending.Call == Call.Punch && pending.File!.Disk.CanPunch && machine.Random.OneIn(2))
                pending.File.Disk.Punch(pending.ByteOffset, pending.Buffer);
        }
    }

    protected override void Poll(int timeoutMilliseconds)
    {
        if (_pending.Count == 0)
            throw new InvalidOperationException("somebody waits, and nothing is on its way");
        var index = machine.Random.Next(_pending.Count);
        // In place until it has happened: a cut on this very operation tears it.
        var pending = _pending[index];
        var result = machine.Happens(pending.Site) ? Do(pending) : -Errno.IO;
        _pending.RemoveAt(index);
        if (pending.Work is not null && result == 0)
            pending.Work.Start(this, pending.Completion, here: true);
        else
            pending.Completion.Complete(result);
    }

    private int Do(Pending pending)
    {
        if (pending.Call == Call.Known)
            return pending.ByteCount;
        if (pending.Call == Call.Elsewhere)
            return machine.Fault(pending.Site);
        var (file, disk) = (pending.File!, pending.File!.Disk);
        if (machine.Interruption() is var interruption && interruption < 0
            && (interruption == -Errno.Interrupted || pending.Call is Call.Read or Call.Write))
            return interruption;
        if (pending.Call == Call.Sync)
            return file.SyncNow(pending.Site, pending.ByteOffset);
        if (pending.Call == Call.Punch && !disk.CanPunch)
            return -Errno.NotSupported;
        if (machine.Fault(pending.Site) is var fault && fault < 0)
        {
            if (pending.Call == Call.Write)
                machine.WriteSomeOf(disk, pending.ByteOffset, pending.Content);
            return fault;
        }
        var count = file is { IsDirect: true, LogicalBlockBytes: > SimulatedDisk.SectorBytes }
            ? pending.ByteCount : machine.Part(pending.ByteOffset, pending.ByteCount);
        switch (pending.Call)
        {
            case Call.Read:
                return disk.Read(pending.ByteOffset, new Span<byte>((void*)pending.Buffer, count));
            case Call.Write:
                disk.Write(pending.ByteOffset, pending.Content[..count]);
                return count;
            case Call.Punch:
                disk.Punch(pending.ByteOffset, pending.Buffer);
                return 0;
            default:
                return 0;
        }
    }

    private enum Call
    {
        /// <summary>Done already; its result is in the byte count.</summary>
        Known,
        Read,
        Write,
        Sync,
        Punch,
        Reserve,
        Elsewhere,
    }

    /// <summary>For a sync, the offset is the time at which it began; for an allocation, the buffer is the length.</summary>
    private readonly record struct Pending(Call Call, SimulationSite Site, IoCompletion Completion, SimulatedFile? File, nint Buffer,
        int ByteCount, long ByteOffset,
        LoopWork? Work = null)
    {
        public ReadOnlySpan<byte> Content => new((void*)Buffer, ByteCount);
    }
}
