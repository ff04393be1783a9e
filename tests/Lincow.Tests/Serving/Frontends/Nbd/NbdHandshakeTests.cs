using System.Buffers.Binary;
using System.Text;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;
using Lincow.Tests.Engine.Device;

namespace Lincow.Tests.Serving.Frontends.Nbd;

/// <summary>The handshake as a state machine, without a socket (proto.md, "Fixed newstyle negotiation" and "Option types").</summary>
public sealed class NbdHandshakeTests : IDisposable
{
    private readonly TestOverlay _overlay = new(new Random(1), new OverlayShape(1 << 20, 12, true, 1 << 20));

    public void Dispose() => _overlay.Dispose();

    private NbdHandshake Handshake(int exports = 1, TlsMode tls = TlsMode.None)
    {
        var all = Enumerable.Range(0, exports).Select(i => new Export("export" + i, _overlay.Device, null!, "the " + i)).ToList();
        return new NbdHandshake(new ExportTable([.. all]), tls);
    }

    private static byte[] U16(int value) => [(byte)(value >> 8), (byte)value];

    private static byte[] U32(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }

    private static byte[] Option(uint option, params byte[][] parts)
    {
        var data = parts.SelectMany(part => part).ToArray();
        return [.. "IHAVEOPT"u8, .. U32(option), .. U32((uint)data.Length), .. data];
    }

    private static byte[] Named(string name) => [.. U32((uint)Encoding.UTF8.GetByteCount(name)), .. Encoding.UTF8.GetBytes(name)];

    private static HandshakeStep Feed(NbdHandshake handshake, byte[] input, out int consumed) => handshake.Advance(input, out consumed);

    private static List<(uint Option, uint Type, byte[] Data)> Replies(NbdHandshake handshake)
    {
        var output = handshake.Output.ToArray();
        handshake.ClearOutput();
        var result = new List<(uint, uint, byte[])>();
        for (var at = 0; at < output.Length;)
        {
            Assert.Equal(0x3e889045565a9UL, BinaryPrimitives.ReadUInt64BigEndian(output.AsSpan(at)));
            var length = (int)BinaryPrimitives.ReadUInt32BigEndian(output.AsSpan(at + 16));
            result.Add((BinaryPrimitives.ReadUInt32BigEndian(output.AsSpan(at + 8)),
                BinaryPrimitives.ReadUInt32BigEndian(output.AsSpan(at + 12)), output.AsSpan(at + 20, length).ToArray()));
            at += 20 + length;
        }
        return result;
    }

    private NbdHandshake Begun(int exports = 1, TlsMode tls = TlsMode.None)
    {
        var handshake = Handshake(exports, tls);
        Assert.Equal(HandshakeStep.Receive, Feed(handshake, U32(3), out _));
        return handshake;
    }

    private static uint Ask(NbdHandshake handshake, byte[] option)
    {
        Feed(handshake, option, out _);
        return Replies(handshake)[^1].Type;
    }

    [Fact]
    public void The_greeting_is_fixed_newstyle()
    {
        var handshake = Handshake();
        handshake.Greet();
        Assert.Equal([.. "NBDMAGICIHAVEOPT"u8, 0, 3], handshake.Output.ToArray());
    }

    [Theory]
    [InlineData(4u)]
    [InlineData(0x80000001u)]
    public void Unknown_client_flags_close_the_connection(uint flags) =>
        Assert.Equal(HandshakeStep.Close, Feed(Handshake(), U32(flags), out _));

    [Fact]
    public void Bytes_may_come_one_at_a_time()
    {
        var handshake = Handshake();
        byte[] input = [.. U32(3), .. Option(8), .. Option(7, Named("whatever"), U16(0))];
        var pending = new List<byte>();
        var step = HandshakeStep.Receive;
        foreach (var value in input)
        {
            Assert.Equal(HandshakeStep.Receive, step);
            pending.Add(value);
            step = Feed(handshake, [.. pending], out var consumed);
            pending.RemoveRange(0, consumed);
        }
        Assert.Equal(HandshakeStep.Transmit, step);
        Assert.True(handshake.StructuredReplies);
        Assert.NotNull(handshake.Export);
    }

    [Fact]
    public void What_follows_the_last_option_is_left_for_transmission()
    {
        var handshake = Begun();
        byte[] input = [.. Option(7, Named(""), U16(0)), 1, 2, 3];
        Assert.Equal(HandshakeStep.Transmit, Feed(handshake, input, out var consumed));
        Assert.Equal(3, input.Length - consumed);
    }

