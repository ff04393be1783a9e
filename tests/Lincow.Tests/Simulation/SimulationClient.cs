using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;

namespace Lincow.Tests.Simulation;

/// <summary>
/// The client of a device: submits requests, stamps what it writes, and compares what it reads and is told with the model.
/// </summary>
internal sealed class SimulationClient : IDisposable
{
    private readonly SimulationShape _shape;
    private readonly SimulatedMachine _machine;
    private readonly SimulationCoverage _coverage;
    private readonly (long Start, long End, int FirstCell)[] _windows;
    private readonly List<SimulationRequest> _requests = [];
    private readonly Stack<SimulationRequest> _idle = new();
    private readonly byte[] _originTail;
    private CowDevice? _device;
    private long _clock;
    private ulong _stamp;
    private int _inFlight;
    private bool _isFresh, _hasFailed;

    public SimulationClient(SimulationShape shape, SimulatedMachine machine, SimulationCoverage coverage, SimulatedDisk originDisk)
    {
        (_shape, _machine, _coverage) = (shape, machine, coverage);
        var windows = shape.Windows();
        _windows = new (long, long, int)[windows.Length];
        var cells = 0;
        for (var i = 0; i < windows.Length; i++)
        {
            _windows[i] = (windows[i].Start, windows[i].End, cells);
            cells += (int)((windows[i].End - windows[i].Start) / shape.CellBytes);
        }
        var content = FillOrigin(originDisk);
        _originTail = content[^shape.CellBytes..];
        if (shape.OriginBytes % shape.CellBytes is var tail && tail > 0)
            _originTail = content.AsSpan((int)(shape.OriginBytes - tail), shape.CellBytes).ToArray();
        var origin = new ulong[cells];
        foreach (var (start, end, first) in _windows)
        {
            for (var cell = first; CellStart(start, first, cell) < end; cell++)
            {
                var at = CellStart(start, first, cell);
                origin[cell] = at < shape.OriginBytes ? StampOf(content.AsSpan((int)at, shape.CellBytes)) : 0;
            }
        }
        Model = new SimulationModel(origin);
    }

    public SimulationModel Model { get; }

    /// <summary>A device was opened.</summary>
    public void Begin(OverlaySession session) => (_device, _isFresh, _hasFailed, _machine.FailedSyncs) = (session.Device, true, false, 0);

    /// <summary>The device has gone, for whatever reason.</summary>
    public void End()
    {
        if (_inFlight > 0)
            throw new SimulationFailure($"{_inFlight} requests were never answered");
        _device = null;
        Model.Crash(++_clock);
    }

    /// <summary>The device was closed and said that all was well: everything is stable.</summary>
    public void Closed() => Model.Flushed(++_clock);

    public void Submit(SimulationStep step)
    {
        if (!_idle.TryPop(out var request))
            _requests.Add(request = new SimulationRequest(Ended));
        request.Prepare(step);
        Start(request);
    }

    public void Drain()
    {
        while (_device is not null && !_machine.IsOff && _machine.Loop!.PendingCount > 0)
            _machine.Loop.RunOnce();
        if (_device is not null && !_machine.IsOff && _inFlight > 0)
            throw new SimulationFailure($"nothing is on its way, and {_inFlight} requests wait");
    }

    /// <summary>Reads and compares all of the device. After a start, what is there is what there will be.</summary>
    public void Verify()
    {
        var isFresh = _isFresh && _inFlight == 0;
        foreach (var (start, end, first) in _windows)
        {
            if (ReadNow(start, end) is not { } request)
                return;
            for (var cell = first; isFresh && CellStart(start, first, cell) < end; cell++)
                Model.Become(cell, StampAt(request, CellStart(start, first, cell)));
        }
        _coverage.Verified++;
    }

