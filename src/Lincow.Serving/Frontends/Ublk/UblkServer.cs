using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Serving.Frontends.Ublk;

/// <summary>
/// Serves the one queue of a ublk device on the loop of the device: every tag has a command in the kernel that completes with a request,
/// and is given back with the result.
///
///     fetch -> copy in -> BlockDevice.Submit -> copy out -> commit and fetch
///
/// Invariants: a tag is in the kernel's hands or in the device's, never in both; its buffer is there only while it is in the device's; the
/// device is let go when the kernel has ended every tag.
/// </summary>
internal sealed class UblkServer(IoLoop loop, BlockDevice device, IUblkQueue block, Action<string> log)
{
    private Action? _ended;
    private int _live;
    private bool _hasComplained;

    internal IoLoop Loop => loop;

    internal BlockDevice Device => device;

    internal IUblkQueue Block => block;

    /// <summary>Begins; calls back when the kernel has ended the queue and the device is let go. On the loop's thread.</summary>
    /// <remarks>
    /// The kernel looks for partitions while it makes a device, with the device's lock held, and reads them from the server. If that is
    /// killed at this moment, the read waits for the next server, which waits for the lock: for good, with everybody who has to do with the
    /// device (seen with Linux 6.12). It doesn't look where the server, as its first commands arrive, is no administrator's; so this one
    /// isn't for the moment. Who wants partitions reads the table and tells the kernel.
    /// </remarks>
    public void Start(Action ended)
    {
        _ended = ended;
        _live = UblkBlockDevice.Depth;
        // mutation: real-kernel-reads-a-new-device (2 lines)
        if (LinuxProcess.TrySetSystemAdministrator(false))
            loop.CompleteNextTurn(new Fetching(loop));
        for (var tag = 0; tag < UblkBlockDevice.Depth; tag++)
            new UblkRequest(this, tag).Fetch();
    }

    /// <summary>A tag has no command in the kernel any more.</summary>
    internal void TagEnded(int tag, int result)
    {
        // ENODEV: the device is taken away.
        if (result != -Errno.NoSuchDevice && !_hasComplained)
        {
            _hasComplained = true;
            log($"{block.Path}: tag {tag} ended: {Errno.Describe(-result)}");
        }
        if (--_live > 0)
            return;
        block.Dispose();
        _ended?.Invoke();
    }

    /// <summary>The turn after the next one has submitted the commands.</summary>
    private sealed class Fetching(IoLoop loop) : IoCompletion
    {
        private bool _areSubmitted;

        public override void Complete(int result)
        {
            if (_areSubmitted)
                LinuxProcess.TrySetSystemAdministrator(true);
            else
                loop.CompleteNextTurn(this);
            _areSubmitted = true;
        }
    }
}
