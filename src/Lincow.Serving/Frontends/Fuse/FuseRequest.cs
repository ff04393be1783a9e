using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Serving.Frontends.Fuse;

/// <summary>
/// One FUSE request from its header to its reply: reused, in native room that those who receive and reply provide. The payload of a write,
/// and the data of a read, lie in a page-aligned buffer.
/// </summary>
internal abstract unsafe class FuseRequest : BlockRequest
{
    private readonly FuseFile _file;
    private nint _header, _arguments, _replyHeader, _replyBody;

    /// <summary>A request of a file.</summary>
    protected FuseRequest(FuseFile file)
    {
        _file = file;
    }

    public FuseRequestHeader* Header => (FuseRequestHeader*)_header;

    /// <summary>Memory that goes back to the loop's pool with the reply.</summary>
    public NativeBuffer Memory { get; set; }

    /// <summary>The end of what a long operation, done in pieces, covers.</summary>
    public long LastByteEnd { get; set; }

    /// <summary>Bytes of <see cref="ReplyBody{T}"/> or, for a read, of the buffer.</summary>
    protected int ReplyBytes { get; private set; }

    public T* Arguments<T>()
        where T : unmanaged => (T*)_arguments;

    /// <summary>The reply's body, all zeroes. It may lie where the payload was.</summary>
    public T* ReplyBody<T>()
        where T : unmanaged
    {
        var body = (T*)_replyBody;
        *body = default;
        ReplyBytes = sizeof(T);
        return body;
    }

    /// <summary>The reply consists of the first bytes of the buffer.</summary>
    public void ReplyFromBuffer(int byteCount) => ReplyBytes = byteCount;

    /// <summary>The payload that came with it becomes the buffer.</summary>
    public abstract void TakePayload();

    /// <summary>The buffer is room for data to reply with; false when the system has no memory left.</summary>
    public abstract bool TryMakeRoom(int byteCount);

    /// <summary>Replies: 0 with what was set, or a negative errno.</summary>
    public void Answer(int error)
    {
        if (error < 0)
            ReplyBytes = 0;
        var data = Header->Opcode == FuseOpcode.Read ? Buffer : _replyBody;
        // The reply's header may lie where the request's is.
        var unique = Header->Unique;
        *(FuseReplyHeader*)_replyHeader =
            new FuseReplyHeader { Length = (uint)(FuseAbi.ReplyHeaderBytes + ReplyBytes), Error = error, Unique = unique };
        Send(_replyHeader, data);
    }

    protected abstract void Send(nint header, nint data);

    /// <summary>Where the parts lie.</summary>
    protected void Lay(nint header, nint arguments, nint replyHeader, nint replyBody) =>
        (_header, _arguments, _replyHeader, _replyBody) = (header, arguments, replyHeader, replyBody);

    /// <summary>Forgets the request before.</summary>
    protected void Clear()
    {
        Flags = BlockFlags.None;
        ByteOffset = ByteLength = LastByteEnd = 0;
        Buffer = 0;
        ReplyBytes = 0;
    }

    protected internal override void OnCompleted(int result) => _file.Completed(this, result);
}