    /// <summary>
    /// After a reset that didn't end: all of the device is as it was, or all of it is the origin's. False if the power went.
    /// </summary>
    public bool TryVerifyReset()
    {
        var stamps = new ulong[Model.CellCount];
        foreach (var (start, end, first) in _windows)
        {
            if (ReadNow(start, end, compares: false) is not { } request)
                return false;
            for (var cell = first; CellStart(start, first, cell) < end; cell++)
                stamps[cell] = StampAt(request, CellStart(start, first, cell));
        }
        var (notOrigin, notOld) = (-1, -1);
        for (var cell = 0; cell < stamps.Length; cell++)
        {
            if (!Model.IsOrigin(cell, stamps[cell]))
                notOrigin = cell;
            if (!Model.MayHold(cell, stamps[cell]))
                notOld = cell;
        }
        if (notOrigin >= 0 && notOld >= 0)
            throw new SimulationFailure($"half a reset: cell {notOrigin} is not the origin's, and cell {notOld} holds {stamps[notOld]} "
                + $"and may have held {Model.Describe(notOld)}");
        for (var cell = 0; cell < stamps.Length; cell++)
            Model.Become(cell, stamps[cell]);
        return true;
    }

    public void Dispose() => _requests.ForEach(request => request.Dispose());

    private void Start(SimulationRequest request)
    {
        _inFlight++;
        Model.ReadsInFlight += request.Operation == BlockOperation.Read ? 1 : 0;
        _coverage.Requests++;
        request.Submitted = ++_clock;
        if (request.Operation is BlockOperation.Write or BlockOperation.Discard or BlockOperation.WriteZeroes)
        {
            _isFresh = false;
            request.Write = new ModelWrite(request.Submitted);
            // Of chunks that it covers in part, a discard may leave what was there, and nobody knows of which.
            request.PartialWrite = new ModelWrite(request.Submitted);
            ForEachCell(request, (at, cell) =>
            {
                ulong stamp = 0;
                if (request.Operation == BlockOperation.Write)
                    MemoryMarshal.Cast<byte, ulong>(request.Content.Slice((int)(at - request.ByteOffset), _shape.CellBytes))
                        .Fill(stamp = ++_stamp);
                Model.Begin(cell, stamp, request.Operation == BlockOperation.Discard
                    && !IsWholeChunk(request, at) ? request.PartialWrite : request.Write);
            });
        }
        request.SubmitTo(_device!);
    }

    private SimulationRequest? ReadNow(long start, long end, bool compares = true)
    {
        var faults = _machine.FaultsPerMille;
        _machine.FaultsPerMille = 0;
        if (!_idle.TryPop(out var request))
            _requests.Add(request = new SimulationRequest(Ended));
        request.Prepare(new SimulationStep(0, SimulationAction.Submit, Operation: BlockOperation.Read, ByteOffset: start,
            ByteLength: end - start));
        request.IsCompared = compares;
        Start(request);
        while (request.Result is null)
            _machine.Loop!.RunOnce();
        _machine.FaultsPerMille = faults;
        return request.Result == 0 && !_machine.IsOff ? request : null;
    }

    private void Ended(SimulationRequest request, int result)
    {
        _inFlight--;
        Model.ReadsInFlight -= request.Operation == BlockOperation.Read ? 1 : 0;
        _idle.Push(request);
        // Nobody heard of it.
        if (_machine.IsOff)
            return;
        var now = ++_clock;
        if (_hasFailed && result != -Errno.IO)
            throw new SimulationFailure($"{request.Operation} got {result} from a device that had failed");
        if (result != 0)
        {
            var lacksSpace = result == -Errno.NoSpace && _shape.Store != "linear" && _machine.MayLackSpace;
            if ((_machine.Faults == 0 && !lacksSpace) || result is not (-Errno.IO or -Errno.NoSpace))
                throw new SimulationFailure($"{request.Operation} of {request.ByteLength} bytes at {request.ByteOffset} failed with "
                    + $"{result}, after {_machine.Faults} faults");
            // A write that failed may be tried again by the next flush. After a failed sync nothing is.
            if (request.Operation == BlockOperation.Flush && result == -Errno.IO && !_hasFailed)
            {
                _hasFailed = _machine.FailedSyncs > 0;
                _coverage.FailedDevices += _hasFailed ? 1 : 0;
                _coverage.FailedFlushes += _hasFailed ? 0 : 1;
            }
        }
        switch (request.Operation)
        {
            case BlockOperation.Write or BlockOperation.Discard or BlockOperation.WriteZeroes:
                (request.Write.Completed, request.Write.Succeeded, request.PartialWrite.Completed) = (now, result == 0, now);
                if (result == 0 && (request.Flags & BlockFlags.ForceUnitAccess) != 0)
                {
                    _machine.HasJustReplied = true;
                    ForEachCell(request, (at, cell) =>
                    {
                        if (request.Operation != BlockOperation.Discard || IsWholeChunk(request, at))
                            Model.Forced(cell, request.Write);
                    });
                }
                break;
            case BlockOperation.Flush when result == 0:
                _machine.HasJustReplied = true;
                Model.Flushed(request.Submitted);
                break;
            case BlockOperation.Read when result == 0 && request.IsCompared:
                Compare(request, now);
                break;
        }
    }

