using Lincow.Layers;
using Lincow.Operations;
using Lincow.Requests;
using Lincow.Stores.Linear;

namespace Lincow.Tests.Simulation;

internal enum SimulationAction
{
    /// <summary>Boots if the machine is off, creates the overlay if there is none, opens it.</summary>
    Open,
    Submit,

    /// <summary>Lets a number of operations end.</summary>
    Run,

    /// <summary>Lets everything end.</summary>
    Drain,

    /// <summary>Reads the whole device and compares.</summary>
    Verify,

    /// <summary>From now on, operations fail with this chance in thousandths.</summary>
    Faults,

    /// <summary>Cuts the power a number of events from now.</summary>
    Arm,

    /// <summary>Cuts the power at the next sync after map pages, so that these are torn.</summary>
    ArmMapSync,
    Kill,
    Close,
    Reset,
    Check,
    Repair,
    Recreate,
}

/// <summary>One thing to do. What makes no sense when it comes up is left out, so any subset of steps is a plan too.</summary>
internal sealed record SimulationStep(int Id, SimulationAction Action, int Amount = 0, BlockOperation Operation = default,
    BlockFlags Flags = default, long ByteOffset = 0, long ByteLength = 0)
{
    public override string ToString() => Action == SimulationAction.Submit
        ? $"{Id}: {Operation}{(Flags == 0 ? "" : $" {Flags}")} {ByteLength} bytes at {ByteOffset}"
        : $"{Id}: {Action}{(Amount > 0 ? $" {Amount}" : "")}";
}

/// <summary>What the overlay and its disks are like.</summary>
internal sealed record SimulationShape(
    string Store, long DeviceBytes, int ChunkShift, bool IsSeparate, bool IsBlockDevice, long OriginBytes, int CellBytes, int HoleBytes,
        int NuisanceOneIn, bool CanPunch)
{
    /// <summary>Parts of the device that are written and compared: all of a small one, the ends of map pages of a large one.</summary>
    public (long Start, long End)[] Windows()
    {
        const long window = 8192;
        if (DeviceBytes <= 1 << 19)
            return [(0, DeviceBytes)];
        var page = (long)ChunkMap.ChunksPerPage << ChunkShift;
        var windows = new List<(long, long)>();
        for (long at = 0; at + window < DeviceBytes; at += page)
            windows.Add((Math.Max(at - window, 0), at + window));
        return [.. windows, (Math.Max(DeviceBytes - window, windows[^1].Item2), DeviceBytes)];
    }
}

/// <summary>A whole life of an overlay, from a seed: created, opened, used, cut, opened again, reset, checked.</summary>
internal sealed record SimulationPlan(ulong Seed, SimulationShape Shape, IReadOnlyList<SimulationStep> Steps)
{
    public static SimulationPlan From(ulong seed) => new Maker(seed).Make();

    public override string ToString() => $"{Shape}\n    {string.Join("\n    ", Steps)}";

    private sealed class Maker(ulong seed)
    {
        private SimulationRandom _random = new(seed, ulong.MaxValue);
        private readonly List<SimulationStep> _steps = [];
        private SimulationShape _shape = null!;
        private (long Start, long End)[] _windows = [];

        public SimulationPlan Make()
        {
            _shape = MakeShape();
            _windows = _shape.Windows();
            for (var sessions = _random.Next(2, 6); sessions > 0; sessions--)
                AddSession();
            return new SimulationPlan(seed, _shape, _steps);
        }

        private SimulationShape MakeShape()
        {
            var isLarge = _random.OneIn(8);
            var chunkShift = isLarge ? 9 : _random.Next(9, 17);
            var sectors = isLarge ? _random.Next(1, 3) * (long)ChunkMap.ChunksPerPage + _random.Next(17, 200) : _random.OneIn(12)
                ? _random.Next(300, 900) : _random.Next(1, 130);
            var device = sectors * 512;
            var origin = _random.Next(isLarge ? 2 : 6) switch
            {
                0 => 0,
                2 => device,
                3 => Math.Max(device - _random.Next(1, 512), 1),
                _ => _random.Next((int)Math.Min(sectors, 200) + 1) * 512L,
            };
            var store = _random.OneIn(4) ? "snapshot" : "linear";
            return new SimulationShape(store, device, chunkShift, store == "linear" && _random.OneIn(2), _random.OneIn(4), origin,
                !isLarge && _random.OneIn(5) ? 64 : 512, 512 << _random.Next(4), _random.OneIn(2) ? 10 : 0, !_random.OneIn(6));
        }

