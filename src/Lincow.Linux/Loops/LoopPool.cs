namespace Lincow.Linux;

/// <summary>
/// The threads of a host. Devices share a loop only if their files, the origin's included, lie on the same file systems and block devices:
/// when one of these stands still, it does so for each of them anyway, and everybody else is on another loop. Clients are accepted and
/// greeted, and questions answered, on a loop in front that touches no file.
///
/// Of each such group there are as many loops as processors; a newcomer comes onto the one with the fewest devices. A loop ends with its
/// last device. Any thread may call.
/// </summary>
internal sealed class LoopPool(Action<LoopThread, Exception>? faulted, Action<string> log) : IDisposable
{
    /// <summary>
    /// Loops for devices at most; a ring and a thread take some 300 KiB. Beyond it, devices on different file systems share after all.
    /// </summary>
    private const int MaxLoops = 256;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, List<Member>> _groups = [];
    private readonly List<Member> _members = [];
    private LoopThread? _front;
    private int _startedCount;

    /// <summary>For sockets that anybody may connect to, and nothing else.</summary>
    public LoopThread Front
    {
        get
        {
            lock (_gate)
                return _front ??= LoopThread.StartWithoutRing("lincow-front");
        }
    }

    /// <summary>Loops that devices are on.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
                return _members.Count;
        }
    }

    /// <summary>The loop for devices that come.</summary>
    /// <param name="places">Where their files lie , as one text.</param>
    /// <param name="deviceCount">How many they are; they are given back by <see cref="Release"/>.</param>
    public LoopThread Take(string places, int deviceCount = 1)
    {
        lock (_gate)
        {
            // mutation: neighbours-share-a-loop (2 lines)
            if (!_groups.TryGetValue(places, out var group))
                _groups[places] = group = [];
            if (group.Count < Environment.ProcessorCount && _members.Count < MaxLoops)
                group.Add(Start());
            else if (group.Count == 0)
                group.Add(Emptiest(_members));
            var member = Emptiest(group);
            member.DeviceCount += deviceCount;
            return member.Thread;
        }
    }

    /// <summary>
    /// Devices of a loop are closed. True when there are none left on it: nobody is put on it any more, and the caller stops it.
    /// </summary>
    public bool Release(LoopThread thread, int deviceCount = 1)
    {
        lock (_gate)
        {
            if (_members.Find(member => member.Thread == thread) is not { } member)
                return false;
            member.DeviceCount -= deviceCount;
            if (member.DeviceCount > 0)
                return false;
            Drop(member);
            return true;
        }
    }

    /// <summary>A loop met an exception: nobody is put on it any more. False when it was the last one.</summary>
    public bool Lose(LoopThread thread)
    {
        lock (_gate)
        {
            if (_members.Find(member => member.Thread == thread) is { } member)
                Drop(member);
            return _members.Count > 0;
        }
    }

    /// <summary>Ends the loop in front. The others have been released.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _front?.Stop();
            _front = null;
        }
    }

    private static Member Emptiest(List<Member> members) => members.MinBy(member => member.DeviceCount)!;

    private Member Start()
    {
        var thread = LoopThread.Start($"lincow-loop-{_startedCount}", faulted);
        if (_startedCount++ == 0 && thread.WhyNotUring is { } reason)
            log(reason);
        var member = new Member(thread);
        _members.Add(member);
        return member;
    }

    private void Drop(Member member)
    {
        _members.Remove(member);
        foreach (var (places, group) in _groups)
        {
            if (group.Remove(member) && group.Count == 0)
                _groups.Remove(places);
        }
    }

    /// <summary>A loop, and how many devices are on it.</summary>
    private sealed class Member(LoopThread thread)
    {
        public LoopThread Thread => thread;

        public int DeviceCount { get; set; }
    }
}
