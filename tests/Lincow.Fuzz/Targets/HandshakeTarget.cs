using System.Buffers.Binary;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>What a client may say before transmission: options in any order, of any length, cut anywhere, with and without TLS.</summary>
internal sealed class HandshakeTarget : IFuzzTarget, IDisposable
{
    private readonly PosixLoop _loop = new();
    private readonly OverlaySession _session;
    private readonly ExportTable _one, _two;

    public HandshakeTarget()
    {
        _session = OverlaySession.Open(new OverlayOptions { Origin = "zero:1M" }, _loop);
        var export = new Export("disk", _session.Device, _loop, "a disk");
        _one = new ExportTable(export);
        _two = new ExportTable(export, new Export("other", _session.Device, _loop, "a disk"));
    }

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var how = input.U8();
        var tls = (TlsMode)(how % 3);
        var handshake = new NbdHandshake((how & 64) == 0 ? _one : _two, tls);
        handshake.Greet();
        handshake.ClearOutput();
        var wire = (how & 128) == 0 ? Options(ref input, how) : input.Rest().ToArray();
        var piece = (how & 32) == 0 ? wire.Length : 1 + how;
        var (start, end, isSecret, hasMore) = (0, 0, false, false);
        while (end < wire.Length || hasMore)
        {
            if (!hasMore)
                end = Math.Min(wire.Length, end + piece);
            var step = handshake.Advance(wire.AsSpan(start, end - start), out var consumed);
            Require(consumed >= 0 && consumed <= end - start, "what is used up was there");
            start += consumed;
            Require(handshake.Output.Length <= NbdProtocol.MaxHandshakeOutputBytes + (16 << 10), "answers are bounded");
            if (step != HandshakeStep.Transmit)
                CheckReplies(handshake.Output, tls == TlsMode.Required && !isSecret);
            Require(step != HandshakeStep.Answer || !handshake.Output.IsEmpty, "going on without anything to send would never end");
            handshake.ClearOutput();
            hasMore = step == HandshakeStep.Answer;
            switch (step)
            {
                case HandshakeStep.Answer:
                    break;
                case HandshakeStep.Receive:
                    Require(end - start <= NbdProtocol.MaxOptionBytes + 16, "what is kept is bounded");
                    break;
                case HandshakeStep.StartTls:
                    Require(tls != TlsMode.None && !isSecret && start == end, "TLS begins once, where it is offered, with nothing in hand");
                    isSecret = true;
                    break;
                case HandshakeStep.Transmit:
                    Require(handshake.Export is not null && (isSecret || tls != TlsMode.Required), "required TLS is required");
                    Require(handshake.StructuredReplies
                        || !(handshake.ExtendedHeaders || handshake.HasBaseContext || handshake.HasOverlayContext),
                        "contexts need structured replies");
                    return;
                default:
                    return;
            }
        }
    }

    public void Dispose()
    {
        _session.Close();
        _loop.Dispose();
    }

    private static byte[] Options(ref FuzzInput input, byte how)
    {
        using var wire = new MemoryStream();
        wire.Write([0, 0, 0, (byte)((how & 16) == 0 ? 3 : input.U8())]);
        Span<byte> header = stackalloc byte[16];
        while (!input.IsEmpty && wire.Length < 1 << 20)
        {
            var kind = input.U8();
            using var data = new MemoryStream();
            switch (kind >> 4)
            {
                case 0:
                    break;
                case 1:
                    Name(ref input, data);
                    data.Write([0, 1, 0, input.U8()]);
                    break;
                case 2 or 3:
                    Name(ref input, data);
                    var queries = input.U8() % 6;
                    data.Write([0, 0, 0, (byte)queries]);
                    for (var i = 0; i < queries; i++)
                        Name(ref input, data);
                    break;
                case 4:
                    data.Write(input.Bytes(input.U8()));
                    break;
                case 5:
                    data.SetLength(input.U16() * 4L);
                    break;
                default:
                    Name(ref input, data);
                    data.Write([0, 0]);
                    break;
            }
            BinaryPrimitives.WriteUInt64BigEndian(header, NbdProtocol.OptionMagic);
            BinaryPrimitives.WriteUInt32BigEndian(header[8..], (uint)(kind & 15));
            BinaryPrimitives.WriteUInt32BigEndian(header[12..], (uint)data.Length);
            if ((kind & 0xc0) == 0xc0)
                input.Patch(header);
            wire.Write(header);
            data.WriteTo(wire);
        }
        return wire.ToArray();
    }

    private static void Name(ref FuzzInput input, MemoryStream data)
    {
        var kind = input.U8();
        var name = (kind & 7) switch
        {
            0 => ""u8,
            1 => "disk"u8,
            2 => "base:allocation"u8,
            3 => "lincow:overlay"u8,
            4 => "base:"u8,
            5 => "other"u8,
            _ => input.Bytes(kind >> 2),
        };
        Span<byte> length = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(length, kind < 0xf8 ? name.Length : (int)input.U32());
        data.Write(length);
        data.Write(name);
    }

    private static void CheckReplies(ReadOnlySpan<byte> output, bool isRefusing)
    {
        while (!output.IsEmpty)
        {
            Require(output.Length >= 20 && BinaryPrimitives.ReadUInt64BigEndian(output) == NbdProtocol.OptionReplyMagic,
                "an option's reply has its magic");
            var option = (NbdOption)BinaryPrimitives.ReadUInt32BigEndian(output[8..]);
            var type = BinaryPrimitives.ReadUInt32BigEndian(output[12..]);
            var length = BinaryPrimitives.ReadUInt32BigEndian(output[16..]);
            Require(length <= output.Length - 20, "a reply is whole");
            // Before TLS, where it is required: no names, no sizes, nothing but refusals.
            Require(!isRefusing || type >= 0x80000000
                || (type == NbdProtocol.ReplyAck && option is NbdOption.StartTls or NbdOption.Abort),
                "required TLS tells nothing in the open");
            output = output[(20 + (int)length)..];
        }
    }
}
