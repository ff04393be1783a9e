using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Frontends.Nbd;

/// <summary>One NBD request from its header to its reply's last byte: reused, with its own native room for reply headers.</summary>
internal sealed unsafe class NbdRequest : BlockRequest
{
    /// <summary>Runs of zeroes that one read reply names; further ones are sent as data. Bounds the reply's headers.</summary>
    public const int MaxHoles = 15;

    /// <summary>A shorter run costs more as a chunk of its own than as zeroes.</summary>
    private const int MinHoleBytes = 512;

    /// <summary>Up to 31 pieces of a read reply, each with an extended header and an offset.</summary>
    public const int HeaderBytes = (2 * MaxHoles + 1) * (NbdProtocol.ExtendedReplyBytes + 12);

    private readonly NbdTransmission _owner;
    private readonly (long Start, long Length)[] _holes = new (long, long)[MaxHoles];

    public NbdRequest(NbdTransmission owner)
    {
        _owner = owner;
        Header = (byte*)NativeMemory.Alloc(HeaderBytes);
    }

    /// <summary>Room for the reply's headers.</summary>
    public byte* Header { get; private set; }

    public ulong Cookie { get; set; }
    public NbdCommand Command { get; set; }
    public ushort CommandFlags { get; set; }

    /// <summary>The offset as the client sent it: extended replies repeat it.</summary>
    public ulong WireOffset { get; set; }

    public NativeBuffer Memory { get; set; }

    /// <summary>An encoded reply payload that takes the place of <see cref="Memory"/>: block status.</summary>
    public NativeBuffer ReplyPayload { get; set; }

    /// <summary>0 or a negative errno.</summary>
    public int Result { get; set; }

    public int HoleCount { get; private set; }

    public ReadOnlySpan<(long Start, long Length)> Holes => _holes.AsSpan(0, HoleCount);

    public NbdRequest? NextReply { get; set; }

    public void Begin()
    {
        HoleCount = 0;
        Result = 0;
    }

    protected override void OnCompleted(int result)
    {
        Result = result;
        _owner.Answer(this);
    }

    protected override bool TryTakeZeroes(long byteOffset, long byteLength)
    {
        if (!_owner.StructuredReplies || (CommandFlags & NbdProtocol.FlagDf) != 0)
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

    public void Free()
    {
        NativeMemory.Free(Header);
        Header = null;
    }
}
