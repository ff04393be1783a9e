using System.Buffers.Binary;
using System.Net.Sockets;
using static Lincow.Serving.Frontends.Nbd.NbdProtocol;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// The client's side, for commands that use another server's export: one request at a time, simple replies, on a Unix socket.
/// </summary>
internal sealed class NbdClient : IDisposable
{
    private const long MaxZeroBytes = 1 << 30;

    private readonly Socket _socket;
    private readonly string _server;
    private ulong _cookie;

    private NbdClient(Socket socket, string server) => (_socket, _server) = (socket, server);

    public long SizeBytes { get; private set; }

    /// <summary>Connects to the default export; null while nobody listens. Throws <see cref="LincowException"/>.</summary>
    /// <param name="path">The socket.</param>
    /// <param name="server">A name for messages.</param>
    public static NbdClient? TryConnect(string path, string server)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException)
        {
            socket.Dispose();
            return null;
        }
        var client = new NbdClient(socket, server);
        client.Handshake();
        return client;
    }

    public void Read(long byteOffset, Span<byte> buffer)
    {
        while (buffer.Length > 0)
        {
            var piece = buffer[..Math.Min(buffer.Length, MaxPieceBytes)];
            Ask(NbdCommand.Read, byteOffset, piece.Length, default);
            Receive(piece);
            buffer = buffer[piece.Length..];
            byteOffset += piece.Length;
        }
    }

    public void Write(long byteOffset, ReadOnlySpan<byte> content)
    {
        while (content.Length > 0)
        {
            var piece = content[..Math.Min(content.Length, MaxPieceBytes)];
            Ask(NbdCommand.Write, byteOffset, piece.Length, piece);
            content = content[piece.Length..];
            byteOffset += piece.Length;
        }
    }

    public void Zero(long byteOffset, long byteLength)
    {
        for (var end = byteOffset + byteLength; byteOffset < end; byteOffset += MaxZeroBytes)
            Ask(NbdCommand.WriteZeroes, byteOffset, (int)Math.Min(MaxZeroBytes, end - byteOffset), default);
    }

    public void Flush() => Ask(NbdCommand.Flush, 0, 0, default);

    public void Dispose()
    {
        try
        {
            Send(NbdCommand.Disconnect, 0, 0, default);
        }
        catch (LincowException)
        {
            // It is gone already.
        }
        _socket.Dispose();
    }

    /// <summary>What every server takes in one request.</summary>
    private const int MaxPieceBytes = 32 << 20;

    // NBD_OPT_EXPORT_NAME: the shortest handshake there is.
    private void Handshake()
    {
        Span<byte> greeting = stackalloc byte[18];
        Receive(greeting);
        if (BinaryPrimitives.ReadUInt64BigEndian(greeting) != InitMagic
            || BinaryPrimitives.ReadUInt64BigEndian(greeting[8..]) != OptionMagic)
            throw new LincowException(NbdErrors.NoServer(_server));
        Span<byte> option = stackalloc byte[20];
        BinaryPrimitives.WriteUInt32BigEndian(option, FlagFixedNewstyle | FlagNoZeroes);
        BinaryPrimitives.WriteUInt64BigEndian(option[4..], OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(option[12..], (uint)NbdOption.ExportName);
        BinaryPrimitives.WriteUInt32BigEndian(option[16..], 0);
        SendAll(option);
        Span<byte> export = stackalloc byte[10];
        Receive(export);
        SizeBytes = BinaryPrimitives.ReadInt64BigEndian(export);
    }

    private void Ask(NbdCommand command, long byteOffset, int byteCount, ReadOnlySpan<byte> payload)
    {
        Send(command, byteOffset, byteCount, payload);
        Span<byte> reply = stackalloc byte[SimpleReplyBytes];
        Receive(reply);
        if (BinaryPrimitives.ReadUInt32BigEndian(reply) != SimpleReplyMagic || BinaryPrimitives.ReadUInt64BigEndian(reply[8..]) != _cookie)
            throw new LincowException(NbdErrors.NoReply(_server));
        if (BinaryPrimitives.ReadInt32BigEndian(reply[4..]) is var error and not 0)
            throw new LincowException(NbdErrors.RequestFailed(_server, command.ToString().ToLowerInvariant(), byteOffset, error));
    }

    private void Send(NbdCommand command, long byteOffset, int byteCount, ReadOnlySpan<byte> payload)
    {
        Span<byte> request = stackalloc byte[RequestBytes];
        request.Clear();
        BinaryPrimitives.WriteUInt32BigEndian(request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request[6..], (ushort)command);
        BinaryPrimitives.WriteUInt64BigEndian(request[8..], ++_cookie);
        BinaryPrimitives.WriteInt64BigEndian(request[16..], byteOffset);
        BinaryPrimitives.WriteInt32BigEndian(request[24..], byteCount);
        SendAll(request);
        SendAll(payload);
    }

    private void SendAll(ReadOnlySpan<byte> bytes)
    {
        try
        {
            while (bytes.Length > 0)
                bytes = bytes[_socket.Send(bytes)..];
        }
        catch (SocketException e)
        {
            throw new LincowException(NbdErrors.Closed(_server), e);
        }
    }

    private void Receive(Span<byte> bytes)
    {
        try
        {
            while (bytes.Length > 0)
            {
                var count = _socket.Receive(bytes);
                if (count == 0)
                    throw new LincowException(NbdErrors.Closed(_server));
                bytes = bytes[count..];
            }
        }
        catch (SocketException e)
        {
            throw new LincowException(NbdErrors.Closed(_server), e);
        }
    }
}
