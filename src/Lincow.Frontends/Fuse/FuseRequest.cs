using System.Runtime.InteropServices;
using Lincow.Device;
using Lincow.Linux;

namespace Lincow.Frontends.Fuse;

/// <summary>
/// One FUSE request from its header to its reply: reused, with native room of its own for what comes and what goes. The payload of a write, and the
/// data of a read, lie in a page-aligned buffer.
/// </summary>
internal sealed unsafe class FuseRequest : BlockRequest
{
    /// <summary>Where the parts lie in the native room; the longest reply but a read's is that of statx.</summary>
    private const int ReplyHeaderAt = 128, ReplyBodyAt = ReplyHeaderAt + FuseAbi.ReplyHeaderBytes, RoomBytes = ReplyBodyAt + 304;

    private readonly FuseServer _server;
    private readonly byte* _room;
    private readonly Continuation _continuation;

    public FuseRequest(FuseServer server)
    {
        _server = server;
        _room = (byte*)NativeMemory.AllocZeroed(RoomBytes);
        _continuation = new Continuation(server, this);
    }

    /// <summary>The first 80 bytes: the kernel's header and arguments.</summary>
    public nint Input => (nint)_room;

    public FuseRequestHeader* Header => (FuseRequestHeader*)_room;

    public FuseReplyHeader* ReplyHeader => (FuseReplyHeader*)(_room + ReplyHeaderAt);

    /// <summary>What Buffer lies in; given back when the reply has been sent.</summary>
    public NativeBuffer Memory { get; set; }

    /// <summary>Bytes of <see cref="ReplyBody{T}"/> or, for a read, of the buffer.</summary>
    public int ReplyBytes { get; private set; }

    /// <summary>The end of what a long operation, done in pieces, covers.</summary>
    public long LastByteEnd { get; set; }

    public T* Arguments<T>()
        where T : unmanaged => (T*)(_room + FuseAbi.RequestHeaderBytes);

    /// <summary>The reply's body, all zeroes.</summary>
    public T* ReplyBody<T>()
        where T : unmanaged
    {
        var body = (T*)(_room + ReplyBodyAt);
        *body = default;
        ReplyBytes = sizeof(T);
        return body;
    }

    /// <summary>The reply consists of the first bytes of the buffer.</summary>
    public void ReplyFromBuffer(int byteCount) => ReplyBytes = byteCount;

    public nint ReplyData => Header->Opcode == FuseOpcode.Read ? Buffer : (nint)(_room + ReplyBodyAt);

    /// <summary>Forgets the request before; what is received may be shorter than it was.</summary>
    public void Begin()
    {
        new Span<byte>(_room, FuseAbi.WriteHeaderBytes).Clear();
        Flags = BlockFlags.None;
        ByteOffset = ByteLength = LastByteEnd = 0;
        Buffer = 0;
        ReplyBytes = 0;
    }

    public void Free() => NativeMemory.Free(_room);

    /// <summary>Goes on with the next piece on the loop's next turn: the device may complete inside Submit, which must not nest.</summary>
    public void ContinueSoon(IoLoop loop) => loop.CompleteSoon(_continuation, 0);

    protected override void OnCompleted(int result) => _server.File.Completed(this, result);

    private sealed class Continuation(FuseServer server, FuseRequest request) : IoCompletion
    {
        public override void Complete(int result) => server.File.Continue(request);
    }
}
