using System.Buffers.Binary;
using System.Net.Sockets;

namespace Lincow.SystemTests.Harness;

/// <summary>
/// An NBD client that says exactly what it is told to, right or wrong (proto.md): no library would. Waits at most ten seconds for anything.
/// </summary>
internal sealed class RawClient : IDisposable
{
    public const ushort Read = 0, Write = 1, Disconnect = 2, Flush = 3, Trim = 4, WriteZeroes = 6, BlockStatus = 7;

    public const uint ExportName = 1, Abort = 2, List = 3, StartTls = 5, Info = 6, Go = 7, StructuredReply = 8, SetMetaContext = 10;

    public const uint FixedNewstyle = 1, NoZeroes = 2;

    public const uint Ack = 1, Unsupported = 0x80000001, Policy = 0x80000002, Invalid = 0x80000003, TlsRequired = 0x80000005,
        Unknown = 0x80000006, TooBig = 0x80000009;

    public const ulong OptionMagic = 0x49484156454f5054, OptionReplyMagic = 0x0003e889045565a9;

    public const uint RequestMagic = 0x25609513, SimpleReplyMagic = 0x67446698;

    private const ulong InitMagic = 0x4e42444d41474943;

    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private ulong _cookie;

    /// <summary>Connects, and says nothing yet.</summary>
    public RawClient(string uri)
    {
        var path = Uri.UnescapeDataString(uri[(uri.IndexOf("socket=", StringComparison.Ordinal) + 7)..]);
        _socket.ReceiveTimeout = _socket.SendTimeout = 10_000;
        _socket.Connect(new UnixDomainSocketEndPoint(path));
    }

    /// <summary>Connects and gets as far as transmission, with simple replies.</summary>
    public static RawClient Ready(string uri, string export = "")
    {
        var client = new RawClient(uri);
        client.Greet(FixedNewstyle | NoZeroes);
        client.Option(ExportName, System.Text.Encoding.UTF8.GetBytes(export));
        client.Receive(10);
        return client;
    }

    /// <summary>Takes the server's greeting and answers with flags.</summary>
    public void Greet(uint flags)
    {
        var greeting = Receive(18);
        Assert.Equal(InitMagic, BinaryPrimitives.ReadUInt64BigEndian(greeting));
        Assert.Equal(OptionMagic, BinaryPrimitives.ReadUInt64BigEndian(greeting.AsSpan(8)));
        Assert.Equal(FixedNewstyle | NoZeroes, BinaryPrimitives.ReadUInt16BigEndian(greeting.AsSpan(16)));
        var reply = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(reply, flags);
        Send(reply);
    }

    /// <summary>An option; its length may be a lie.</summary>
    public void Option(uint option, byte[] data, uint? length = null, ulong magic = OptionMagic)
    {
        var header = new byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(header, magic);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(8), option);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(12), length ?? (uint)data.Length);
        Send([.. header, .. data]);
    }

    /// <summary>The type of the next reply to an option, whose payload is dropped.</summary>
    public uint OptionReply(uint option)
    {
        var header = Receive(20);
        Assert.Equal((OptionReplyMagic, option),
            (BinaryPrimitives.ReadUInt64BigEndian(header), BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8))));
        Receive((int)BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(16)));
        return BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12));
    }

    public static byte[] Request(ushort command, ulong cookie, ulong offset, uint length, ushort flags = 0, uint magic = RequestMagic)
    {
        var header = new byte[28];
        BinaryPrimitives.WriteUInt32BigEndian(header, magic);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(4), flags);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(6), command);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(8), cookie);
        BinaryPrimitives.WriteUInt64BigEndian(header.AsSpan(16), offset);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(24), length);
        return header;
    }

    /// <summary>Sends a request and waits for its simple reply; returns the error number of the protocol, and what was read.</summary>
    public (uint Error, byte[] Data) Ask(ushort command, ulong offset, uint length, byte[]? payload = null, ushort flags = 0)
    {
        var cookie = NextCookie();
        Send([.. Request(command, cookie, offset, length, flags), .. payload ?? []]);
        var reply = Receive(16);
        Assert.Equal((SimpleReplyMagic, cookie),
            (BinaryPrimitives.ReadUInt32BigEndian(reply), BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(8))));
        var error = BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(4));
        return (error, error == 0 && command == Read ? Receive((int)length) : []);
    }

    public ulong NextCookie() => ++_cookie;

    /// <summary>The next simple reply, whichever request it is for; not for reads, whose data would follow.</summary>
    public (ulong Cookie, uint Error) Reply()
    {
        var reply = Receive(16);
        Assert.Equal(SimpleReplyMagic, BinaryPrimitives.ReadUInt32BigEndian(reply));
        return (BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(8)), BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(4)));
    }

    /// <summary>The connection answers like any other.</summary>
    public void AssertAlive()
    {
        var (error, data) = Ask(Read, 0, 512);
        Assert.Equal((0u, 512), (error, data.Length));
    }

    public void Send(byte[] bytes)
    {
        for (var sent = 0; sent < bytes.Length;)
            sent += _socket.Send(bytes.AsSpan(sent));
    }

    /// <summary>
    /// Sends something over and over, reading nothing, until the server has taken no more for a while. Returns how many bytes it took.
    /// </summary>
    public long Flood(byte[] unit)
    {
        long sent = 0;
        _socket.Blocking = false;
        for (var quiet = 0; quiet < 20;)
        {
            // A partial send goes on where it stopped: the framing stays right.
            var count = _socket.Send(unit.AsSpan((int)(sent % unit.Length)), SocketFlags.None, out var error);
            if (error is not (SocketError.Success or SocketError.WouldBlock))
                throw new SocketException((int)error);
            quiet = error == SocketError.WouldBlock ? quiet + 1 : 0;
            if (error == SocketError.WouldBlock)
                Thread.Sleep(10);
            else
                sent += count;
        }
        _socket.Blocking = true;
        return sent;
    }

    public byte[] Receive(int bytes)
    {
        var buffer = new byte[bytes];
        for (var received = 0; received < bytes;)
        {
            var count = _socket.Receive(buffer.AsSpan(received));
            if (count == 0)
                throw new EndOfStreamException($"the server closed the connection after {received} of {bytes} bytes");
            received += count;
        }
        return buffer;
    }

    /// <summary>The server ends the connection: whatever it still sends is dropped.</summary>
    public void AssertClosed()
    {
        var buffer = new byte[4096];
        try
        {
            while (_socket.Receive(buffer) > 0)
            {
            }
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionReset or SocketError.Shutdown)
        {
        }
    }

    public void EndSending() => _socket.Shutdown(SocketShutdown.Send);

    /// <summary>Goes away without a word; what the server sends meets a reset.</summary>
    public void Dispose() => _socket.Dispose();
}
