using Lincow.Blobs;

namespace Lincow.Device;

/// <summary>
/// Operations that found no room in the file system below and wait for it, where that was asked for:
///
///     refused --> waits --every half second a few are tried--> ended: the next few are tried at once
///                   ^------------------------------------------refused again
///
/// Their requests keep their ranges; everybody else goes on. Whoever wants the device to come to an end turns it off: then those that wait
/// end with what they were refused with.
/// </summary>
/// <param name="data">Whose loop it is on.</param>
/// <param name="counters">Say that there is no room.</param>
/// <param name="retry">Starts an operation again.</param>
/// <param name="giveUp">Ends an operation: there was no room for it.</param>
internal sealed class RoomWait(IBlob data, DeviceCounters counters, Action<BlobOperation> retry, Action<BlobOperation> giveUp)
{
    /// <summary>How often room is looked for.</summary>
    public const int PauseMilliseconds = 500;

    /// <summary>Tried at once, and in a turn.</summary>
    private const int Batch = 16;

    private readonly Queue<BlobOperation> _waiting = new();
    private Look? _look;

    /// <summary>Whether to wait at all.</summary>
    public bool IsOn { get; private set; }

    /// <summary>Operations that wait.</summary>
    public int Count => _waiting.Count;

    public void Turn(bool on)
    {
        IsOn = on;
        while (!IsOn && _waiting.TryDequeue(out var operation))
            giveUp(operation);
    }

    /// <summary>An operation found no room. True when it waits now; false when that is its result.</summary>
    public bool TryWait(BlobOperation operation)
    {
        if (!IsOn)
            return false;
        counters.NoteFull();
        _waiting.Enqueue(operation);
        LookAgain(soon: false);
        return true;
    }

    /// <summary>An operation that had waited has found room: there may be some for others.</summary>
    public void NoteRoom()
    {
        if (_waiting.Count > 0)
            LookAgain(soon: true);
    }

    private void LookAgain(bool soon)
    {
        _look ??= new Look(this);
        if (_look.IsUnderWay)
            return;
        _look.IsUnderWay = true;
        if (soon)
            data.NextTurn(_look);
        else
            data.Delay(PauseMilliseconds, _look);
    }

    private void TrySome()
    {
        for (var count = Math.Min(Batch, _waiting.Count); count > 0; count--)
            retry(_waiting.Dequeue());
    }

    private sealed class Look(RoomWait room) : BlobOperation
    {
        public bool IsUnderWay { get; set; }

        public override void End(int result)
        {
            IsUnderWay = false;
            room.TrySome();
        }
    }
}
