using Lincow.Linux;
using Lincow.Serving.Frontends.Ublk;
using Lincow.Tests.Linux.Loops;

namespace Lincow.Tests.Serving.Frontends.Ublk;

/// <summary>A ublk server with the test in the driver's place: one request at a time, under the first tag.</summary>
internal sealed class UblkTestQueue : IUblkQueue
{
    private readonly IoCompletion?[] _waiting = new IoCompletion?[UblkBlockDevice.Depth];
    private readonly AutoResetEvent _answered = new(false);
    private readonly ManualResetEventSlim _ended = new();
    private readonly Thread _thread;
    private readonly IoLoop _loop;
    private UblkDescriptor _asked;
    private int _result;

    public UblkTestQueue()
    {
        (_thread, _loop) = TestLoop.Start("posix");
        Device = new HugeDevice(_loop);
        _loop.Invoke(() => new UblkServer(_loop, Device, this, Log.Add).Start(_ended.Set));
    }

    public HugeDevice Device { get; }

    public List<string> Log { get; } = [];

    public string Path => "ublk";

    public UblkDescriptor this[int tag] => _asked;

    /// <summary>The result of a request, as the kernel gets it.</summary>
    public int Ask(UblkOperation operation, ulong sector, uint sectors)
    {
        _loop.Invoke(() =>
        {
            _asked = new UblkDescriptor { OperationAndFlags = (uint)operation, StartSector = sector, Sectors = sectors };
            var waiting = _waiting[0]!;
            _waiting[0] = null;
            waiting.Complete(0);
        });
        Assert.True(_answered.WaitOne(10_000), $"{operation} was not answered");
        return _result;
    }

    public void Fetch(IoLoop loop, int tag, IoCompletion completion) => _waiting[tag] = completion;

    public void CommitAndFetch(IoLoop loop, int tag, int result, IoCompletion completion)
    {
        (_waiting[tag], _result) = (completion, result);
        _answered.Set();
    }

    public int TryReceive(int tag, nint buffer, int byteCount) => 0;

    public int TrySend(int tag, nint buffer, int byteCount) => 0;

    /// <summary>The device is taken away, which ends every tag.</summary>
    public void End()
    {
        _loop.Invoke(() => Array.ForEach(_waiting, waiting => waiting!.Complete(-Errno.NoSuchDevice)));
        Assert.True(_ended.Wait(10_000), "the server did not end");
        _loop.Invoke(_loop.Stop);
        _thread.Join();
        _answered.Dispose();
    }

    public void Dispose()
    {
        // By the server, when every tag has ended.
    }
}
