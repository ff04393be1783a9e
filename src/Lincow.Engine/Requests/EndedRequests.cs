using System.Diagnostics;
using Lincow.Blobs;

namespace Lincow.Requests;

/// <summary>
/// Tells the owners of a device's requests that they have ended, and keeps to one rule: nobody hears of an end while anybody submits, so no
/// owner meets the end of its request half way through its own code, and no chain of requests grows the stack.
///
///     ended, nobody submits        -> told at once
///     ended while somebody submits -> line -> told when what is ready now has gone on, in the order in which they ended
///
/// Invariant: whenever somebody is in line, the loop has been asked.
/// </summary>
internal sealed class EndedRequests(IBlob blob, Action<BlockRequest, int> tell) : BlobOperation
{
    private RequestQueue _line;
    private int _submitting;
    private bool _isArmed;

    /// <summary>From here to <see cref="EndSubmit"/> nobody is told. What is told may submit, so these nest.</summary>
    public void BeginSubmit() => _submitting++;

    public void EndSubmit() => _submitting--;

    /// <summary>A request has ended; the device has nothing more to do with it.</summary>
    public void Add(BlockRequest request, int result)
    {
        // mutation: ends-inside-submit
        if (_submitting == 0)
        {
            request.AssertEnds();
            tell(request, result);
            return;
        }
        request.Error = result;
        _line.Enqueue(request);
        if (_isArmed)
            return;
        _isArmed = true;
        blob.Yield(this);
    }

    /// <summary>Tells those that are in line. What they submit may end at once as well: that is for the next time.</summary>
    public override void End(int result)
    {
        Debug.Assert(_submitting == 0, "a blob's operation ends on the loop, never inside a call");
        _isArmed = false;
        var ended = _line;
        _line = default;
        while (ended.Dequeue() is { } request)
        {
            request.AssertEnds();
            tell(request, request.Error);
        }
    }
}
