using System.Buffers.Binary;
using System.Net.Sockets;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Serving.Exports;
using Lincow.Serving.Frontends.Nbd;
using static Lincow.Fuzz.BrokenPromiseException;

namespace Lincow.Fuzz.Targets;

/// <summary>
/// What a client may say once it transmits: every command, flag, range and header, whole or cut off, against a device of its own. Held:
/// replies are framed as they were negotiated, each answers a request that was made, once; a read-only export says EPERM to every write and
/// shows its origin; the connection ends; memory comes back.
/// </summary>
internal sealed class TransmissionTarget : IFuzzTarget, IDisposable
{
    private const int DeviceBytes = 192 << 10, MaxRequests = 48, WatchMilliseconds = 20_000;

    private readonly string _origin = FuzzPlace.NewPath();
    private readonly byte[] _content = new byte[DeviceBytes];
    private readonly byte[] _received = new byte[256 << 10];

    public TransmissionTarget()
    {
        new Random(1).NextBytes(_content);
        _content.AsSpan(40_000, 60_000).Clear();
        File.WriteAllBytes(_origin, _content);
    }

    public void Run(ReadOnlySpan<byte> bytes)
    {
        var input = new FuzzInput(bytes);
        var how = input.U8();
        var mode = new ReplyMode((how & 3) >= 1, (how & 3) >= 2, (how & 3) >= 1 && (how & 4) != 0, (how & 8) != 0);
        using var loop = new PosixLoop();
        var session = OverlaySession.Open(new OverlayOptions
        {
            Origin = _origin,
            ReadOnly = mode.IsReadOnly,
            TransientData = Path.GetDirectoryName(_origin),
            ChunkBytes = (how & 16) == 0 ? 512 : 4096
        }, loop);
        var checker = new ReplyChecker(mode, _content);
        var wire = (how & 32) == 0 ? Requests(ref input, mode, checker) : input.Rest().ToArray();
        if ((how & 32) != 0)
            checker.IsFramingOnly = true;
        Exchange(loop, Handshake(new ExportTable(new Export("disk", session.Device, loop, "")), mode), wire, checker);
        session.Close();
        Require(loop.Buffers.RentedBytes == 0, "memory comes back");
    }

    public void Dispose() => File.Delete(_origin);

    private static NbdHandshake Handshake(ExportTable exports, ReplyMode mode)
    {
        var handshake = new NbdHandshake(exports, TlsMode.None);
        handshake.Advance([0, 0, 0, 3], out _);
        if (mode.IsStructured)
            handshake.Advance([.. "IHAVEOPT"u8, 0, 0, 0, (byte)(mode.IsExtended ? 11 : 8), 0, 0, 0, 0], out _);
        if (mode.HasContexts)
            handshake.Advance([.. "IHAVEOPT"u8, 0, 0, 0, 10, 0, 0, 0, 45, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 15, .. "base:allocation"u8, 0, 0,
                0, 14, .. "lincow:overlay"u8], out _);
        Require(handshake.Advance([.. "IHAVEOPT"u8, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0], out _) == HandshakeStep.Transmit,
            "the handshake of a decent client ends");
        Require(handshake.HasBaseContext == mode.HasContexts && handshake.ExtendedHeaders == mode.IsExtended, "what was negotiated holds");
        return handshake;
    }