        private void AddSession()
        {
            // A cut may meet a start, and the start after it.
            for (var cuts = _random.OneIn(4) ? _random.Next(1, 3) : 0; cuts > 0; cuts--)
            {
                Add(SimulationAction.Arm, _random.Next(1, 20));
                Add(SimulationAction.Open);
            }
            Add(SimulationAction.Open);
            if (!_random.OneIn(5))
                Add(SimulationAction.Verify);
            if (_random.OneIn(3))
                Add(SimulationAction.Faults, 1 << _random.Next(5));
            if (_random.OneIn(2))
                Add(SimulationAction.Arm, _random.Next(1, 250));
            else if (_random.OneIn(3))
                Add(SimulationAction.ArmMapSync);
            var depth = _random.Next(2, 13);
            for (var requests = _random.Next(1, 40); requests > 0; requests--)
            {
                AddRequest();
                if (_random.OneIn(3))
                    Add(SimulationAction.Run, _random.Next(1, depth));
                else if (_random.OneIn(20))
                    Add(SimulationAction.Drain);
            }
            AddEnd();
        }

        private void AddEnd()
        {
            switch (_random.Next(4))
            {
                case 0:
                    Add(SimulationAction.Arm, 1);
                    Add(SimulationAction.Drain);
                    break;
                case 1:
                    Add(SimulationAction.Kill);
                    break;
                default:
                    if (_random.OneIn(2))
                        Add(SimulationAction.Drain);
                    if (_random.OneIn(3))
                        Add(SimulationAction.Arm, _random.Next(1, 30));
                    Add(SimulationAction.Close);
                    break;
            }
            if (_random.OneIn(3))
                AddOffline(SimulationAction.Reset, 20);
            if (_random.OneIn(5))
                AddOffline(_random.OneIn(2) ? SimulationAction.Check : SimulationAction.Repair, 8);
            if (_random.OneIn(30))
                AddOffline(SimulationAction.Recreate, 12);
        }

        private void AddOffline(SimulationAction action, int events)
        {
            if (_random.OneIn(3))
                Add(SimulationAction.Faults, 40);
            if (_random.OneIn(2))
                Add(SimulationAction.Arm, _random.Next(1, events));
            Add(action);
        }

        private void AddRequest()
        {
            var kind = _random.Next(24);
            var operation = kind switch
            {
                < 11 => BlockOperation.Write,
                < 13 => _shape.Store == "linear" ? BlockOperation.Discard : BlockOperation.WriteZeroes,
                < 15 => BlockOperation.WriteZeroes,
                < 19 => BlockOperation.Read,
                < 20 => BlockOperation.Cache,
                _ => BlockOperation.Flush,
            };
            var flags = operation is BlockOperation.Write or BlockOperation.Discard or BlockOperation.WriteZeroes && _random.OneIn(6)
                ? BlockFlags.ForceUnitAccess : BlockFlags.None;
            if (operation == BlockOperation.WriteZeroes && _random.OneIn(3))
                flags |= BlockFlags.NoHole;
            var (windowStart, windowEnd) = _windows[_random.Next(_windows.Length)];
            var cells = (int)((windowEnd - windowStart) / _shape.CellBytes);
            var first = _random.Next(cells);
            var count = _random.Next(1, _random.OneIn(cells > 256 ? 3 : 8) ? cells + 1 : Math.Min(cells, 12) + 1);
            if (_random.OneIn(4))
            {
                // Whole chunks.
                var perChunk = Math.Max((1 << _shape.ChunkShift) / _shape.CellBytes, 1);
                first = first / perChunk * perChunk;
                count = (count + perChunk - 1) / perChunk * perChunk;
            }
            var start = windowStart + first * (long)_shape.CellBytes;
            var end = Math.Min(start + count * (long)_shape.CellBytes, windowEnd);
            if (operation is BlockOperation.Discard or BlockOperation.WriteZeroes && _windows.Length > 1 && _random.OneIn(2))
                end = _windows[^1].End;
            _steps.Add(new SimulationStep(_steps.Count, SimulationAction.Submit, 0, operation, flags, operation == BlockOperation.Flush ? 0
                : start, operation == BlockOperation.Flush ? 0 : end - start));
        }

        private void Add(SimulationAction action, int amount = 0) => _steps.Add(new SimulationStep(_steps.Count, action, amount));
    }
}
