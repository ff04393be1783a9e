using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;
using Lincow.Serving.Frontends.Fuse;

namespace Lincow.Tests.Serving.Frontends.Fuse;

/// <summary>
/// A FUSE server with the test in the kernel's place: packets of a socket pair keep their bounds as /dev/fuse does. The image's second half
/// is a hole.
/// </summary>
internal sealed unsafe class FuseTestConnection : OverlayOnLoop
{
    public const int DeviceBytes = 1 << 20;

    private readonly ManualResetEventSlim _ended = new();
    private readonly Socket _kernel;
    private ulong _unique;

    public FuseTestConnection(string loop, bool isReadOnly = false, Func<IoLoop, BlockDevice>? device = null, int? replyRoomBytes = null)
        : base(loop, DeviceBytes, hole: (DeviceBytes / 2).., isReadOnly)
    {
        var pair = stackalloc int[2];
        const int unix = 1, packets = 5, nonBlocking = 0x800;
        Assert.Equal(0, Libc.socketpair(unix, packets | Libc.CloseOnExec, 0, pair));
        Libc.fcntl(pair[0], Libc.FcntlSetFlags, nonBlocking);
        _kernel = new Socket(new SafeSocketHandle(pair[1], true)) { ReceiveTimeout = 10_000, SendBufferSize = 1 << 20 };
        var descriptor = pair[0];
        const int socketLevel = 1, sendBuffer = 7;
        if (replyRoomBytes is { } room)
            Assert.Equal(0, Libc.setsockopt(descriptor, socketLevel, sendBuffer, &room, sizeof(int)));
        Loop.Invoke(() =>
            new FuseServer(Loop, device?.Invoke(Loop) ?? Session.Device, descriptor, new FuseOwner(7, 8), Log.Add).Start(_ended.Set));
    }

    public List<string> Log { get; } = [];

    /// <summary>Waits until the server has said something.</summary>
    public void AwaitLog() => Assert.True(SpinWait.SpinUntil(() => Loop.Invoke(() => Log.Count) > 0, 10_000), "the server said nothing");

    /// <summary>Sends a request, and returns its number.</summary>
    public ulong Send(FuseOpcode opcode, ReadOnlySpan<byte> arguments, int? length = null)
    {
        var packet = new byte[FuseAbi.RequestHeaderBytes + arguments.Length];
        ref var header = ref Unsafe.As<byte, FuseRequestHeader>(ref packet[0]);
        (header.Length, header.Opcode, header.Unique, header.Node) = ((uint)(length ?? packet.Length), opcode, ++_unique, FuseAbi.RootNode);
        arguments.CopyTo(packet.AsSpan(FuseAbi.RequestHeaderBytes));
        SendRaw(packet);
        return _unique;
    }

    public void SendRaw(byte[] packet) => Assert.Equal(packet.Length, _kernel.Send(packet));

    /// <summary>Receives a reply, of any request.</summary>
    public (int Error, ulong Unique, byte[] Body) Receive()
    {
        var packet = new byte[(2 << 20) + 64];
        var count = _kernel.Receive(packet);
        var header = MemoryMarshal.Read<FuseReplyHeader>(packet);
        Assert.Equal((uint)count, header.Length);
        return (header.Error, header.Unique, packet[FuseAbi.ReplyHeaderBytes..count]);
    }

    /// <summary>Sends a request and receives its reply.</summary>
    public (int Error, byte[] Body) Ask(FuseOpcode opcode, ReadOnlySpan<byte> arguments)
    {
        var unique = Send(opcode, arguments);
        var reply = Receive();
        Assert.Equal(unique, reply.Unique);
        return (reply.Error, reply.Body);
    }

    public static byte[] Transfer(ulong offset, uint size, byte[]? payload = null)
    {
        var arguments = new FuseTransferRequest { Offset = offset, Size = size };
        return [.. MemoryMarshal.AsBytes(new ReadOnlySpan<FuseTransferRequest>(in arguments)), .. payload ?? []];
    }

    public (int Error, byte[] Body) Read(long offset, int size) => Ask(FuseOpcode.Read, Transfer((ulong)offset, (uint)size));

    public (int Error, byte[] Body) Write(long offset, byte[] content) =>
        Ask(FuseOpcode.Write, Transfer((ulong)offset, (uint)content.Length, content));

    public int Fallocate(ulong offset, ulong length, uint mode)
    {
        var arguments = new FuseFallocateRequest { Offset = offset, Length = length, Mode = mode };
        return Ask(FuseOpcode.Fallocate, MemoryMarshal.AsBytes(new ReadOnlySpan<FuseFallocateRequest>(in arguments))).Error;
    }

    public (int Error, long Offset) Seek(long offset, uint whence)
    {
        var arguments = new FuseSeekRequest { Offset = (ulong)offset, Whence = whence };
        var (error, body) = Ask(FuseOpcode.Seek, MemoryMarshal.AsBytes(new ReadOnlySpan<FuseSeekRequest>(in arguments)));
        return (error, error == 0 ? MemoryMarshal.Read<long>(body) : 0);
    }

    public T Body<T>(FuseOpcode opcode, ReadOnlySpan<byte> arguments)
        where T : unmanaged
    {
        var (error, body) = Ask(opcode, arguments);
        Assert.Equal((0, sizeof(T)), (error, body.Length));
        return MemoryMarshal.Read<T>(body);
    }

    public override void Dispose()
    {
        // The connection's end, which the kernel says with ENODEV.
        _kernel.Dispose();
        Assert.True(_ended.Wait(10_000), "the server did not notice that the connection is over");
        base.Dispose();
    }
}
