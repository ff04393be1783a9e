using Lincow.Layers;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Device;

/// <summary>
/// Zeroing where the exception store knows no zero chunks: zeroes are written like any data, one write after the other, but for what reads
/// as zeroes already.
/// </summary>
internal sealed class ZeroFill(CowDevice device, LayerStack stack, TurnWork turns) : BlockRequest
{
    private const int PieceBytes = 1 << 20, SectorBytes = 512;

    // Never written to, so it takes no memory.
    private static readonly nint _zeroes = NativePages.Reserve(2 * PieceBytes);

    // In each, so that whoever makes the first one makes sure of them.
    private readonly nint _source = _zeroes;
    private BlockRequest? _request;
    private bool _isWriting;
    private int _result;

    /// <summary>No write of its own is on its way: it looks for the next place that isn't zero.</summary>
    public bool IsLooking => !_isWriting && _request is not null;

    public void Start(BlockRequest request)
    {
        _request = request;
        request.Cursor = request.ByteOffset;
        (Operation, Buffer, _result) = (BlockOperation.Write, _source, 0);
        Advance();
    }

    protected internal override void OnCompleted(int result)
    {
        (_isWriting, _result) = (false, result);
        Advance();
    }

    /// <summary>Goes on to the next write, or to the end.</summary>
    public void Advance()
    {
        var request = _request!;
        var mark = turns.Mark;
        while (_result == 0 && request.Cursor < request.End)
        {
            if (turns.MustPause(this, mark))
                return;
            turns.Spend(1);
            Error = 0;
            var run = stack.Look(this, request.Cursor, request.End);
            if (run.ByteLength == 0)
            {
                _result = Error;
                if (Error < 0)
                    break;
                return;
            }
            // mutation: holes-filled-with-zeroes
            var isZero = run.Source is RunSource.Zero or RunSource.OriginHole;
            // Whole sectors, also where the origin ends in the middle of one: what others write there meanwhile must not be mixed with
            // zeroes.
            var end = isZero ? Down(request.Cursor + run.ByteLength)
                : Down(request.Cursor + Math.Min(run.ByteLength, PieceBytes) + SectorBytes - 1);
            if (request.Cursor + run.ByteLength == request.End)
                end = isZero ? request.End : Math.Min(end, request.End);
            if (isZero && end > request.Cursor)
            {
                request.Cursor = end;
                continue;
            }
            end = Math.Min(Math.Max(end, Down(request.Cursor + SectorBytes)), request.End);
            (ByteOffset, ByteLength) = (request.Cursor, end - request.Cursor);
            request.Cursor = end;
            _isWriting = true;
            device.Submit(this);
            return;
        }
        _request = null;
        device.ZeroFillEnded(this, request, _result);
    }

    private static long Down(long byteOffset) => byteOffset & -SectorBytes;
}
