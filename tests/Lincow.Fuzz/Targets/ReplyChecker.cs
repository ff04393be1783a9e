using System.Buffers.Binary;
using Lincow.Serving.Frontends.Nbd;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>What was negotiated.</summary>
internal readonly record struct ReplyMode(bool IsStructured, bool IsExtended, bool HasContexts, bool IsReadOnly);

/// <summary>
/// A client's view of the replies, from the protocol's text alone: framing, cookies, error numbers; and content where the export is
/// read-only.
/// </summary>
internal sealed class ReplyChecker(ReplyMode mode, byte[] origin)
{
    private static readonly HashSet<uint> Errors = [NbdError.Perm, NbdError.IO, NbdError.NoMemory, NbdError.Invalid, NbdError.NoSpace,
        NbdError.Overflow, NbdError.NotSupported, NbdError.Shutdown];

    private readonly Dictionary<ulong, (ushort Command, ulong Offset, ulong Length)> _asked = [];
    private byte[] _pending = new byte[1 << 20];
    private int _length;
    private bool _isOpaque;

    /// <summary>
    /// What was asked under a cookie isn't known: the client sends noise, or uses a cookie twice. Only framing is checked then.
    /// </summary>
    public bool IsFramingOnly { get; set; }

    public void Expect(ReadOnlySpan<byte> header)
    {
        var length = mode.IsExtended ? BinaryPrimitives.ReadUInt64BigEndian(header[24..])
            : BinaryPrimitives.ReadUInt32BigEndian(header[24..]);
        if (!_asked.TryAdd(BinaryPrimitives.ReadUInt64BigEndian(header[8..]),
            (BinaryPrimitives.ReadUInt16BigEndian(header[6..]), BinaryPrimitives.ReadUInt64BigEndian(header[16..]), length)))
            IsFramingOnly = true;
    }

    public void Take(ReadOnlySpan<byte> bytes)
    {
        if (_isOpaque)
            return;
        if (_length + bytes.Length > _pending.Length)
            Array.Resize(ref _pending, 2 * (_length + bytes.Length));
        bytes.CopyTo(_pending.AsSpan(_length));
        _length += bytes.Length;
        var start = 0;
        while (TryTakeOne(_pending.AsSpan(start, _length - start), out var used))
            start += used;
        _pending.AsSpan(start, _length - start).CopyTo(_pending);
        _length -= start;
    }

    /// <summary>The connection has ended: no reply is cut off.</summary>
    public void End() => Require(_isOpaque || _length == 0, "replies are whole");

    private bool TryTakeOne(ReadOnlySpan<byte> bytes, out int used)
    {
        used = 0;
        if (bytes.Length < 4)
            return false;
        var magic = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        if (magic == NbdProtocol.SimpleReplyMagic)
            return TryTakeSimple(bytes, out used);
        Require(mode.IsStructured && magic == (mode.IsExtended ? NbdProtocol.ExtendedReplyMagic : NbdProtocol.StructuredReplyMagic),
            "a reply is of the kind that was negotiated");
        var headerBytes = mode.IsExtended ? 32 : 20;
        if (bytes.Length < headerBytes)
            return false;
        var length = mode.IsExtended ? BinaryPrimitives.ReadUInt64BigEndian(bytes[24..])
            : BinaryPrimitives.ReadUInt32BigEndian(bytes[16..]);
        Require(length <= NbdProtocol.MaxPayloadBytes + 1024, "a chunk's length is bounded");
        if (bytes.Length < headerBytes + (int)length)
            return false;
        used = headerBytes + (int)length;
        TakeChunk(bytes[..headerBytes], bytes[headerBytes..used]);
        return true;
    }

    private bool TryTakeSimple(ReadOnlySpan<byte> bytes, out int used)
    {
        used = 0;
        Require(!mode.IsStructured, "no simple reply where structured ones were negotiated");
        if (bytes.Length < 16)
            return false;
        var error = BinaryPrimitives.ReadUInt32BigEndian(bytes[4..]);
        var cookie = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
        if (IsFramingOnly)
        {
            // How long a simple reply is only its request tells.
            _isOpaque = true;
            return false;
        }
        Require(_asked.TryGetValue(cookie, out var asked), "a reply bears the cookie of a request that waits for it");
        var payload = asked.Command == (ushort)NbdCommand.Read && error == 0 ? (int)asked.Length : 0;
        if (bytes.Length < 16 + payload)
            return false;
        used = 16 + payload;
        TakeEnd(cookie, asked.Command, error);
        TakeData(asked.Offset, bytes.Slice(16, payload));
        return true;
    }

    private void TakeChunk(ReadOnlySpan<byte> header, ReadOnlySpan<byte> payload)
    {
        var flags = BinaryPrimitives.ReadUInt16BigEndian(header[4..]);
        var type = BinaryPrimitives.ReadUInt16BigEndian(header[6..]);
        var cookie = BinaryPrimitives.ReadUInt64BigEndian(header[8..]);
        if (IsFramingOnly)
            return;
        Require(_asked.TryGetValue(cookie, out var asked), "a reply bears the cookie of a request that waits for it");
        Require(!mode.IsExtended || BinaryPrimitives.ReadUInt64BigEndian(header[16..]) == asked.Offset,
            "an extended reply repeats the offset");
        uint error = 0;
        switch (type)
        {
            case NbdProtocol.ChunkNone:
                Require(payload.IsEmpty, "a chunk of nothing has no payload");
                break;
            case NbdProtocol.ChunkError:
                error = BinaryPrimitives.ReadUInt32BigEndian(payload);
                break;
            case NbdProtocol.ChunkOffsetData or NbdProtocol.ChunkOffsetHole:
                Require(asked.Command == (ushort)NbdCommand.Read, "data answers reads");
                var at = BinaryPrimitives.ReadUInt64BigEndian(payload);
                var length = type == NbdProtocol.ChunkOffsetData
                    ? (ulong)payload.Length - 8 : BinaryPrimitives.ReadUInt32BigEndian(payload[8..]);
                Require(length > 0 && at >= asked.Offset && at - asked.Offset <= asked.Length
                    && length <= asked.Length - (at - asked.Offset), "data lies within what was asked for");
                TakeData(at, type == NbdProtocol.ChunkOffsetData ? payload[8..] : new byte[length]);
                break;
            default:
                Require(mode.HasContexts && asked.Command == (ushort)NbdCommand.BlockStatus
                    && type == (mode.IsExtended ? NbdProtocol.ChunkBlockStatusExtended : NbdProtocol.ChunkBlockStatus),
                    "a chunk's type fits its request");
                break;
        }
        if ((flags & NbdProtocol.ReplyDone) != 0)
            TakeEnd(cookie, asked.Command, error);
    }

    private void TakeEnd(ulong cookie, ushort command, uint error)
    {
        Require(error == 0 || Errors.Contains(error), "an error is one of the protocol's");
        var isWrite = (NbdCommand)command is NbdCommand.Write or NbdCommand.Trim or NbdCommand.WriteZeroes;
        Require(!mode.IsReadOnly || !isWrite || error is NbdError.Perm or NbdError.Invalid, "a read-only export refuses every write");
        _asked.Remove(cookie);
    }

    private void TakeData(ulong offset, ReadOnlySpan<byte> data)
    {
        if (mode.IsReadOnly && !data.IsEmpty)
            Require(data.SequenceEqual(origin.AsSpan((int)offset, data.Length)), "a read-only export shows its origin");
    }
}
