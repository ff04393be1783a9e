using Lincow.Linux;

namespace Lincow.Cli;

/// <summary>
/// The threads of a serving process. Overlays share a loop only if their files, the origin's included, lie on the same file systems and devices: when
/// one of these stands still, it does so for each of them anyway, and everybody else is on another loop. Clients are accepted and greeted, and
/// questions answered, on a loop of their own that touches no file.
/// </summary>
internal sealed class ServeLoops
{
    /// <summary>Loops for devices at most; a ring and a thread take some 300 KiB. Beyond it, overlays on different file systems share after all.</summary>
    private const int MaxLoops = 256;

    private readonly List<LoopThread> _devices = [];
    private readonly List<LoopThread> _ofOverlay = [];

    /// <param name="places">Of each overlay, where its files lie (<see cref="Overlays.OverlayOpening.Places"/>).</param>
    /// <param name="faulted">As <see cref="LoopThread.Start"/> has it; null for devices whose clients are better off when the process ends.</param>
    public ServeLoops(IReadOnlyList<string> places, Action<LoopThread, Exception>? faulted)
    {
        Front = LoopThread.StartWithoutRing("lincow-front");
        var groups = new Dictionary<string, Group>();
        foreach (var place in places)
        {
            // mutation: neighbours-share-a-loop (2 lines)
            if (!groups.TryGetValue(place, out var group))
                groups[place] = group = new Group();
            if (group.Loops.Count < Environment.ProcessorCount && _devices.Count < MaxLoops)
                group.Loops.Add(Start());
            else if (group.Loops.Count == 0)
                group.Loops.Add(_devices[groups.Count % _devices.Count]);
            _ofOverlay.Add(group.Loops[group.Overlays++ % group.Loops.Count]);
        }

        LoopThread Start()
        {
            var thread = LoopThread.Start($"lincow-loop-{_devices.Count}", faulted);
            _devices.Add(thread);
            return thread;
        }
    }

    /// <summary>For sockets that anybody may connect to, and nothing else.</summary>
    public LoopThread Front { get; }

    /// <summary>Those that devices are on.</summary>
    public IReadOnlyList<LoopThread> Devices => _devices;

    /// <summary>The thread of the overlay at an index.</summary>
    public LoopThread this[int overlay] => _ofOverlay[overlay];

    /// <summary>Overlays with the same places: one loop a processor, in turn.</summary>
    private sealed class Group
    {
        public List<LoopThread> Loops { get; } = [];

        public int Overlays { get; set; }
    }
}
