using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Simulation;

/// <summary>What a simulated overlay's owner is doing.</summary>
internal enum SimulationPhase
{
    Create,
    Open,
    Serve,
    Close,
    Reset,
    Check,
}

/// <summary>What a power cut falls on: the operation that it prevents. Later ones say more of a sync after them.</summary>
internal enum SimulationSite
{
    /// <summary>Handing over a result that is there.</summary>
    Result,

    /// <summary>Looking for data and holes.</summary>
    Search,
    Read,
    Gather,
    Reserve,
    Discard,
    DataWrite,
    DataSync,
    Length,
    PunchData,
    PunchMap,
    Image,
    MapSync,
    Clear,
    ClearSync,
    Superblock,
    SuperblockSync,

    /// <summary>Counted besides: a flush had just been answered.</summary>
    Reply,
}

/// <summary>
/// One computer: its disks, its power, its faults. Whatever touches a disk is an event; a cut falls on the event that it was armed for.
/// From then on nothing reaches a disk and every operation fails, until it is booted again: so the engine winds down by its own error
/// paths.
/// </summary>
internal sealed class SimulatedMachine(SimulationCoverage coverage)
{
    private long _events, _cutAt = long.MaxValue;
    private long _clock;
    private int _imageFaults, _refusals;

    public SimulationRandom Random;

    public List<SimulatedDisk> Disks { get; } = [];

    public List<SimulatedFile> Files { get; } = [];

    public SimulatedLoop? Loop { get; set; }

    public SimulationPhase Phase { get; set; }

    public bool IsOff { get; private set; }

    /// <summary>Chance of a failure at each operation, in thousandths.</summary>
    public int FaultsPerMille { get; set; }

    /// <summary>Failures since somebody last set this to 0.</summary>
    public int Faults { get; set; }

    /// <summary>
    /// A snapshot store may have lost room: what a session took that failed or was cut off, below what it committed, is nobody's until a
    /// reset (dm's does the same).
    /// </summary>
    public bool MayLackSpace { get; set; }

    /// <summary>Chance, one in so many, of a short transfer or an interrupted call; 0 for never.</summary>
    public int NuisanceOneIn { get; init; }

    /// <summary>Syncs that failed since somebody last set this to 0.</summary>
    public int FailedSyncs { get; set; }

    /// <summary>A sync has failed under direct I/O: no page cache hides what is gone.</summary>
    public bool HasLostCache { get; set; }

    public bool HasJustReplied { get; set; }

    /// <summary>The power goes at the next sync after map pages, whenever that is.</summary>
    public bool CutsAtMapSync { get; set; }

    public long Timestamp => _clock += Random.OneIn(8) ? System.Diagnostics.Stopwatch.Frequency / 100 : 100;

    /// <summary>The power goes a number of events from now; 0 for never.</summary>
    public void Arm(int events) => _cutAt = events > 0 ? _events + events : long.MaxValue;

    public void Boot() => IsOff = false;

    /// <summary>True when the operation takes place; false when the power is off, or goes now.</summary>
    public bool Happens(SimulationSite site)
    {
        if (IsOff)
            return false;
        if (++_events >= _cutAt || (CutsAtMapSync && site == SimulationSite.MapSync))
        {
            Cut(site);
            return false;
        }
        HasJustReplied = false;
        return true;
    }

    public void Cut(SimulationSite site)
    {
        coverage.Hit(Phase, site);
        if (HasJustReplied)
            coverage.Hit(Phase, SimulationSite.Reply);
        Loop?.TearPending();
        foreach (var disk in Disks)
            disk.Cut(ref Random);
        TurnOff();
    }

    /// <summary>The process dies; the machine stays, and what the page cache holds.</summary>
    public void Kill()
    {
        coverage.Kills++;
        Loop?.TearPending();
        TurnOff();
    }

    // What is armed from here on is for the next start.
    private void TurnOff()
    {
        IsOff = MayLackSpace = true;
        Arm(0);
        (FaultsPerMille, _imageFaults, _refusals, HasJustReplied, CutsAtMapSync) = (0, 0, 0, false, false);
    }

