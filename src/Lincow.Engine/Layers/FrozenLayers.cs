using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Layers;

/// <summary>
/// Frozen overlays below the one that is written, as one layer. Which of them holds a byte is looked up in the <see cref="SharedIndex"/>,
/// so depth costs nothing once a page of it is there; a page that isn't is made from the layers' maps, some layers at a time, while
/// requests for it wait:
///
///     wait -> read images of the next 8 layers -> enter their states --all granules known, or no layer left--> publish -> resume
///                  ^--------------------------next turn-----------------------'
///
/// Each device has its own, with files on its own loop; the index is everybody's.
/// </summary>
internal sealed unsafe class FrozenLayers : ILayer, IDisposable
{
    /// <summary>Pages that are made at once; who needs another one waits for one of these.</summary>
    private const int MaxLoads = 4;

    /// <summary>Layers whose maps are read at once and entered in one turn: less than a tenth of a millisecond.</summary>
    private const int LayersAtOnce = 8;

    /// <summary>Granules that are entered for a unit of a turn's work.</summary>
    private const int GranulesPerUnit = 256;

    private readonly SharedIndex _index;
    private readonly IReadOnlyList<IFrozenLayer> _layers;
    private readonly ILayer _below;
    private readonly BufferPool _buffers;
    private readonly List<PageLoad> _loads = new(MaxLoads);
    private RequestQueue _waiting;
    private Action<BlockRequest>? _resume;
    private TurnWork? _turns;

    /// <param name="index">The index over these layers, joined; it is left in the end.</param>
    /// <param name="layers">From the nearest on; they are disposed of.</param>
    /// <param name="below">What shows where none of them holds anything.</param>
    /// <param name="buffers">The loop's.</param>
    public FrozenLayers(SharedIndex index, IReadOnlyList<IFrozenLayer> layers, ILayer below, BufferPool buffers)
    {
        (_index, _layers, _below, _buffers) = (index, layers, below, buffers);
        AlignmentBytes = below.AlignmentBytes;
        foreach (var layer in layers)
            AlignmentBytes = Math.Max(AlignmentBytes, layer.Data.AlignmentBytes);
    }

    public int AlignmentBytes { get; }

    public bool IsIdle => _loads.Count == 0 && _below.IsIdle;

    /// <summary>Told of damage, a sentence each.</summary>
    public Action<LincowError>? Report { get; set; }

    public void Serve(Action<BlockRequest> resume, TurnWork turns)
    {
        (_resume, _turns) = (resume, turns);
        _below.Serve(resume, turns);
    }

    public Run Resolve(BlockRequest request, long byteOffset, long byteEnd)
    {
        if (!_index.TryRunAt(byteOffset, byteEnd, out var holder, out var length))
        {
            WaitFor(request, _index.PageOf(byteOffset));
            return default;
        }
        switch (holder)
        {
            case SharedIndex.Below:
                return _below.Resolve(request, byteOffset, byteOffset + length);
            case SharedIndex.Zero:
                return new Run(RunSource.OriginHole, null, 0, length);
            case SharedIndex.Lost:
                request.Error = -Errno.IO;
                return default;
            default:
                var layer = _layers[holder - 1];
                return new Run(RunSource.Origin, layer.Data, layer.DataOffset + byteOffset, length);
        }
    }

    public void Dispose()
    {
        foreach (var layer in _layers)
            layer.Dispose();
        _index.Leave();
    }

    private void WaitFor(BlockRequest request, long page)
    {
        var load = _loads.Find(load => load.Page == page);
        if (load is null && _loads.Count < MaxLoads)
        {
            load = new PageLoad(this, page);
            if (!load.TryBegin())
            {
                request.Error = -Errno.NoMemory;
                return;
            }
            _loads.Add(load);
            load.ReadNext();
        }
        if (request.Outstanding > 0)
            return;
        if (load is not null)
            load.Waiters.Wait(request);
        else
            _waiting.Wait(request);
    }

