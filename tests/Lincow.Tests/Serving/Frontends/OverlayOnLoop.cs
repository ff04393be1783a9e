using Lincow.Linux;
using Lincow.Operations;
using Lincow.Tests.Linux.Loops;

namespace Lincow.Tests.Serving.Frontends;

/// <summary>A transient overlay over an image, on a loop with a thread of its own: what servers under test serve.</summary>
internal abstract class OverlayOnLoop : IDisposable
{
    private const int BlockBytes = 64 << 10;

    private readonly Thread _thread;
    private readonly string _origin = Path.GetTempFileName();

    /// <param name="loop">As <see cref="TestLoop"/> knows them.</param>
    /// <param name="size">Bytes of the image: random ones of a fixed seed.</param>
    /// <param name="hole">What of it is a hole, in whole blocks of 64 KiB.</param>
    protected OverlayOnLoop(string loop, int size, Range hole, bool isReadOnly, string store = "linear")
    {
        OriginContent = new byte[size];
        new Random(8).NextBytes(OriginContent);
        OriginContent.AsSpan(hole).Clear();
        using (var file = File.OpenWrite(_origin))
        {
            for (var at = 0; at < size; at += BlockBytes)
            {
                file.Position = at;
                var block = OriginContent.AsSpan(at, BlockBytes);
                if (block.ContainsAnyExcept((byte)0))
                    file.Write(block);
            }
            file.SetLength(size);
        }
        (_thread, Loop) = TestLoop.Start(loop);
        Session = Loop.Invoke(() => OverlaySession.Open(new OverlayOptions { Origin = _origin, ReadOnly = isReadOnly, Store = store },
            Loop));
    }

    /// <summary>What the device holds at first.</summary>
    public byte[] OriginContent { get; }

    protected IoLoop Loop { get; }

    protected OverlaySession Session { get; }

    /// <summary>Bytes that the loop's thread has allocated in its life.</summary>
    public long AllocatedBytes() => Loop.Invoke(GC.GetAllocatedBytesForCurrentThread);

    /// <summary>Bytes of buffers that are in use.</summary>
    public long RentedBytes() => Loop.Invoke(() => Loop.Buffers.RentedBytes);

    /// <summary>Nothing may be served any more.</summary>
    public virtual void Dispose()
    {
        Loop.Invoke(() =>
        {
            Session.Close();
            Loop.Stop();
        });
        _thread.Join();
        File.Delete(_origin);
    }
}
