using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// Turns a finished request into the pieces of its reply: headers in the request's own memory, payloads where they lie, gathered as vectors
/// (proto.md, "Simple reply message", "Structured reply chunk message", "Extended reply chunk message").
/// </summary>
internal sealed unsafe class NbdReplyEncoder(bool structured, bool extended)
{
    /// <summary>Vectors that one reply can take: header and data for each piece of a read.</summary>
    public const int MaxVectors = 2 * (2 * NbdRequest.MaxHoles + 1);

    private byte* _next;

    /// <summary>Adds a reply's vectors; returns how many.</summary>
    public int Encode(NbdRequest request, IoVector* vectors)
    {
        _next = request.Header;
        var error = NbdError.FromResult(request.Result);
        if (!structured)
            return EncodeSimple(request, error, vectors);
        if (error != 0)
            return EncodeError(request, error, vectors);
        if (request.Command == NbdCommand.Read && request.ByteLength > 0)
            return EncodeRead(request, vectors);
        if (request.Command == NbdCommand.BlockStatus)
        {
            // Several chunks, encoded whole by EncodeStatus.
            vectors[0] = new IoVector { Base = StatusReply(request), Length = (nuint)request.StatusBytes };
            return 1;
        }
        vectors[0] = Vector(Chunk(request, NbdProtocol.ChunkNone, NbdProtocol.ReplyDone, 0));
        return 1;
    }