    private void Compare(SimulationRequest request, long now) => ForEachCell(request, (at, cell) =>
    {
        var stamp = StampAt(request, at);
        // A disk that has lost its own cache may show it to a read before anybody hears of it.
        if (_machine.HasLostCache)
            return;
        if (!Model.MayRead(cell, stamp, request.Submitted))
            throw new SimulationFailure($"a read of {request.ByteLength} bytes at {request.ByteOffset}, submitted at {request.Submitted}: "
                + $"byte {at} holds {(stamp == Mixture ? "a mixture" : stamp)} and may hold {Model.Describe(cell)}");
        Model.Saw(cell, stamp, request.Submitted, now);
    });

    private bool IsWholeChunk(SimulationRequest request, long at)
    {
        var start = at >> _shape.ChunkShift << _shape.ChunkShift;
        return start >= request.ByteOffset
            && Math.Min(start + (1L << _shape.ChunkShift), _shape.DeviceBytes) <= request.ByteOffset + request.ByteLength;
    }

    private void ForEachCell(SimulationRequest request, Action<long, int> visit)
    {
        foreach (var (start, end, first) in _windows)
        {
            var from = Math.Max(request.ByteOffset, start);
            var to = Math.Min(request.ByteOffset + request.ByteLength, end);
            for (var at = from; at < to; at += _shape.CellBytes)
                visit(at, first + (int)((at - start) / _shape.CellBytes));
        }
    }

    private long CellStart(long windowStart, int firstCell, int cell) => windowStart + (cell - firstCell) * (long)_shape.CellBytes;

    private const ulong Mixture = ulong.MaxValue, Tail = ulong.MaxValue - 1;

    private ulong StampAt(SimulationRequest request, long at) =>
        StampOf(request.Content.Slice((int)(at - request.ByteOffset), _shape.CellBytes));

    private ulong StampOf(ReadOnlySpan<byte> cell)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(cell);
        return words.IndexOfAnyExcept(words[0]) < 0 ? words[0] : cell.SequenceEqual(_originTail) ? Tail : Mixture;
    }

    // Stamped like any write, so that what shows of it is recognised; runs of data and holes that respect nothing.
    private byte[] FillOrigin(SimulatedDisk disk)
    {
        disk.Blank(_shape.OriginBytes);
        var content = new byte[_shape.OriginBytes + 2 * _shape.CellBytes];
        for (long at = 0; at < _shape.OriginBytes;)
        {
            var isData = _machine.Random.Next(3) > 0;
            for (var count = _machine.Random.Next(1, 40); count > 0 && at < _shape.OriginBytes; count--, at += _shape.CellBytes)
            {
                if (!isData)
                    continue;
                MemoryMarshal.Cast<byte, ulong>(content.AsSpan((int)at, _shape.CellBytes)).Fill(++_stamp);
                var length = (int)Math.Min(_shape.CellBytes, _shape.OriginBytes - at);
                content.AsSpan((int)at + length, _shape.CellBytes - length).Clear();
                disk.Write(at, content.AsSpan((int)at, length));
            }
        }
        disk.Sync(long.MaxValue);
        disk.IsReadOnly = true;
        return content;
    }
}
