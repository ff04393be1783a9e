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
    public void Start(Action ended)
    {
        _ended = ended;
        _live = UblkBlockDevice.Depth;
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
}
