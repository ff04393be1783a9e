using System.Diagnostics;
using Lincow.Blobs;

namespace Lincow.Requests;

/// <summary>
/// How much a device does in one turn of its loop, so that a request over a million runs doesn't keep everybody else's from being answered.
/// Work is counted in units of about a look-up in the map; a turn has so many. When they are used up, what is long waits in line for the
/// next turn, the first in line first. A short request doesn't: it may do a little in any turn.
///
///     request --(its allowance is used up, and the turn's units too)--> line --next turn--> goes on, up to the next pause
///
/// Invariant: whenever the units are used up, or somebody is in line, the next turn has been asked for; so what others left over because
/// the turn was spent (waiters of range locks, of loads, of a reset) is looked at then.
/// </summary>
internal sealed class TurnWork(IBlob blob, Action<BlockRequest> resume, Action goOn) : BlobOperation
{
    /// <summary>Some hundred microseconds: much more than a turn costs by itself, less than anybody notices.</summary>
    public const int UnitsPerTurn = 4096;

    /// <summary>What a request may do in a turn whose units are used up: all of a short one.</summary>
    public const int Allowance = 512;

    /// <summary>A system call that touches no disk: a few microseconds.</summary>
    public const int UnitsPerCall = 64;

    /// <summary>Bytes that are copied or cleared for a unit. In memory that is new, each page of them has to be made first.</summary>
    private const int BytesPerUnit = 64;

    /// <summary>One part in so many of a turn is kept from the first in line: some sixty looks at waiters.</summary>
    private const int ShareOfWaiters = 4;

    private RequestQueue _line;
    private int _left = UnitsPerTurn;

    /// <summary>Units of a turn; simulations take fewer, to meet more pauses.</summary>
    public int Units { get; set; } = UnitsPerTurn;

    /// <summary>The next turn has been asked for.</summary>
    public bool IsArmed { get; private set; }

    /// <summary>The turn's units are used up: whatever is long has to wait.</summary>
    public bool IsSpent => _left <= 0;

    /// <summary>For <see cref="MustPause"/>: taken before a loop, it tells what was done since.</summary>
    public int Mark => _left;

    /// <summary>Units since the device was opened, for tests.</summary>
    public long Spent { get; private set; }

    /// <summary>What so many bytes cost.</summary>
    public static int UnitsFor(long byteCount) => (int)(byteCount / BytesPerUnit);

    /// <summary>Notes what was done.</summary>
    public void Spend(int units)
    {
        _left -= units;
        Spent += units;
        if (_left <= 0)
            Arm();
    }

    /// <summary>The request has nothing in flight; it is resumed in a later turn.</summary>
    public void Wait(BlockRequest request)
    {
        _line.Wait(request);
        Arm();
    }

    /// <summary>
    /// Whether a request that has done so much since it was resumed has to pause. If nothing of it is in flight, it waits in line; else it
    /// goes on when that has ended. Asked before a step, never after it has been paid for: a step a turn is made at least.
    /// </summary>
    /// <param name="request">The request.</param>
    /// <param name="mark">The <see cref="Mark"/> of when it was resumed.</param>
    public bool MustPause(BlockRequest request, int mark)
    {
        // mutation: work-without-pause
        if (!IsSpent || mark - _left < Math.Min(Allowance, Units))
            return false;
        if (request.Outstanding == 0)
            Wait(request);
        return true;
    }

    /// <summary>
    /// A new turn. The first in line may use most of it, but not all: whoever waits for a range would never be looked at while anything
    /// long is in line.
    /// </summary>
    public override void End(int result)
    {
        IsArmed = false;
        // mutation: waiters-get-what-the-line-leaves
        var share = Units / ShareOfWaiters;
        _left = Units - share;
        // One at least, whatever else there is to do.
        if (_line.Dequeue() is { } first)
            resume(first);
        _left = Math.Max(_left, 0) + share;
        goOn();
        while (!IsSpent && _line.Dequeue() is { } next)
            resume(next);
        if (!_line.IsEmpty)
            Arm();
        Debug.Assert(IsArmed || (_line.IsEmpty && !IsSpent), "whoever has to wait is looked at in the next turn");
    }

    /// <summary>Has an operation go on in the loop's next turn.</summary>
    public void NextTurn(BlobOperation operation) => blob.NextTurn(operation);

    private void Arm()
    {
        if (IsArmed)
            return;
        IsArmed = true;
        blob.NextTurn(this);
    }
}
