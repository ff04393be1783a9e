using System.Buffers.Binary;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Tests.Serving.Frontends.Nbd;

/// <summary>
/// The transmission phase byte for byte, on both loops: simple, structured and extended replies (proto.md, "Transmission").
/// </summary>
public class NbdTransmissionTests
{
    private const int Sector = 512;

    [Flags]
    private enum Mode
    {
        Simple = 0,
        Structured = 1,
        Extended = 2,
    }

    public static TheoryData<string, int> Modes => new()
    {
        { "io_uring", 0 }, { "io_uring", 1 }, { "io_uring", 2 }, { "posix", 0 }, { "posix", 1 }, { "posix", 2 },
    };

    private static NbdTestClient Connect(NbdTestServer server, int mode) =>
        server.Connect(structured: (Mode)mode == Mode.Structured, extended: (Mode)mode == Mode.Extended);

    [Theory]
    [MemberData(nameof(Modes))]
    public void What_is_written_is_read_back_and_the_rest_is_the_origin_s(string loop, int mode)
    {
        using var server = new NbdTestServer(loop);
        using var client = Connect(server, mode);
        var content = new byte[100_000];
        new Random(3).NextBytes(content);
        Assert.Equal(0u, client.Write(12_345, content));
        var expected = server.OriginContent.ToArray();
        content.CopyTo(expected, 12_345);
        Assert.Equal(expected, client.Read(0, expected.Length));
        Assert.Equal(0u, client.Command(NbdCommand.Trim, 4096, 4096));
        expected.AsSpan(4096, 4096).Clear();
        Assert.Equal(0u, client.Command(NbdCommand.Flush, 0, 0));
        Assert.Equal(expected, client.Read(0, expected.Length));
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void A_read_only_export_refuses_every_write_with_EPERM(string loop, int mode)
    {
        using var server = new NbdTestServer(loop, isReadOnly: true);
        using var client = Connect(server, mode);
        Assert.Equal(1u, client.Write(4096, new byte[4096]));
        Assert.Equal(1u, client.Write(0, []));
        foreach (var flags in new[] { 0, NbdProtocol.FlagFua })
        {
            Assert.Equal(1u, client.Command(NbdCommand.Trim, 0, 4096, flags));
            Assert.Equal(1u, client.Command(NbdCommand.WriteZeroes, 0, 4096, flags));
            Assert.Equal(1u, client.Command(NbdCommand.WriteZeroes, 0, 4096, flags | NbdProtocol.FlagNoHole));
            Assert.Equal(1u, client.Command(NbdCommand.WriteZeroes, 0, 4096, flags | NbdProtocol.FlagFastZero));
        }
        Assert.Equal(0u, client.Command(NbdCommand.Flush, 0, 0));
        Assert.Equal(server.OriginContent, client.Read(0, server.OriginContent.Length));
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void Every_kind_of_bad_request_gets_its_errno_and_the_connection_lives(string loop, int mode)
    {
        using var server = new NbdTestServer(loop);
        using var client = Connect(server, mode);
        var size = (ulong)server.OriginContent.Length;
        Assert.Equal(22u, client.ReadError(size - 511, 512));
        Assert.Equal(22u, client.ReadError(ulong.MaxValue - 5, 512));
        // Beyond the device as well, so the range is what is wrong.
        Assert.Equal(22u, client.ReadError(0, (64u << 20) + 1));
        Assert.Equal(28u, client.Write(size - 1, new byte[2]));
        Assert.Equal(28u, client.Command(NbdCommand.WriteZeroes, size, 1));
        Assert.Equal(22u, client.Command(NbdCommand.Trim, size - 5, 10));
        Assert.Equal(22u, client.Command((NbdCommand)99, 0, 0));
        Assert.Equal(22u, client.Command(NbdCommand.Flush, 4, 0));
        Assert.Equal(22u, client.Command(NbdCommand.Flush, 0, 0, flags: 0x4000));
        Assert.Equal(22u, client.Command(NbdCommand.BlockStatus, 0, 512));
        Assert.Equal(95u, client.Command(NbdCommand.WriteZeroes, 1, 100, NbdProtocol.FlagFastZero));
        Assert.Equal(0u, client.Command(NbdCommand.WriteZeroes, 4096, 4096, NbdProtocol.FlagFastZero));
        Assert.Equal(0u, client.Command(NbdCommand.Cache, 0, 4096));
        Assert.Equal(server.OriginContent[..Sector], client.Read(0, Sector));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Zeroes_travel_as_holes_unless_fragments_are_refused(int mode)
    {
        using var server = new NbdTestServer("io_uring");
        using var client = Connect(server, mode);
        Assert.Equal(0u, client.Command(NbdCommand.WriteZeroes, 8192, 8192));
        client.Read(0, 65536);
        Assert.Equal([(8192UL, 8192u)], client.Holes);
        Assert.Equal(2, client.DataChunks);
        client.Read(0, 65536, NbdProtocol.FlagDf);
        Assert.Equal((0, 1), (client.Holes.Count, client.DataChunks));
        client.Read(8192, 8192);
        Assert.Equal((1, 0), (client.Holes.Count, client.DataChunks));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Block_status_tells_allocation_and_overlay(int mode)
    {
        using var server = new NbdTestServer("io_uring");
        using var client = server.Connect(structured: mode == 1, extended: mode == 2, contexts: true);
        client.Write(4096, new byte[4096]);
        client.Command(NbdCommand.Trim, 16384, 4096);
        var status = client.BlockStatus(0, 32768, 0);
        Assert.Equal([(16384UL, 0UL), (4096UL, 3UL), (12288UL, 0UL)], status[NbdProtocol.BaseContextId]);
        Assert.Equal([(4096UL, 0UL), (4096UL, 1UL), (8192UL, 0UL), (4096UL, 3UL), (12288UL, 0UL)], status[NbdProtocol.OverlayContextId]);
        Assert.Equal([(4096UL, 1UL)], client.BlockStatus(4096, 32768, NbdProtocol.FlagReqOne)[NbdProtocol.OverlayContextId]);
    }

    [Fact]
    public void A_wrong_magic_or_an_oversized_write_closes_this_connection_only()
    {
        using var server = new NbdTestServer("io_uring");
        using var bystander = server.Connect();
        foreach (var (magic, length) in new[] { (0x12345678u, 0u), (NbdProtocol.RequestMagic, (64u << 20) + 1) })
        {
            using var client = server.Connect();
            var header = new byte[28];
            BinaryPrimitives.WriteUInt32BigEndian(header, magic);
            header[7] = (byte)NbdCommand.Write;
            BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(24), length);
            client.Send(header);
            Assert.True(client.IsClosedByPeer());
        }
        Assert.Equal(server.OriginContent[..Sector], bystander.Read(0, Sector));
    }

    [Fact]
    public void A_request_may_come_byte_by_byte_and_many_in_one_piece()
    {
        using var server = new NbdTestServer("io_uring");
        using var client = server.Connect();
        foreach (var value in client.Header(NbdCommand.Write, 512, 3).Concat(new byte[] { 7, 8, 9 }))
            client.Send([value]);
        Assert.Equal(0u, client.SimpleReply());
        client.Send(Enumerable.Range(0, 200)
            .SelectMany(i => client.Header(NbdCommand.Write, (ulong)(i * 4096), 4096).Concat(Enumerable.Repeat((byte)(i + 1), 4096)))
            .ToArray());
        for (var i = 0; i < 200; i++)
            Assert.Equal(0u, client.SimpleReply());
        var all = client.Read(0, 200 * 4096);
        for (var i = 0; i < 200; i++)
            Assert.True(all.AsSpan(i * 4096, 4096).IndexOfAnyExcept((byte)(i + 1)) < 0);
    }

    [Theory]
    [InlineData("io_uring")]
    [InlineData("posix")]
    public void A_request_from_socket_to_file_and_back_allocates_nothing(string loop)
    {
        using var server = new NbdTestServer(loop);
        using var client = server.Connect();
        var batch = Enumerable.Range(0, 32).SelectMany(i => i % 2 == 0
            ? client.Header(NbdCommand.Write, (ulong)(i * 8192), 4096).Concat(new byte[4096])
            : client.Header(NbdCommand.Read, (ulong)(i * 8192), 4096)).ToArray();
        var replies = new byte[32 * 16 + 16 * 4096];
        void Play(int rounds)
        {
            for (var i = 0; i < rounds; i++)
            {
                client.Send(batch);
                client.ReceiveExactly(replies);
            }
        }

        Play(200);
        var before = server.AllocatedBytes();
        var idle = server.AllocatedBytes() - before;
        before = server.AllocatedBytes();
        Play(1000);
        // Asking the loop costs a little itself; 32,000 requests must cost nothing on top.
        Assert.InRange(server.AllocatedBytes() - before, 0, idle + 256);
    }
}