    /// <summary>0, or the negative errno with which an operation fails.</summary>
    public int Fault(SimulationSite site)
    {
        if (FaultsPerMille == 0)
            return 0;
        // There are few of them, and much hangs on each.
        var isTelling = site is SimulationSite.DataSync or SimulationSite.MapSync or SimulationSite.SuperblockSync
            or SimulationSite.ClearSync;
        // An image is written again before anybody hears of it, so some errors stay for a while.
        var stays = site == SimulationSite.Image && _imageFaults > 0;
        if (stays)
            _imageFaults--;
        else if (Random.Next(1000) >= FaultsPerMille * (isTelling || site == SimulationSite.Image ? 8 : 1))
            return 0;
        else if (site == SimulationSite.Image && Random.OneIn(2))
            _imageFaults = Random.Next(2, 20);
        Faults++;
        MayLackSpace = true;
        coverage.Faults++;
        return site is SimulationSite.DataWrite or SimulationSite.Image or SimulationSite.Reserve && Random.OneIn(2)
            ? -Errno.NoSpace : -Errno.IO;
    }

    /// <summary>0, or a negative errno that only asks to try again. Now and then everything gets one for a while.</summary>
    public int Interruption()
    {
        if (_refusals > 0)
        {
            _refusals--;
            return -Errno.Again;
        }
        if (NuisanceOneIn == 0 || !Random.OneIn(NuisanceOneIn))
            return 0;
        if (Random.OneIn(50))
        {
            coverage.Refusals++;
            _refusals = Random.Next(2 * FileBlob.QuickAttempts, 3 * FileBlob.QuickAttempts);
        }
        return Random.OneIn(2) ? -Errno.Interrupted : -Errno.Again;
    }

    /// <summary>How much of a transfer is made this time: all of it, or whole sectors.</summary>
    public int Part(long byteOffset, int byteCount)
    {
        if (NuisanceOneIn == 0 || !Random.OneIn(NuisanceOneIn))
            return byteCount;
        var first = SimulatedDisk.SectorBytes - (int)(byteOffset % SimulatedDisk.SectorBytes);
        return first >= byteCount ? byteCount : first
            + Random.Next((byteCount - first) / SimulatedDisk.SectorBytes + 1) * SimulatedDisk.SectorBytes;
    }

    /// <summary>Any sectors of a write, as a torn or failed one leaves them.</summary>
    public void WriteSomeOf(SimulatedDisk disk, long byteOffset, ReadOnlySpan<byte> source)
    {
        for (var done = 0; done < source.Length;)
        {
            var count = (int)Math.Min(SimulatedDisk.SectorBytes - (byteOffset + done) % SimulatedDisk.SectorBytes, source.Length - done);
            if (Random.OneIn(2))
                disk.Write(byteOffset + done, source.Slice(done, count));
            done += count;
        }
    }

    public static SimulationSite SiteOf(SimulatedDisk disk, long byteOffset, SimulationSite data, SimulationSite image,
        SimulationSite superblock)
    {
        var site = disk.Areas is { } areas
            ? byteOffset < areas.ChunkBytes ? superblock : areas.IsMetadata((ulong)(byteOffset >> areas.ChunkShift)) ? image : data
            : byteOffset >= disk.MapEnd ? data : byteOffset >= Superblock.MapOffsetBytes ? image : superblock;
        if (site > disk.WrittenSite)
            disk.WrittenSite = site;
        return site;
    }

    /// <summary>Names a sync by what was written since the last one.</summary>
    public static SimulationSite SyncSiteOf(SimulatedDisk disk)
    {
        var written = disk.WrittenSite;
        disk.WrittenSite = SimulationSite.Result;
        return written switch
        {
            SimulationSite.Superblock => SimulationSite.SuperblockSync,
            SimulationSite.Clear => SimulationSite.ClearSync,
            SimulationSite.Image or SimulationSite.PunchMap => SimulationSite.MapSync,
            _ => SimulationSite.DataSync,
        };
    }
}