    private int EncodeSimple(NbdRequest request, uint error, IoVector* vectors)
    {
        var header = new Span<byte>(_next, NbdProtocol.SimpleReplyBytes);
        BinaryPrimitives.WriteUInt32BigEndian(header, NbdProtocol.SimpleReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(header[4..], error);
        BinaryPrimitives.WriteUInt64BigEndian(header[8..], request.Cookie);
        vectors[0] = Vector(header);
        if (error != 0 || request.Command != NbdCommand.Read || request.ByteLength == 0)
            return 1;
        vectors[1] = new IoVector { Base = request.Buffer, Length = (nuint)request.ByteLength };
        return 2;
    }

    private int EncodeError(NbdRequest request, uint error, IoVector* vectors)
    {
        var header = Chunk(request, NbdProtocol.ChunkError, NbdProtocol.ReplyDone, 6, inline: 6);
        BinaryPrimitives.WriteUInt32BigEndian(header[^6..], error);
        BinaryPrimitives.WriteUInt16BigEndian(header[^2..], 0);
        vectors[0] = Vector(header);
        return 1;
    }

    private int EncodeRead(NbdRequest request, IoVector* vectors)
    {
        var count = 0;
        var cursor = request.ByteOffset;
        var end = request.ByteOffset + request.ByteLength;
        foreach (var (start, length) in request.Holes)
        {
            if (start > cursor)
                count += Data(cursor, start, vectors + count);
            var header = Chunk(request, NbdProtocol.ChunkOffsetHole, start + length == end ? NbdProtocol.ReplyDone
                : (ushort)0, 12, inline: 12);
            BinaryPrimitives.WriteUInt64BigEndian(header[^12..], (ulong)start);
            BinaryPrimitives.WriteUInt32BigEndian(header[^4..], (uint)length);
            vectors[count++] = Vector(header);
            cursor = start + length;
        }
        if (cursor < end)
            count += Data(cursor, end, vectors + count);
        return count;

        int Data(long from, long to, IoVector* target)
        {
            var header = Chunk(request, NbdProtocol.ChunkOffsetData, to == end ? NbdProtocol.ReplyDone
                : (ushort)0, 8 + to - from, inline: 8);
            BinaryPrimitives.WriteUInt64BigEndian(header[^8..], (ulong)from);
            target[0] = Vector(header);
            target[1] = new IoVector { Base = request.Buffer + (nint)(from - request.ByteOffset), Length = (nuint)(to - from) };
            return 2;
        }
    }

    /// <summary>
    /// What a block status request needs: room for its extents, and after them for the reply, in which each context has as many.
    /// </summary>
    public const int StatusRoomBytes = 64 << 10;

    /// <summary>Extents in one block status reply (proto.md asks for at most 2^20; replies stay small so that clients get on).</summary>
    public static readonly int MaxExtents =
        (StatusRoomBytes - MaxContexts * (NbdProtocol.ExtendedReplyBytes + 8)) / (sizeof(BlockExtent) + MaxContexts * 16);

    private const int MaxContexts = 2;

    /// <summary>Encodes a block status reply, one chunk a context, after the extents in the request's memory.</summary>
    public void EncodeStatus(NbdRequest request, bool baseContext, bool overlayContext)
    {
        var extents = new ReadOnlySpan<BlockExtent>((void*)request.Buffer, request.ExtentCount);
        _next = (byte*)StatusReply(request);
        if (baseContext)
            EncodeContext(request, extents, NbdProtocol.BaseContextId, isLast: !overlayContext);
        if (overlayContext)
            EncodeContext(request, extents, NbdProtocol.OverlayContextId, isLast: true);
        request.StatusBytes = (int)(_next - (byte*)StatusReply(request));
    }

    private static nint StatusReply(NbdRequest request) => request.Buffer + MaxExtents * sizeof(BlockExtent);

    private void EncodeContext(NbdRequest request, ReadOnlySpan<BlockExtent> extents, uint context, bool isLast)
    {
        var isOne = (request.CommandFlags & NbdProtocol.FlagReqOne) != 0;
        var first = _next;
        // The header needs the number of descriptors; leave room, merge neighbours of one status, then fill it in.
        var fixedBytes = extended ? NbdProtocol.ExtendedReplyBytes + 8 : NbdProtocol.StructuredReplyBytes + 4;
        var cursor = first + fixedBytes;
        var count = 0;
        for (var i = 0; i < extents.Length && !(isOne && count == 1);)
        {
            var status = Status(extents[i].Source, context);
            long length = 0;
            for (; i < extents.Length && Status(extents[i].Source, context) == status; i++)
                length += extents[i].ByteLength;
            cursor += Descriptor(cursor, length, status);
            count++;
        }
        _next = first;
        var payload = cursor - first - (fixedBytes - (extended ? 8 : 4));
        var header = Chunk(request, extended ? NbdProtocol.ChunkBlockStatusExtended : NbdProtocol.ChunkBlockStatus,
            isLast ? NbdProtocol.ReplyDone : (ushort)0, payload, inline: extended ? 8 : 4);
        BinaryPrimitives.WriteUInt32BigEndian(header[(extended ? ^8 : ^4)..], context);
        if (extended)
            BinaryPrimitives.WriteUInt32BigEndian(header[^4..], (uint)count);
        _next = cursor;
    }

    private int Descriptor(byte* target, long length, uint status)
    {
        var span = new Span<byte>(target, 16);
        if (extended)
        {
            BinaryPrimitives.WriteUInt64BigEndian(span, (ulong)length);
            BinaryPrimitives.WriteUInt64BigEndian(span[8..], status);
            return 16;
        }
        BinaryPrimitives.WriteUInt32BigEndian(span, (uint)length);
        BinaryPrimitives.WriteUInt32BigEndian(span[4..], status);
        return 8;
    }

    private static uint Status(RunSource source, uint context)
    {
        if (context == NbdProtocol.BaseContextId)
            return source is RunSource.Zero or RunSource.OriginHole ? NbdProtocol.StateHole | NbdProtocol.StateZero : 0;
        return source switch
        {
            RunSource.Data => NbdProtocol.OverlayHolds,
            RunSource.Zero => NbdProtocol.OverlayHolds | NbdProtocol.OverlayZero,
            _ => 0,
        };
    }

    /// <summary>
    /// Writes a chunk header at the next free place, with room after it for <paramref name="inline"/> bytes of its payload.
    /// </summary>
    private Span<byte> Chunk(NbdRequest request, ushort type, ushort flags, long payloadBytes, int inline = 0)
    {
        var size = (extended ? NbdProtocol.ExtendedReplyBytes : NbdProtocol.StructuredReplyBytes) + inline;
        var header = new Span<byte>(_next, size);
        _next += size;
        BinaryPrimitives.WriteUInt32BigEndian(header, extended ? NbdProtocol.ExtendedReplyMagic : NbdProtocol.StructuredReplyMagic);
        BinaryPrimitives.WriteUInt16BigEndian(header[4..], flags);
        BinaryPrimitives.WriteUInt16BigEndian(header[6..], type);
        BinaryPrimitives.WriteUInt64BigEndian(header[8..], request.Cookie);
        if (extended)
        {
            BinaryPrimitives.WriteUInt64BigEndian(header[16..], request.WireOffset);
            BinaryPrimitives.WriteUInt64BigEndian(header[24..], (ulong)payloadBytes);
        }
        else
        {
            BinaryPrimitives.WriteUInt32BigEndian(header[16..], (uint)payloadBytes);
        }
        return header;
    }

    private static IoVector Vector(Span<byte> bytes) =>
        new()
        {
            Base = (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref MemoryMarshal.GetReference(bytes)),
            Length = (nuint)bytes.Length
        };
}
