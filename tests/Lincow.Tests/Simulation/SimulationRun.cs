using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;

namespace Lincow.Tests.Simulation;

/// <summary>
/// Carries out a plan: the product's own create, open, device, close, reset and check, on a simulated machine, and holds everything that it
/// says and shows against the model. Nothing in here knows how the product keeps its promises.
/// </summary>
internal sealed class SimulationRun : IDisposable
{
    private readonly SimulationPlan _plan;
    private readonly SimulationShape _shape;
    private readonly SimulationCoverage _coverage;
    private readonly SimulatedMachine _machine;
    private readonly SimulatedDisk _mapDisk, _dataDisk, _originDisk;
    private readonly SimulationClient _client;
    private readonly SimulatedOverlay _overlay;
    private OverlaySession? _session;
    private SimulatedOrigin? _program;
    private Existence _existence = Existence.No;
    private bool _isClean, _resetIsPending;

    public SimulationRun(SimulationPlan plan, SimulationCoverage coverage)
    {
        (_plan, _shape, _coverage) = (plan, plan.Shape, coverage);
        _machine = new SimulatedMachine(coverage) { NuisanceOneIn = _shape.NuisanceOneIn, Random = new SimulationRandom(plan.Seed, 0) };
        _machine.Loop = new SimulatedLoop(_machine);
        _mapDisk = NewDisk("map");
        _dataDisk = _shape.IsSeparate ? NewDisk("data") : _mapDisk;
        _originDisk = new SimulatedDisk("origin", FileKind.Regular, _shape.HoleBytes);
        _client = new SimulationClient(_shape, _machine, coverage, _originDisk);
        _overlay = SimulatedOverlay.For(_shape);
        (_mapDisk.MapEnd, _mapDisk.Areas) = (_overlay.MapEnd, _overlay.Areas);
        _mapDisk.Blank(_shape.IsBlockDevice ? _overlay.MapDiskBytes : 0);
        if (_shape.IsSeparate)
            _dataDisk.Blank(_shape.IsBlockDevice ? _overlay.DataDiskBytes : 0);
    }

    private enum Existence
    {
        /// <summary>No create has begun, or one has left nothing.</summary>
        No,

        /// <summary>A create was cut off: there may be nothing, or a new overlay.</summary>
        Perhaps,
        Yes,
    }

    public void Play()
    {
        foreach (var step in _plan.Steps)
        {
            _machine.Random = new SimulationRandom(_plan.Seed, (ulong)step.Id);
            Do(step);
        }
        // However it went, the overlay is well in the end.
        EndSession(kill: _machine.IsOff);
        (_machine.FaultsPerMille, _machine.Faults) = (0, 0);
        _machine.Boot();
        _machine.Arm(0);
        _machine.CutsAtMapSync = false;
        Open();
        Verify();
        Close();
        Check(repair: false);
        Open();
        Verify();
        Close();
    }

    public void Dispose()
    {
        // Whatever state a failed run was in.
        _session?.Device.Stack.Top.Dispose();
        _client.Dispose();
        _machine.Loop!.Dispose();
    }

    private void Do(SimulationStep step)
    {
        switch (step.Action)
        {
            case SimulationAction.Open:
                Open();
                break;
            case SimulationAction.Submit:
                if (_session is not null && !_machine.IsOff)
                    _client.Submit(step);
                break;
            case SimulationAction.Run:
                for (var turns = step.Amount; turns > 0 && _session is not null && !_machine.IsOff
                    && _machine.Loop!.PendingCount > 0; turns--)
                    _machine.Loop.RunOnce();
                break;
            case SimulationAction.Drain:
                _client.Drain();
                break;
            case SimulationAction.Verify:
                Verify();
                break;
            case SimulationAction.Faults:
                _machine.FaultsPerMille = step.Amount;
                break;
            case SimulationAction.Arm:
                _machine.Arm(step.Amount);
                break;
            case SimulationAction.ArmMapSync:
                _machine.CutsAtMapSync = true;
                break;
            case SimulationAction.Kill:
                if (_session is not null && !_machine.IsOff)
                    _machine.Kill();
                break;
            case SimulationAction.Close:
                Close();
                break;
            case SimulationAction.Reset:
                Reset();
                break;
            case SimulationAction.Recreate:
                if (BeginOffline(SimulationPhase.Create) && _existence == Existence.Yes)
                    Create();
                break;
            default:
                Check(step.Action == SimulationAction.Repair);
                break;
        }
        if (_machine.IsOff)
            EndSession(kill: true);
    }

