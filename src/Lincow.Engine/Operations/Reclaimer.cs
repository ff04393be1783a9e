using Lincow.Blobs;
using Lincow.Device;
using Lincow.Requests;

namespace Lincow.Operations;

/// <summary>
/// Gives back, in the background, the space that a reset left behind: walks over what the data file has allocated, window by window, with
/// requests that lock their range like any other and punch what the overlay doesn't hold.
/// </summary>
internal sealed class Reclaimer(CowDevice device, IBlob data, long shift) : BlockRequest
{
    /// <summary>Bytes of the device that one request locks: small enough that clients hardly wait.</summary>
    private const long WindowBytes = 16 << 20;

    private long _cursor, _dataEnd;
    private bool _isStopping, _isSubmitting, _hasEnded = true;

    /// <summary>Everything has been walked over.</summary>
    public bool IsDone { get; private set; }

    public void Start()
    {
        Operation = BlockOperation.Reclaim;
        Advance();
    }

    /// <summary>No further window is begun; the one in flight ends like any request.</summary>
    public void Stop() => _isStopping = true;

    protected internal override void OnCompleted(int result)
    {
        _hasEnded = true;
        // A window that can't be reclaimed only costs space; the next open tries again.
        if (result < 0)
            _isStopping = true;
        if (!_isSubmitting)
            Advance();
    }

    private bool TryFindData()
    {
        if (!data.TryFindData(shift + _cursor, shift + device.SizeBytes, out var start, out var end))
            return false;
        (_cursor, _dataEnd) = (start - shift, end - shift);
        return true;
    }

    // A loop, not recursion: a window with nothing to give back completes inside Submit, unless the turn has done enough (TurnWork).
    private void Advance()
    {
        while (_hasEnded && !_isStopping && !IsDone)
        {
            // To find where data ends, a file system walks over all of it: once, not for each window.
            if (_cursor >= _dataEnd && !TryFindData())
            {
                IsDone = true;
                return;
            }
            ByteOffset = _cursor;
            ByteLength = Math.Min(_dataEnd - _cursor, WindowBytes);
            _cursor += ByteLength;
            (_hasEnded, _isSubmitting) = (false, true);
            device.Submit(this);
            _isSubmitting = false;
        }
    }
}