    [Theory]
    [InlineData(true, 10)]
    [InlineData(false, 134)]
    public void Export_name_answers_with_size_flags_and_perhaps_zeroes(bool noZeroes, int expected)
    {
        var handshake = Handshake();
        Feed(handshake, U32(noZeroes ? 3u : 1u), out _);
        Assert.Equal(HandshakeStep.Transmit, Feed(handshake, Option(1, "any"u8.ToArray()), out _));
        Assert.Equal(expected, handshake.Output.Length);
        Assert.Equal(1UL << 20, BinaryPrimitives.ReadUInt64BigEndian(handshake.Output));
    }

    [Fact]
    public void With_several_exports_the_name_must_be_right()
    {
        var handshake = Begun(exports: 2);
        Assert.Equal(0x80000006u, Ask(handshake, Option(6, Named("nobody"), U16(0))));
        Assert.Equal(1u, Ask(handshake, Option(6, Named("export1"), U16(0))));
        Assert.Equal(HandshakeStep.Close, Feed(handshake, Option(1, "nobody"u8.ToArray()), out _));
    }

    [Fact]
    public void List_names_all_exports()
    {
        var handshake = Begun(exports: 3);
        Feed(handshake, Option(3), out _);
        var replies = Replies(handshake);
        Assert.Equal([2u, 2u, 2u, 1u], replies.Select(reply => reply.Type));
        Assert.Equal("export2the 2", Encoding.UTF8.GetString(replies[2].Data.AsSpan(4)));
    }

    [Fact]
    public void A_list_of_many_exports_comes_in_pieces()
    {
        var handshake = Begun(exports: 3000);
        byte[] input = [.. Option(3), .. Option(8)];
        var replies = new List<(uint Option, uint Type, byte[] Data)>();
        var (start, pieces) = (0, 0);
        while (true)
        {
            var step = handshake.Advance(input.AsSpan(start), out var consumed);
            start += consumed;
            Assert.InRange(handshake.Output.Length, 0, 2 * NbdProtocol.MaxHandshakeOutputBytes);
            replies.AddRange(Replies(handshake));
            if (step == HandshakeStep.Receive)
                break;
            Assert.Equal(HandshakeStep.Answer, step);
            pieces++;
        }
        Assert.InRange(pieces, 2, 100);
        Assert.Equal(input.Length, start);
        Assert.Equal(3000, replies.Count(reply => reply.Type == 2));
        Assert.Equal([(3u, 1u), (8u, 1u)], replies[^2..].Select(reply => (reply.Option, reply.Type)));
    }

    [Fact]
    public void What_is_asked_for_again_and_again_is_said_once()
    {
        var handshake = Begun();
        Feed(handshake, Option(6, [Named("x"), U16(10_000), .. Enumerable.Repeat(U16(2), 10_000)]), out _);
        Assert.Single(Replies(handshake), reply => reply.Type == 3 && reply.Data[1] == 2);
    }

    [Fact]
    public void Go_tells_block_sizes_and_what_was_asked_for()
    {
        var handshake = Begun();
        Assert.Equal(HandshakeStep.Transmit, Feed(handshake, Option(7, Named("x"), U16(2), U16(1), U16(2)), out _));
        var infos = Replies(handshake).Where(reply => reply.Type == 3).ToDictionary(reply => reply.Data[1], reply => reply.Data);
        Assert.Equal([.. U16(3), .. U32(1), .. U32(4096), .. U32(64 << 20)], infos[3]);
        Assert.Equal("export0", Encoding.UTF8.GetString(infos[1].AsSpan(2)));
        Assert.Equal("the 0", Encoding.UTF8.GetString(infos[2].AsSpan(2)));
    }

    [Theory]
    [InlineData(3u, new byte[] { 1 })]
    [InlineData(5u, new byte[] { 1 })]
    [InlineData(8u, new byte[] { 1 })]
    [InlineData(11u, new byte[] { 1 })]
    [InlineData(6u, new byte[] { })]
    [InlineData(6u, new byte[] { 0, 0, 0, 200, 1, 0, 0 })]
    [InlineData(6u, new byte[] { 0, 0, 0, 0, 0, 3, 0, 1 })]
    [InlineData(9u, new byte[] { 0, 0, 0, 0, 0, 0, 0, 0 })]
    public void Malformed_options_are_answered_as_invalid(uint option, byte[] data) =>
        Assert.Equal(0x80000003u, Ask(Begun(), Option(option, data)));

    [Fact]
    public void Unknown_options_are_answered_as_unsupported_and_long_ones_as_too_big()
    {
        var handshake = Begun();
        Assert.Equal(0x80000001u, Ask(handshake, Option(4)));
        Assert.Equal(0x80000001u, Ask(handshake, Option(0xdeadbeef, new byte[300])));
        Assert.Equal(0x80000009u, Ask(handshake, Option(8, new byte[100_000])));
        Assert.Equal(1u, Ask(handshake, Option(8)));
        Assert.Equal(HandshakeStep.Close, Feed(handshake, [.. "IHAVEOPT"u8, .. U32(8), .. U32(uint.MaxValue)], out _));
    }