    private SimulatedDisk NewDisk(string name)
    {
        var disk = new SimulatedDisk(name, _shape.IsBlockDevice ? FileKind.BlockDevice
            : FileKind.Regular, _shape.HoleBytes)
        { CanPunch = _shape.CanPunch };
        _machine.Disks.Add(disk);
        return disk;
    }

    private OriginIdentity OriginIdentity => new(OriginKind.File, _shape.OriginBytes, 0, 0, 0);

    private (SimulatedFile Map, SimulatedFile Data) OpenFiles(int directBlockBytes = 0)
    {
        _machine.Files.Clear();
        var map = new SimulatedFile(_machine, _mapDisk, directBlockBytes);
        return (map, _shape.IsSeparate ? new SimulatedFile(_machine, _dataDisk, directBlockBytes) : map);
    }

    /// <summary>Ready for a command on an overlay that nobody serves.</summary>
    private bool BeginOffline(SimulationPhase phase)
    {
        if (_session is not null)
            return false;
        _machine.Boot();
        (_machine.Phase, _machine.Faults, _machine.HasLostCache) = (phase, 0, false);
        return true;
    }

    private void Create()
    {
        _machine.Phase = SimulationPhase.Create;
        _overlay.BeginCreate();
        var replaced = _existence == Existence.Yes && _overlay.ReplacesAtOnce;
        (_isClean, _resetIsPending) = (false, false);
        var (map, data) = OpenFiles();
        try
        {
            // As the command does with files that are there.
            foreach (var file in new[] { data, map }.Distinct())
            {
                if (!_shape.IsBlockDevice && file.Facts.SizeBytes > 0)
                    file.SetLength(0);
            }
            _overlay.Lay(map, data, new OriginFile("/origin", OriginIdentity, null));
            _existence = Existence.Yes;
            _client.Model.BecomeOrigin();
        }
        catch (Exception e) when (e is LincowException or LinuxException)
        {
            RequireExcuse(e, "create");
            (_existence, _resetIsPending) = (replaced ? Existence.Yes : Existence.Perhaps, replaced);
            if (_machine.IsOff || _shape.IsBlockDevice)
                return;
            // The command removes what it made.
            _mapDisk.Blank(0);
            _dataDisk.Blank(0);
            _existence = Existence.No;
        }
        _machine.FaultsPerMille = 0;
    }

    private void Open()
    {
        if (!BeginOffline(SimulationPhase.Open))
            return;
        if (_existence == Existence.No)
            Create();
        if (_existence == Existence.No || _machine.IsOff)
            return;
        (_machine.Phase, _isClean) = (SimulationPhase.Open, false);
        var block = _machine.Random.Next(3) switch
        {
            0 => 512,
            1 when _shape.ChunkShift >= 12 && _shape.DeviceBytes % 4096 == 0 => 4096,
            _ => 0,
        };
        var (map, data) = OpenFiles(block);
        try
        {
            // Another path each time, so that superblocks differ in more than their first sector.
            var name = "origin" + new string((char)('a' + _machine.Random.Next(26)), _machine.Random.Next(1500));
            var origin = OpenOrigin(name, block);
            if (_overlay.Open(map, data, origin, _machine.Loop!, _machine.Random.Next(16),
                _existence == Existence.Perhaps) is not { } session)
            {
                // The overlay that a forced create was to replace. Nobody has a claim to it.
                _existence = Existence.No;
                return;
            }
            session.Report = report =>
            {
                if (report.Kind == LincowErrorKind.Damaged)
                    throw new SimulationFailure($"damage where there is none: {report}");
            };
            if (_existence == Existence.Perhaps && _overlay.HasName)
                _client.Model.BecomeOrigin();
            else if (_existence == Existence.Perhaps)
                _resetIsPending = true;
            _existence = Existence.Yes;
            _session = session;
            _machine.Phase = SimulationPhase.Serve;
            // Few units, so that long work pauses in every way.
            if (_machine.Random.OneIn(2))
                session.Device.Turns.Units = _machine.Random.Next(1, 200);
            _client.Begin(session);
            session.StartReclaiming();
        }
        catch (Exception e) when (e is LincowException or LinuxException)
        {
            if (_existence == Existence.Perhaps && !_machine.IsOff && _machine.Faults == 0)
                _existence = Existence.No;
            else
                RequireExcuse(e, "open");
            _machine.FaultsPerMille = 0;
            return;
        }
        if (_resetIsPending && _client.TryVerifyReset())
            _resetIsPending = false;
    }