    private void Ended(PageLoad load, int result)
    {
        _loads.Remove(load);
        while (load.Waiters.Dequeue() is { } waiter)
        {
            if (result < 0)
                waiter.Error = result;
            _resume!(waiter);
        }
        var waiting = _waiting;
        _waiting = default;
        while (waiting.Dequeue() is { } next)
            _resume!(next);
    }

    /// <summary>A page of the index that is being made.</summary>
    private sealed class PageLoad(FrozenLayers owner, long page) : BlobOperation
    {
        private readonly ImageRead[] _reads = new ImageRead[LayersAtOnce];
        private NativeBuffer _images;
        private nint _made;
        private int _next, _first, _inFlight, _error;

        public RequestQueue Waiters;

        public long Page => page;

        private Span<byte> Granules => SharedIndex.Granules(_made);

        private long Start => page * SharedIndex.GranulesPerPage << owner._index.Geometry.ChunkShift;

        /// <summary>Makes sure of memory.</summary>
        public bool TryBegin()
        {
            var bytes = 0;
            foreach (var layer in owner._layers)
                bytes = Math.Max(bytes, layer.ImageBytes);
            if (!owner._buffers.TryRent(bytes * LayersAtOnce, out _images))
                return false;
            if (!SharedIndex.TryBegin(out _made))
            {
                owner._buffers.Return(_images);
                return false;
            }
            for (var i = 0; i < LayersAtOnce; i++)
                _reads[i] = new ImageRead(this, _images.Address + i * bytes);
            return true;
        }

        /// <summary>Reads the maps of the next layers, as far as there are any that reach to this page.</summary>
        public void ReadNext()
        {
            (_first, _inFlight) = (_next, 1);
            for (; _next < owner._layers.Count && _next - _first < LayersAtOnce && owner._layers[_next]
                .Geometry.DeviceBytes > Start; _next++)
            {
                _inFlight++;
                _reads[_next - _first].Begin(owner._layers[_next], PageIn(_next));
            }
            owner._turns?.Spend((_next - _first) * TurnWork.UnitsPerCall);
            ReadEnded(0);
        }

        /// <summary>The next turn has come.</summary>
        public override void End(int result) => ReadNext();

        // A layer whose chunks are larger has a page that covers more than this one.
        private long PageIn(int layer) => page >> (owner._layers[layer].Geometry.ChunkShift - owner._index.Geometry.ChunkShift);

        private void ReadEnded(int result)
        {
            if (result < 0)
                _error = result;
            if (--_inFlight > 0)
                return;
            if (_error == 0)
                Enter();
            var isShort = _next < owner._layers.Count && owner._layers[_next].Geometry.DeviceBytes <= Start;
            if (isShort)
                // That layer ends before this page, so nothing below it shows here.
                SharedIndex.Fill(Granules, 0, SharedIndex.GranulesPerPage, SharedIndex.Zero);
            if (_error == 0 && !isShort && _next < owner._layers.Count && Granules.Contains(SharedIndex.Below))
                owner._turns!.NextTurn(this);
            else
                Finish();
        }

        private void Enter()
        {
            Span<ulong> words = stackalloc ulong[ChunkMap.WordsPerPage];
            for (var i = _first; i < _next; i++)
            {
                var layer = owner._layers[i];
                var isSound = layer.TryDecode(PageIn(i), _reads[i - _first].Image, words, owner.Report);
                owner._index.Enter(Granules, page, i, layer.Geometry, isSound ? words : default);
            }
            owner._turns?.Spend((_next - _first) * SharedIndex.GranulesPerPage / GranulesPerUnit);
        }

        private void Finish()
        {
            owner._buffers.Return(_images);
            if (_error == 0)
                owner._index.Publish(page, _made);
            else
                SharedIndex.Discard(_made);
            owner.Ended(this, _error);
        }

        private sealed class ImageRead(PageLoad load, nint buffer) : BlobOperation
        {
            private IFrozenLayer? _layer;

            public ReadOnlySpan<byte> Image => new((void*)buffer, _layer!.ImageBytes);

            public void Begin(IFrozenLayer layer, long page)
            {
                _layer = layer;
                layer.ReadImage(page, buffer, this);
            }

            public override void End(int result) => load.ReadEnded(result);
        }
    }
}