    [Fact]
    public void A_wrong_magic_closes_the_connection() =>
        Assert.Equal(HandshakeStep.Close, Feed(Begun(), new byte[16], out _));

    [Fact]
    public void Contexts_need_structured_replies_and_belong_to_one_export_name()
    {
        var handshake = Begun(exports: 2);
        var set = Option(10, Named("export1"), U32(2), Named("base:allocation"), Named("lincow:overlay"));
        Assert.Equal(0x80000003u, Ask(handshake, set));
        Ask(handshake, Option(8));
        Feed(handshake, set, out _);
        Assert.Equal([4u, 4u, 1u], Replies(handshake).Select(reply => reply.Type));
        Feed(handshake, Option(7, Named("export0"), U16(0)), out _);
        Assert.False(handshake.HasBaseContext);

        var same = Begun(exports: 2);
        Ask(same, Option(8));
        Feed(same, [.. set, .. Option(7, Named("export1"), U16(0))], out _);
        Assert.True(same.HasBaseContext && same.HasOverlayContext);
    }

    [Fact]
    public void Context_queries_have_wildcards_in_lists_only()
    {
        var handshake = Begun();
        Ask(handshake, Option(8));
        foreach (var (option, query, count) in new[] { (9u, "base:", 1), (9u, "lincow:", 1), (10u, "base:", 0), (9u, "other:thing", 0),
            (10u, "base:nothing", 0), (10u, "lincow:overlay", 1) })
        {
            Feed(handshake, Option(option, Named(""), U32(1), Named(query)), out _);
            Assert.Equal(count, Replies(handshake).Count(reply => reply.Type == 4));
        }
        Feed(handshake, Option(9, Named(""), U32(0)), out _);
        Assert.Equal(2, Replies(handshake).Count(reply => reply.Type == 4));
        Assert.Equal(0x80000003u, Ask(handshake, Option(9, Named(""), U32(1), Named("no colon"))));
    }

    [Fact]
    public void Extended_headers_forbid_what_cannot_follow_them()
    {
        var handshake = Begun();
        Assert.Equal(1u, Ask(handshake, Option(11)));
        Assert.Equal(0x8000000au, Ask(handshake, Option(8)));
        Assert.Equal(HandshakeStep.Close, Feed(handshake, Option(1), out _));
    }

    [Fact]
    public void Required_tls_answers_nothing_but_starttls_in_the_open()
    {
        // Every option there is or may be, but for the way out (2) and the way in (5).
        foreach (var option in new uint[] { 0, 3, 4, 6, 7, 8, 9, 10, 11, 12, 77, uint.MaxValue })
            Assert.Equal(0x80000005u, Ask(Begun(tls: TlsMode.Required), Option(option)));
        Assert.Equal(HandshakeStep.Close, Feed(Begun(tls: TlsMode.Required), Option(1), out _));
        var handshake = Begun(tls: TlsMode.Required);
        Assert.Equal(HandshakeStep.StartTls, Feed(handshake, Option(5), out _));
        Assert.Equal(1u, Replies(handshake)[^1].Type);
        Assert.Equal(1u, Ask(handshake, Option(8)));
        Assert.Equal(0x80000003u, Ask(handshake, Option(5)));
    }

    [Fact]
    public void Plain_bytes_behind_starttls_close_the_connection() =>
        Assert.Equal(HandshakeStep.Close, Feed(Begun(tls: TlsMode.Offered), [.. Option(5), 1], out _));

    [Fact]
    public void What_was_negotiated_in_the_open_is_forgotten_inside_tls()
    {
        var handshake = Begun(tls: TlsMode.Offered);
        Ask(handshake, Option(8));
        Feed(handshake, Option(10, Named(""), U32(1), Named("base:allocation")), out _);
        Feed(handshake, Option(5), out _);
        Assert.False(handshake.StructuredReplies || handshake.HasBaseContext);
    }

    [Fact]
    public void Without_certificates_starttls_is_refused() => Assert.Equal(0x80000002u, Ask(Begun(), Option(5)));

    [Fact]
    public void Random_bytes_never_throw()
    {
        var random = new Random(17);
        for (var i = 0; i < 20_000; i++)
        {
            var handshake = Begun(exports: 2, (TlsMode)random.Next(3));
            var data = new byte[random.Next(60)];
            random.NextBytes(data);
            // Mostly small numbers, so that lengths are plausible.
            for (var j = 0; j < data.Length; j++)
                data[j] = random.Next(3) > 0 ? (byte)random.Next(4) : data[j];
            Feed(handshake, [.. Option((uint)random.Next(13), data), .. Option((uint)random.Next(13), data)], out var consumed);
            Assert.InRange(consumed, 0, 2 * (16 + data.Length));
        }
    }
}
