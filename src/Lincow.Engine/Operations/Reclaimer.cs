using System.Diagnostics;
using Lincow.Blobs;
using Lincow.Device;
using Lincow.Requests;

namespace Lincow.Operations;

/// <summary>
/// Gives back, in the background, the space that a reset left behind: walks over what the data file has allocated, window by window, with
/// requests that lock their range like any other and punch what the overlay doesn't hold.
///
///     search --> window --> window --> search --> ... --> done
///
/// Invariant: while it isn't idle, either one search or one window is in flight.
/// </summary>
internal sealed class Reclaimer : BlockRequest
{
    /// <summary>Bytes of the device that one request locks: small enough that clients hardly wait.</summary>
    private const long WindowBytes = 16 << 20;

    private readonly CowDevice _device;
    private readonly IBlob _data;
    private readonly long _shift;
    private readonly Search _search;
    private readonly BlobRuns _runs = new();
    private long _cursor;
    private int _run;
    private bool _isStopping, _isInWindow, _isSearching, _isStale;

    public Reclaimer(CowDevice device, IBlob data, long shift)
    {
        (_device, _data, _shift) = (device, data, shift);
        _search = new Search(this);
    }

    /// <summary>Everything has been walked over.</summary>
    public bool IsDone { get; private set; }

    /// <summary>Nothing of it is in flight.</summary>
    public bool IsIdle => !_isInWindow && !_isSearching;

    /// <summary>Begins, or begins again: for a device that was reset meanwhile.</summary>
    public void Start()
    {
        Operation = BlockOperation.Reclaim;
        (_cursor, _run, _isStopping, IsDone, _isStale) = (0, 0, false, false, _isSearching);
        _runs.Clear(0);
        Advance();
    }

    /// <summary>Nothing further is begun; what is in flight ends like any request.</summary>
    public void Stop() => _isStopping = true;

    protected internal override void OnCompleted(int result)
    {
        _isInWindow = false;
        // A window that can't be reclaimed only costs space; the next open tries again.
        if (result < 0)
            _isStopping = true;
        Advance();
    }

    private void OnFound(int result)
    {
        _isSearching = false;
        if (_isStale)
            _runs.Clear(0);
        else if (result < 0)
            _isStopping = true;
        (_isStale, _run) = (false, 0);
        Advance();
    }

    private void Advance()
    {
        Debug.Assert(!_isInWindow || !_isSearching, "one search or one window is in flight");
        if (!IsIdle || _isStopping || IsDone)
            return;
        while (_run < _runs.Count && (!_runs.IsData(_run) || _shift + _cursor >= _runs.EndOf(_run)))
            _cursor = _runs.EndOf(_run++) - _shift;
        if (_cursor >= _device.SizeBytes)
        {
            IsDone = true;
        }
        else if (_run == _runs.Count)
        {
            _isSearching = true;
            _data.FindRuns(_shift + _cursor, _shift + _device.SizeBytes, _runs, _search);
        }
        else
        {
            SubmitWindow(_runs.EndOf(_run) - _shift - _cursor);
        }
    }

    private void SubmitWindow(long byteCount)
    {
        ByteOffset = _cursor;
        ByteLength = Math.Min(byteCount, WindowBytes);
        _cursor += ByteLength;
        _isInWindow = true;
        _device.Submit(this);
    }

    private sealed class Search(Reclaimer owner) : BlobOperation
    {
        public override void End(int result) => owner.OnFound(result);
    }
}
