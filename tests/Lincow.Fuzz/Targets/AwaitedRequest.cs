using Lincow.Device;
using Lincow.Linux;
using Lincow.Requests;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>A request that has to end.</summary>
internal sealed class AwaitedRequest : BlockRequest
{
    private const int SectorBytes = 512;

    private int? _result;

    public bool IsChange => Operation is BlockOperation.Write or BlockOperation.WriteZeroes or BlockOperation.Discard;

    /// <summary>A request of the kind that an input says, with what it writes, or a filling that a read has to replace.</summary>
    /// <param name="third">What the third kind is.</param>
    /// <param name="room">Bytes that the buffer holds.</param>
    public static unsafe AwaitedRequest Make(int kind, BlockOperation third, long byteOffset, int byteLength, nint buffer, int room)
    {
        var request = new AwaitedRequest { ByteOffset = byteOffset, ByteLength = byteLength, Buffer = buffer };
        var window = new Span<byte>((void*)buffer, byteLength);
        switch (kind)
        {
            case 0 or 1:
                request.Operation = BlockOperation.Write;
                for (var i = 0; i < byteLength; i++)
                    window[i] = (byte)(0x40 + byteOffset / SectorBytes + i % 61);
                break;
            case 2:
                request.Operation = BlockOperation.WriteZeroes;
                request.Flags = byteLength % 1024 == 0 ? BlockFlags.NoHole : BlockFlags.ForceUnitAccess;
                break;
            case 3:
                request.Operation = third;
                break;
            case 4:
                request.Operation = BlockOperation.Flush;
                break;
            case 5:
                request.Operation = BlockOperation.Extents;
                request.ExtentCount = room / sizeof(BlockExtent);
                break;
            default:
                request.Operation = BlockOperation.Read;
                window.Fill(0xee);
                break;
        }
        return request;
    }

    public int Await(CowDevice device, PosixLoop loop)
    {
        device.Submit(this);
        for (var turns = 0; _result is null; turns++)
        {
            Require(turns < 100_000, "a request ends");
            loop.RunOnce();
        }
        return _result.Value;
    }

    protected internal override void OnCompleted(int result) => _result = result;

    /// <summary>The one way in which the control plane may fail.</summary>
    public static void Attempt(Action action)
    {
        try
        {
            action();
        }
        catch (LincowException)
        {
        }
    }
}
