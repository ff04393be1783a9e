using Lincow.Linux;

namespace Lincow.Tests.Simulation;

/// <summary>
/// An open file on a <see cref="SimulatedDisk"/>: what the product calls directly. The rest goes through <see cref="SimulatedLoop"/>.
/// </summary>
internal sealed unsafe class SimulatedFile : LinuxFile
{
    private readonly SimulatedMachine _machine;
    private readonly int _blockBytes;

    public SimulatedFile(SimulatedMachine machine, SimulatedDisk disk, int directBlockBytes = 0)
        : base("/" + disk.Name, new FileFacts(disk.Kind, disk.Length, 0, 0, 0, default, 0), directBlockBytes > 0)
    {
        (_machine, Disk, _blockBytes) = (machine, disk, directBlockBytes);
        Descriptor = machine.Files.Count;
        machine.Files.Add(this);
    }

    public SimulatedDisk Disk { get; }

    public override int Descriptor { get; }

    public override int LogicalBlockBytes => _blockBytes;

    public override int SmallestBlockBytes => _blockBytes > 0 ? _blockBytes : SimulatedDisk.SectorBytes;

    public override LinuxFile Reopen(bool writable, bool direct = false, bool exclusiveDevice = false) =>
        new SimulatedFile(_machine, Disk, direct ? SimulatedDisk.SectorBytes : 0);

    public override FileFacts ReadFacts() => Facts with { SizeBytes = Disk.Length };

    /// <summary>Direct I/O keeps to the block, or the kernel refuses it.</summary>
    public void RequireAligned(nint address, long byteOffset, long byteCount)
    {
        if (IsDirect && (address % _blockBytes | byteOffset % _blockBytes | byteCount % _blockBytes) != 0)
            throw new InvalidOperationException($"{Path}: {byteCount} bytes at {byteOffset} are not aligned to {_blockBytes}");
    }

    public override int Read(Span<byte> buffer, long byteOffset)
    {
        Require(SimulationSite.Read, "read");
        return Disk.Read(byteOffset, buffer);
    }

    public override void Write(ReadOnlySpan<byte> buffer, long byteOffset)
    {
        var isClear = buffer.IndexOfAnyExcept((byte)0) < 0;
        var site = SimulatedMachine.SiteOf(Disk, byteOffset, SimulationSite.DataWrite, SimulationSite.Image, isClear ? SimulationSite.Clear
            : SimulationSite.Superblock);
        if (!_machine.Happens(site))
            throw Fail("write", Errno.IO);
        if (_machine.Fault(site) is var fault && fault < 0)
        {
            _machine.WriteSomeOf(Disk, byteOffset, buffer);
            throw Fail("write", -fault);
        }
        Disk.Write(byteOffset, buffer);
    }

    public override int TryReadCached(nint buffer, int byteCount, long byteOffset)
    {
        if (_machine.IsOff)
            return -Errno.IO;
        if (_machine.Random.OneIn(3))
            return -Errno.Again;
        return Disk.Read(byteOffset, new Span<byte>((void*)buffer, _machine.Part(byteOffset, byteCount)));
    }

    public override int TryWriteOnce(nint buffer, int byteCount, long byteOffset)
    {
        var site = SimulatedMachine.SiteOf(Disk, byteOffset, SimulationSite.DataWrite, SimulationSite.Image, SimulationSite.Superblock);
        if (!_machine.Happens(site))
            return -Errno.IO;
        // Also what lets later ones overtake it.
        if (_machine.Interruption() is var interruption && interruption < 0)
            return interruption;
        var content = new ReadOnlySpan<byte>((void*)buffer, byteCount);
        if (_machine.Fault(site) is var fault && fault < 0)
        {
            _machine.WriteSomeOf(Disk, byteOffset, content);
            return fault;
        }
        var count = _machine.Part(byteOffset, byteCount);
        Disk.Write(byteOffset, content[..count]);
        return count;
    }

    public override int TrySyncData()
    {
        var site = SimulatedMachine.SyncSiteOf(Disk);
        if (!_machine.Happens(site))
            return -Errno.IO;
        return SyncNow(site, Disk.Now);
    }

    public override void Sync()
    {
        if (TrySyncData() is var result && result < 0)
            throw Fail("fsync", -result);
    }

    /// <summary>Ends a sync that began at a point in time.</summary>
    public int SyncNow(SimulationSite site, long upTo)
    {
        var fault = _machine.Fault(site);
        if (fault == 0)
        {
            Disk.Sync(upTo);
            return 0;
        }
        _machine.FailedSyncs++;
        _machine.HasLostCache |= IsDirect;
        Disk.FailSync(upTo, ref _machine.Random, keepsView: !IsDirect);
        return fault;
    }

    public override void DropCache()
    {
        if (!_machine.IsOff)
            Disk.DropCache();
    }

    public override void SetLength(long bytes)
    {
        Require(SimulationSite.Length, "setting its length");
        Disk.SetLength(bytes);
    }

    public override bool TryReserve(long byteOffset, long byteLength)
    {
        Require(SimulationSite.Reserve, "fallocate");
        return true;
    }

    public override bool TryPunchHole(long byteOffset, long byteLength)
    {
        if (!Disk.CanPunch)
            return false;
        Require(SimulatedMachine.SiteOf(Disk, byteOffset, SimulationSite.PunchData, SimulationSite.PunchMap, SimulationSite.Clear),
            "fallocate(PUNCH_HOLE)");
        Disk.Punch(byteOffset, byteLength);
        return true;
    }

    public override bool TryDiscardDevice(long byteOffset, long byteLength)
    {
        if (!_machine.Happens(SimulationSite.Discard) || _machine.Fault(SimulationSite.Discard) < 0)
            return false;
        if (_machine.Random.OneIn(2))
            Disk.Punch(byteOffset, byteLength);
        return true;
    }

    public override bool TryFindData(long byteOffset, long byteEnd, out long dataStart, out long dataEnd) =>
        Disk.TryFindData(byteOffset, byteEnd, out dataStart, out dataEnd);

    public override bool TryLock(long byteOffset, bool exclusive) => true;

    public override bool IsLockedElsewhere(long byteOffset) => false;

    public override string? GetAttribute(string name) => null;

    public override bool TrySetAttribute(string name, string value) => true;

    public override void RemoveAttribute(string name)
    {
    }

    public override void WillNeed(long byteOffset, long byteLength)
    {
    }

    public override void Dispose()
    {
    }

    private void Require(SimulationSite site, string call)
    {
        if (!_machine.Happens(site))
            throw Fail(call, Errno.IO);
        if (_machine.Fault(site) is var fault && fault < 0)
            throw Fail(call, -fault);
    }

    private LinuxException Fail(string call, int errno) => new(call, Path, errno);
}
