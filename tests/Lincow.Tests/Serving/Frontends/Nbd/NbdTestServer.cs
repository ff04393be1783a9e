using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Lincow.Linux;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;

namespace Lincow.Tests.Serving.Frontends.Nbd;

/// <summary>An export for clients in this process.</summary>
internal sealed class NbdTestServer : OverlayOnLoop
{
    private readonly ExportTable _exports;
    private readonly NbdMemory _memory;
    private readonly CountdownEvent _open = new(1);

    public NbdTestServer(string loop, bool isReadOnly = false, int bytes = 1 << 20, long memoryBytes = NbdMemory.BudgetBytes,
        int patienceMilliseconds = NbdMemory.PatienceMilliseconds)
        : base(loop, bytes, hole: 0..0, isReadOnly)
    {
        _exports = new ExportTable(new Export("x", Session.Device, Loop, "test"));
        _memory = new NbdMemory(Loop, memoryBytes, patienceMilliseconds);
    }

    public NbdTestClient Connect(bool structured = false, bool extended = false, bool contexts = false, bool isTrusted = true)
    {
        var handshake = new NbdHandshake(_exports, TlsMode.None);
        handshake.Advance([0, 0, 0, 3], out _);
        if (structured)
            Option(handshake, 8, []);
        if (extended)
            Option(handshake, 11, []);
        if (contexts)
            Option(handshake, 10, [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 15, .. Encoding.UTF8.GetBytes("base:allocation"), 0, 0, 0, 14,
                .. Encoding.UTF8.GetBytes("lincow:overlay")]);
        Assert.Equal(HandshakeStep.Transmit, Option(handshake, 7, new byte[6]));
        var (server, client) = LinuxSocket.Pair();
        _open.AddCount();
        Loop.Invoke(() =>
            NbdTransmission.TryOpen(Loop, _memory, server, handshake.Terms with { IsTrusted = isTrusted }, [], () =>
            _open.Signal())!.Start());
        return new NbdTestClient(new Socket(new SafeSocketHandle(client, true)), structured || extended, extended);
    }

    /// <summary>What the connections are charged for.</summary>
    public long ChargedBytes() => Loop.Invoke(() => _memory.ChargedBytes);

    /// <summary>From now on every loan of this size or more fails; 0: none does.</summary>
    public void RefuseMemory(long fromBytes) =>
        Loop.Invoke(() => Loop.Buffers.Refuses = fromBytes == 0 ? null : bytes => bytes >= fromBytes);

    public override void Dispose()
    {
        _open.Signal();
        Assert.True(_open.Wait(10_000), "a connection did not end");
        base.Dispose();
        _open.Dispose();
    }

    private static HandshakeStep Option(NbdHandshake handshake, byte option, byte[] data) =>
        handshake.Advance([.. "IHAVEOPT"u8, 0, 0, 0, option, 0, 0, 0, (byte)data.Length, .. data], out _);
}

/// <summary>A client that speaks the transmission phase by hand and checks every header that it gets.</summary>
internal sealed class NbdTestClient(Socket socket, bool structured, bool extended) : IDisposable
{
    private const ulong Cookie = 0x1122334455667788;
    private ulong _lastOffset;

    /// <summary>How long it waits for anything, in milliseconds; 0: without end.</summary>
    public int Patience
    {
        set => socket.ReceiveTimeout = socket.SendTimeout = value;
    }

    /// <summary>Holes of the last read.</summary>
    public List<(ulong Offset, uint Length)> Holes { get; } = [];

    /// <summary>Data chunks of the last read.</summary>
    public int DataChunks { get; private set; }

