using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// One NBD request from its header to its reply's last byte: reused, by one connection after the other, with room of its own for reply
/// headers.
/// </summary>
internal sealed unsafe class NbdRequest : BlockRequest
{
    /// <summary>Runs of zeroes that one read reply names; further ones are sent as data. Bounds the reply's headers.</summary>
    public const int MaxHoles = 15;

    /// <summary>A shorter run costs more as a chunk of its own than as zeroes.</summary>
    private const int MinHoleBytes = 512;

    /// <summary>Up to 31 pieces of a read reply, each with an extended header and an offset.</summary>
    public const int HeaderBytes = (2 * MaxHoles + 1) * (NbdProtocol.ExtendedReplyBytes + 12);

    private readonly byte[] _header = GC.AllocateUninitializedArray<byte>(HeaderBytes, pinned: true);
    private readonly (long Start, long Length)[] _holes = new (long, long)[MaxHoles];
    private NbdTransmission? _owner;

    /// <summary>Room for the reply's headers.</summary>
    public byte* Header =>
        (byte*)System.Runtime.CompilerServices.Unsafe.AsPointer(
        ref System.Runtime.InteropServices.MemoryMarshal.GetArrayDataReference(_header));

    public ulong Cookie { get; set; }
    public NbdCommand Command { get; set; }
    public ushort CommandFlags { get; set; }

    /// <summary>The offset as the client sent it: extended replies repeat it.</summary>
    public ulong WireOffset { get; set; }

    /// <summary>Memory of the loop's pool, if it has any.</summary>
    public NativeBuffer Memory { get; set; }

    /// <summary>Pages of its own, which take memory as a payload arrives; as many as there are bytes.</summary>
    public nint Pages { get; set; }

    /// <summary>What its connection has been charged for it.</summary>
    public long ChargedBytes { get; set; }

    /// <summary>How long the encoded reply of block status is.</summary>
    public int StatusBytes { get; set; }

    /// <summary>0 or a negative errno.</summary>
    public int Result { get; set; }

    public int HoleCount { get; private set; }

    public ReadOnlySpan<(long Start, long Length)> Holes => _holes.AsSpan(0, HoleCount);

    public NbdRequest? NextReply { get; set; }

    public void Begin(NbdTransmission owner)
    {
        _owner = owner;
        HoleCount = StatusBytes = 0;
        Result = 0;
        ByteLength = ChargedBytes = 0;
    }

    /// <summary>Gives its memory back, if it has any.</summary>
    public void Release(BufferPool buffers)
    {
        buffers.Return(Memory);
        if (Pages != 0)
            NativePages.Release(Pages, (nuint)ByteLength);
        (Memory, Pages, Buffer) = (default, 0, 0);
    }

    protected internal override void OnCompleted(int result)
    {
        Result = result;
        _owner!.Answer(this);
    }

    protected internal override bool TryTakeZeroes(long byteOffset, long byteLength)
    {
        if (!_owner!.StructuredReplies || (CommandFlags & NbdProtocol.FlagDf) != 0)
            return false;
        if (HoleCount > 0 && _holes[HoleCount - 1].Start + _holes[HoleCount - 1].Length == byteOffset)
        {
            _holes[HoleCount - 1].Length += byteLength;
            return true;
        }
        if (HoleCount == MaxHoles || byteLength < MinHoleBytes)
            return false;
        _holes[HoleCount++] = (byteOffset, byteLength);
        return true;
    }
}