    private static byte[] Requests(ref FuzzInput input, ReplyMode mode, ReplyChecker checker)
    {
        using var wire = new MemoryStream();
        Span<byte> header = stackalloc byte[mode.IsExtended ? NbdProtocol.ExtendedRequestBytes : NbdProtocol.RequestBytes];
        for (ulong cookie = 1; cookie <= MaxRequests && !input.IsEmpty; cookie++)
        {
            var kind = input.U8();
            var command = (kind & 15) < 8 ? (ushort)(kind & 7) : (kind & 8) != 0 && (kind & 7) == 7 ? input.U16() : (ushort)(kind & 1);
            var flags = (kind & 16) == 0 ? (ushort)0 : input.U8();
            if (mode.IsExtended && command == (ushort)NbdCommand.Write && (kind & 32) == 0)
                flags |= NbdProtocol.FlagPayloadLength;
            var (offset, length) = Range(ref input, command);
            BinaryPrimitives.WriteUInt32BigEndian(header, mode.IsExtended ? NbdProtocol.ExtendedRequestMagic : NbdProtocol.RequestMagic);
            BinaryPrimitives.WriteUInt16BigEndian(header[4..], flags);
            BinaryPrimitives.WriteUInt16BigEndian(header[6..], command);
            BinaryPrimitives.WriteUInt64BigEndian(header[8..], cookie);
            BinaryPrimitives.WriteUInt64BigEndian(header[16..], offset);
            if (mode.IsExtended)
                BinaryPrimitives.WriteUInt64BigEndian(header[24..], length);
            else
                BinaryPrimitives.WriteUInt32BigEndian(header[24..], (uint)length);
            if ((kind & 0xc0) == 0xc0)
                input.Patch(header);
            checker.Expect(header);
            wire.Write(header);
            var hasPayload = mode.IsExtended ? (flags & NbdProtocol.FlagPayloadLength) != 0 : command == (ushort)NbdCommand.Write;
            if (hasPayload && length <= 2 * DeviceBytes && wire.Length < 1 << 20)
            {
                var payload = new byte[length];
                payload.AsSpan().Fill((byte)cookie);
                wire.Write(payload);
            }
        }
        return wire.ToArray();
    }

    private static (ulong Offset, ulong Length) Range(ref FuzzInput input, ushort command)
    {
        var kind = input.U8();
        if (command == (ushort)NbdCommand.Flush && (kind & 1) == 0)
            return (0, 0);
        return (kind & 7) switch
        {
            0 => ((ulong)input.U16() * 512 % DeviceBytes, (1 + (ulong)(kind >> 3)) * 512),
            1 => (input.U16(), input.U16()),
            2 => (DeviceBytes - (ulong)input.U16(), input.U16()),
            3 => (1UL << (input.U8() & 63), input.U32()),
            4 => (ulong.MaxValue - input.U16(), ulong.MaxValue - input.U16()),
            5 => (0, NbdProtocol.MaxPayloadBytes + (ulong)input.U8() - 128),
            6 => (0, DeviceBytes),
            _ => ((ulong)input.U32(), 1UL << (input.U8() & 63)),
        };
    }

    private void Exchange(PosixLoop loop, NbdHandshake handshake, byte[] wire, ReplyChecker checker)
    {
        var (server, clientDescriptor) = LinuxSocket.Pair();
        using var client = new Socket(new SafeSocketHandle(clientDescriptor, ownsHandle: true)) { Blocking = false };
        var watch = new Watch();
        loop.Delay(WatchMilliseconds, watch);
        var isClosed = false;
        // The first part comes with the handshake's last receive.
        var head = Math.Min(wire.Length, 40);
        var transmission = NbdTransmission.TryOpen(loop, new NbdMemory(loop), server, handshake.Terms, wire.AsSpan(0, head), () =>
            isClosed = true);
        Require(transmission is not null, "there is room for one connection");
        transmission!.Start();
        var sent = head;
        var isShut = false;
        while (true)
        {
            while (sent < wire.Length && client.Send(wire.AsSpan(sent), SocketFlags.None, out var error) is var count
                && error == SocketError.Success && count > 0)
                sent += count;
            if (sent == wire.Length && !isShut)
            {
                isShut = true;
                TryShutdown(client);
            }
            while (client.Receive(_received, SocketFlags.None, out var problem) is var got && problem == SocketError.Success && got > 0)
                checker.Take(_received.AsSpan(0, got));
            if (isClosed)
                break;
            loop.RunOnce();
            Require(!watch.IsDue, "a connection whose client has said goodbye ends");
        }
        checker.End();
    }

    private static void TryShutdown(Socket client)
    {
        try
        {
            client.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // The server has gone already.
        }
    }

    private sealed class Watch : IoCompletion
    {
        public bool IsDue { get; private set; }

        public override void Complete(int result) => IsDue = true;
    }
}