    public byte[] Header(NbdCommand command, ulong offset, ulong length, int flags = 0)
    {
        var header = new byte[extended ? 32 : 28];
        if (extended && command == NbdCommand.Write)
            flags |= NbdProtocol.FlagPayloadLength;
        BinaryPrimitives.WriteUInt32BigEndian(header, extended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(4), (ushort)flags);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(6), (ushort)command);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(8), Cookie);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(16), offset);
        if (extended)
            BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(24), length);
        else
            BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(24), (uint)length);
        _lastOffset = offset;
        return header;
    }

    public uint Write(ulong offset, byte[] content)
    {
        Send([.. Header(NbdCommand.Write, offset, (ulong)content.Length), .. content]);
        return Reply();
    }

    public uint Command(NbdCommand command, ulong offset, ulong length, int flags = 0)
    {
        Send(Header(command, offset, length, flags));
        return Reply();
    }

    public uint ReadError(ulong offset, ulong length)
    {
        Send(Header(NbdCommand.Read, offset, length));
        return Reply();
    }

    public byte[] Read(ulong offset, int length, int flags = 0)
    {
        Send(Header(NbdCommand.Read, offset, (ulong)length, flags));
        Holes.Clear();
        DataChunks = 0;
        var content = new byte[length];
        if (!structured)
        {
            Assert.Equal(0u, SimpleReply());
            ReceiveExactly(content);
            return content;
        }
        long covered = 0;
        while (true)
        {
            var (flagsSeen, type, payload) = Chunk();
            var at = BinaryPrimitives.ReadUInt64BigEndian(payload);
            if (type == NbdProtocol.ChunkOffsetData)
            {
                payload.AsSpan(8).CopyTo(content.AsSpan((int)(at - offset)));
                covered += payload.Length - 8;
                DataChunks++;
            }
            else
            {
                Assert.Equal(NbdProtocol.ChunkOffsetHole, type);
                Holes.Add((at, BinaryPrimitives.ReadUInt32BigEndian(payload.AsSpan(8))));
                covered += Holes[^1].Length;
            }
            if ((flagsSeen & NbdProtocol.ReplyDone) != 0)
                break;
        }
        Assert.Equal(length, covered);
        return content;
    }

    public Dictionary<uint, List<(ulong Length, ulong Status)>> BlockStatus(ulong offset, ulong length, int flags)
    {
        Send(Header(NbdCommand.BlockStatus, offset, length, flags));
        var result = new Dictionary<uint, List<(ulong, ulong)>>();
        while (true)
        {
            var (flagsSeen, type, payload) = Chunk();
            Assert.Equal(extended ? NbdProtocol.ChunkBlockStatusExtended : NbdProtocol.ChunkBlockStatus, type);
            var extents = new List<(ulong, ulong)>();
            for (var at = extended ? 8 : 4; at < payload.Length; at += extended ? 16 : 8)
            {
                extents.Add(extended
                    ? (BinaryPrimitives.ReadUInt64BigEndian(payload.AsSpan(at)),
                        BinaryPrimitives.ReadUInt64BigEndian(payload.AsSpan(at + 8)))
                    : (BinaryPrimitives.ReadUInt32BigEndian(payload.AsSpan(at)),
                        BinaryPrimitives.ReadUInt32BigEndian(payload.AsSpan(at + 4))));
            }
            if (extended)
                Assert.Equal((uint)extents.Count, BinaryPrimitives.ReadUInt32BigEndian(payload.AsSpan(4)));
            result.Add(BinaryPrimitives.ReadUInt32BigEndian(payload), extents);
            if ((flagsSeen & NbdProtocol.ReplyDone) != 0)
                return result;
        }
    }

    public uint SimpleReply()
    {
        var header = new byte[16];
        ReceiveExactly(header);
        Assert.Equal(NbdProtocol.SimpleReplyMagic, BinaryPrimitives.ReadUInt32BigEndian(header));
        Assert.Equal(Cookie, BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(8)));
        return BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(4));
    }

    public void Send(byte[] bytes)
    {
        for (var sent = 0; sent < bytes.Length;)
            sent += socket.Send(bytes.AsSpan(sent));
    }

    public void ReceiveExactly(Span<byte> target)
    {
        while (target.Length > 0)
        {
            var count = socket.Receive(target);
            Assert.NotEqual(0, count);
            target = target[count..];
        }
    }

    public bool IsClosedByPeer()
    {
        socket.ReceiveTimeout = 5000;
        return socket.Receive(new byte[1]) == 0;
    }

    public void Dispose() => socket.Dispose();

    private uint Reply()
    {
        if (!structured)
            return SimpleReply();
        var (flags, type, payload) = Chunk();
        Assert.Equal(NbdProtocol.ReplyDone, flags);
        return type == NbdProtocol.ChunkNone ? 0 : BinaryPrimitives.ReadUInt32BigEndian(payload);
    }

    private (ushort Flags, ushort Type, byte[] Payload) Chunk()
    {
        var header = new byte[extended ? 32 : 20];
        ReceiveExactly(header);
        Assert.Equal(extended ? NbdProtocol.ExtendedReplyMagic
            : NbdProtocol.StructuredReplyMagic, BinaryPrimitives.ReadUInt32BigEndian(header));
        Assert.Equal(Cookie, BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(8)));
        if (extended)
            Assert.Equal(_lastOffset, BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(16)));
        var length = extended ? BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(24))
            : BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(16));
        var payload = new byte[length];
        ReceiveExactly(payload);
        return (BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(4)), BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(6)), payload);
    }
}