    /// <summary>A file, or sometimes a program.</summary>
    private OriginFile OpenOrigin(string name, int directBlockBytes)
    {
        _program = null;
        if (_shape.OriginBytes > 0 && _shape.OriginBytes % 512 == 0 && _machine.Random.OneIn(3))
        {
            _program = new SimulatedOrigin(_machine, _originDisk, _coverage, name, _machine.Random.OneIn(4));
            var origin = OriginFile.OfAsync(_program).Now();
            _program.MayFail = true;
            return origin;
        }
        var block = _shape.OriginBytes % 512 == 0 && directBlockBytes == 512 ? directBlockBytes : 0;
        return new OriginFile("/" + name, OriginIdentity, new SimulatedFile(_machine, _originDisk, block));
    }

    private void Verify()
    {
        if (_session is null || _machine.IsOff || _resetIsPending)
            return;
        _client.Verify();
    }

    private void Close()
    {
        if (_session is not { } session)
            return;
        _machine.Phase = SimulationPhase.Close;
        // To close cancels what a program is being asked, and requests that need it fail.
        if (_program is not null && _machine.Loop!.PendingCount > 0)
            (_machine.Faults, _machine.MayLackSpace) = (_machine.Faults + 1, true);
        _session = null;
        try
        {
            session.Close();
            _client.Closed();
            _isClean = _machine.Faults == 0;
        }
        catch (LincowException e)
        {
            RequireExcuse(e, "close");
        }
        Ended();
    }

    /// <summary>The power is off, or the process is gone: the engine winds down in a world where nothing works any more.</summary>
    private void EndSession(bool kill)
    {
        if (_session is not { } session)
            return;
        if (!kill)
        {
            Close();
            return;
        }
        _session = null;
        try
        {
            session.Close();
            // A snapshot store with nothing to commit has nothing to write either.
            if (_shape.Store == "linear")
                throw new SimulationFailure("a clean close without power");
        }
        catch (LincowException)
        {
        }
        Ended();
    }

    private void Ended()
    {
        _client.End();
        _machine.FaultsPerMille = 0;
        // Answers that nobody waited for, and the ends of waits for them.
        while (_program is not null && _machine.Loop!.PendingCount > 0)
            _machine.Loop.RunOnce();
        if (_machine.Loop!.PendingCount > 0 || _machine.Loop.Buffers.RentedBytes > 0)
            throw new SimulationFailure($"after the end {_machine.Loop.PendingCount} operations are on their way and "
                + $"{_machine.Loop.Buffers.RentedBytes} bytes are out on loan");
    }

    private void Reset()
    {
        if (!BeginOffline(SimulationPhase.Reset) || _existence != Existence.Yes)
            return;
        var (map, data) = OpenFiles();
        try
        {
            _overlay.Reset(map, data, _machine.Loop!, () => (_resetIsPending, _isClean) = (true, false));
            _client.Model.BecomeOrigin();
            (_resetIsPending, _isClean) = (false, _shape.CanPunch);
            _machine.MayLackSpace = false;
        }
        catch (Exception e) when (e is LincowException or LinuxException)
        {
            RequireExcuse(e, "reset");
        }
        _machine.FaultsPerMille = 0;
    }

    private void Check(bool repair)
    {
        if (!BeginOffline(SimulationPhase.Check) || _existence != Existence.Yes)
            return;
        var (map, data) = OpenFiles();
        try
        {
            var report = _overlay.Check(map, data, repair);
            // A cut may tear a superblock; a map page never needs mending.
            if (_machine.Faults == 0 && !_machine.IsOff && report.Findings.Any(finding => _isClean || finding.DeviceStart >= 0))
                throw new SimulationFailure($"check of {(_isClean ? "a clean" : "an unclean")} overlay found: "
                    + $"{string.Join("; ", report.Findings.Select(finding => finding.Problem))}");
            if (_isClean && !report.Clean)
                throw new SimulationFailure("check says that the overlay wasn't closed cleanly");
        }
        catch (Exception e) when (e is LincowException or LinuxException)
        {
            RequireExcuse(e, "check");
        }
        _machine.FaultsPerMille = 0;
    }

    private void RequireExcuse(Exception e, string what)
    {
        if (!_machine.IsOff && _machine.Faults == 0)
            throw new SimulationFailure($"{what} failed for no reason: {e.Message}", e);
    }
}
