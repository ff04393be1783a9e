using Lincow.Device;
using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Operations;

/// <summary>
/// Resets the overlay of an open device: holds new requests back, waits until the device is idle, raises the generation, forgets the map in
/// memory, and lets the held requests in. A client sees every request as wholly before or wholly after the reset.
/// </summary>
internal sealed class SessionReset(IoLoop loop, CowDevice device, OpenStore store) : IoCompletion
{
    private const int LookAgainMilliseconds = 1;

    private Action<LincowException?>? _done;
    private bool _waitsForRoom;

    public bool IsRunning => _done is not null;

    public void Start(Action<LincowException?> done)
    {
        _done = done;
        device.Hold();
        // What waits for room would have it wait for ever, and it is what makes room.
        // mutation: reset-waits-for-room (2 lines)
        _waitsForRoom = device.WaitsForRoom;
        device.WaitsForRoom = false;
        // Posted, because blobs are waited for with turns of the loop, and those may not be nested in a completion.
        loop.Post(Advance);
    }

    /// <summary>The timer.</summary>
    public override void Complete(int result) => loop.Post(Advance);

    private void Advance()
    {
        if (!device.IsIdle)
        {
            loop.Delay(LookAgainMilliseconds, this);
            return;
        }
        LincowException? failure = null;
        try
        {
            store.Restart();
        }
        catch (Exception e) when (e is LincowException or LinuxException)
        {
            failure = e as LincowException ?? new LincowException(LincowError.Of(e), e);
        }
        var done = _done!;
        _done = null;
        device.WaitsForRoom = _waitsForRoom;
        device.Release();
        done(failure);
    }
}
