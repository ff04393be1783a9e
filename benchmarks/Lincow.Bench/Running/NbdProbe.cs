using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Lincow.Bench.Running;

/// <summary>
/// The smallest NBD client: fixed newstyle handshake with NBD_OPT_GO, then reads. For readiness, and for the time until the first read,
/// where a client of its own weight would hide what is measured.
/// </summary>
internal sealed class NbdProbe : IDisposable
{
    private const ulong NbdMagic = 0x4e42444d41474943, OptionMagic = 0x49484156454f5054, OptionReplyMagic = 0x3e889045565a9;
    private const uint RequestMagic = 0x25609513, SimpleReplyMagic = 0x67446698;
    private const uint OptionGo = 7, ReplyAck = 1, ReplyErrorBit = 1u << 31;
    private const ushort CommandRead = 0, CommandDisconnect = 2, FixedNewstyle = 1;

    /// <summary>Between two attempts to connect. Short against every start-up, long enough to leave the CPU to the server.</summary>
    private const uint RetryMicroseconds = 200;

    private readonly Socket _socket;

    private NbdProbe(Socket socket) => _socket = socket;

    /// <summary>
    /// Connects as soon as the server listens. Gives up when <paramref name="isAlive"/> says that there is nobody to wait for.
    /// </summary>
    public static NbdProbe Connect(string socketPath, string export, TimeSpan limit, Func<bool> isAlive, CancellationToken stop)
    {
        var deadline = DateTime.UtcNow + limit;
        while (true)
        {
            stop.ThrowIfCancellationRequested();
            // Asking for the file first is a hundred times cheaper than an exception.
            if (File.Exists(socketPath) && TryConnect(socketPath) is { } socket)
            {
                var probe = new NbdProbe(socket);
                try
                {
                    probe.Handshake(export);
                    return probe;
                }
                catch (Exception e) when (e is SocketException or BenchException)
                {
                    probe.Dispose();
                    throw new BenchException($"the NBD handshake failed: {e.Message}");
                }
            }
            if (!isAlive())
                throw new BenchException("the server ended before it listened");
            if (DateTime.UtcNow > deadline)
                throw new BenchException($"the server did not listen within {limit.TotalSeconds:0} s");
            _ = Posix.SleepMicroseconds(RetryMicroseconds);
        }
    }

    /// <summary>Reads from the device; an error of the server is an exception.</summary>
    public void Read(long byteOffset, Span<byte> buffer)
    {
        Span<byte> request = stackalloc byte[28];
        WriteRequest(request, CommandRead, byteOffset, buffer.Length);
        Send(request);
        Span<byte> reply = stackalloc byte[16];
        Receive(reply);
        var error = BinaryPrimitives.ReadUInt32BigEndian(reply[4..]);
        if (BinaryPrimitives.ReadUInt32BigEndian(reply) != SimpleReplyMagic || error != 0)
            throw new BenchException($"the first read failed with NBD error {error}");
        Receive(buffer);
    }

    public void Dispose()
    {
        try
        {
            Span<byte> request = stackalloc byte[28];
            WriteRequest(request, CommandDisconnect, 0, 0);
            Send(request);
        }
        catch (SocketException)
        {
            // The server is gone already.
        }
        _socket.Dispose();
    }

    private static Socket? TryConnect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream,
            ProtocolType.Unspecified)
        { ReceiveTimeout = 60_000, SendTimeout = 60_000 };
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return socket;
        }
        catch (SocketException)
        {
            // Bound, but it doesn't listen yet.
            socket.Dispose();
            return null;
        }
    }

    private void Handshake(string export)
    {
        Span<byte> greeting = stackalloc byte[18];
        Receive(greeting);
        if (BinaryPrimitives.ReadUInt64BigEndian(greeting) != NbdMagic
            || BinaryPrimitives.ReadUInt64BigEndian(greeting[8..]) != OptionMagic)
            throw new BenchException("no newstyle NBD server");
        var name = Encoding.UTF8.GetBytes(export);
        // Client flags, then NBD_OPT_GO: the name, and no information asked for.
        var option = new byte[4 + 16 + 4 + name.Length + 2];
        BinaryPrimitives.WriteUInt32BigEndian(option, FixedNewstyle);
        BinaryPrimitives.WriteUInt64BigEndian(option.AsSpan(4), OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(option.AsSpan(12), OptionGo);
        BinaryPrimitives.WriteInt32BigEndian(option.AsSpan(16), 4 + name.Length + 2);
        BinaryPrimitives.WriteInt32BigEndian(option.AsSpan(20), name.Length);
        name.CopyTo(option, 24);
        Send(option);
        Span<byte> header = stackalloc byte[20];
        while (true)
        {
            Receive(header);
            var reply = BinaryPrimitives.ReadUInt32BigEndian(header[12..]);
            var data = new byte[BinaryPrimitives.ReadInt32BigEndian(header[16..])];
            Receive(data);
            if (BinaryPrimitives.ReadUInt64BigEndian(header) != OptionReplyMagic || (reply & ReplyErrorBit) != 0)
                throw new BenchException($"NBD_OPT_GO for '{export}' was refused: {Encoding.UTF8.GetString(data)}");
            if (reply == ReplyAck)
                return;
        }
    }

    private static void WriteRequest(Span<byte> request, ushort command, long byteOffset, int length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request[6..], command);
        BinaryPrimitives.WriteInt64BigEndian(request[16..], byteOffset);
        BinaryPrimitives.WriteInt32BigEndian(request[24..], length);
    }

    private void Send(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
            bytes = bytes[_socket.Send(bytes)..];
    }

    private void Receive(Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var received = _socket.Receive(bytes);
            if (received == 0)
                throw new BenchException("the server closed the connection");
            bytes = bytes[received..];
        }
    }
}
