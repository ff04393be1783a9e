using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Serving.Frontends.Ublk;

/// <summary>One tag of a queue: a request at a time, from the kernel to the device and back.</summary>
internal sealed class UblkRequest : BlockRequest
{
    private readonly UblkServer _server;
    private readonly int _tag;
    private readonly Fetched _fetched;
    private NativeBuffer _memory;

    public UblkRequest(UblkServer server, int tag)
    {
        (_server, _tag) = (server, tag);
        _fetched = new Fetched(this);
    }

    public void Fetch() => _server.Block.Fetch(_server.Loop, _tag, _fetched);

    protected internal override void OnCompleted(int result)
    {
        if (result >= 0 && Operation == BlockOperation.Read)
            result = _server.Block.TrySend(_tag, Buffer, (int)ByteLength);
        // How much was done is asked of what carries data alone; a discard of 2 GiB would be an error.
        // mutation: long-discard-answered-as-an-int
        Answer(result < 0 ? result : Operation is BlockOperation.Read or BlockOperation.Write ? (int)ByteLength : 0);
    }

    private void Begin(int result)
    {
        if (result != 0)
        {
            _server.TagEnded(_tag, result);
            return;
        }
        var asked = _server.Block[_tag];
        (ByteOffset, ByteLength) = (asked.ByteOffset, asked.ByteLength);
        Flags = asked.IsForceUnitAccess ? BlockFlags.ForceUnitAccess : BlockFlags.None;
        var error = Judge(asked);
        if (error == 0 && Operation is BlockOperation.Read or BlockOperation.Write)
        {
            error = _server.Loop.Buffers.TryRent(ByteLength, out _memory) ? 0 : -Errno.NoMemory;
            Buffer = _memory.Address;
            if (error == 0 && Operation == BlockOperation.Write)
                error = _server.Block.TryReceive(_tag, Buffer, (int)ByteLength);
        }
        // mutation: real-ublk-ignores-flush
        if (error < 0)
            Answer(error);
        else
            _server.Device.Submit(this);
    }

    /// <summary>Says what is to be done; a negative errno if it can't be.</summary>
    private int Judge(UblkDescriptor asked)
    {
        var device = _server.Device;
        switch (asked.Operation)
        {
            case UblkOperation.Flush:
                Operation = BlockOperation.Flush;
                (ByteOffset, ByteLength) = (0, 0);
                return 0;
            case UblkOperation.Read:
                Operation = BlockOperation.Read;
                break;
            case UblkOperation.Write:
                Operation = BlockOperation.Write;
                break;
            case UblkOperation.Discard:
                Operation = BlockOperation.Discard;
                break;
            case UblkOperation.WriteZeroes:
                Operation = BlockOperation.WriteZeroes;
                if (asked.IsNoUnmap)
                    Flags |= BlockFlags.NoHole;
                break;
            default:
                return -Errno.NotSupported;
        }
        // The driver keeps these; the device only asserts them.
        var most = Operation is BlockOperation.Read or BlockOperation.Write ? UblkBlockDevice.MaxTransferBytes : device.MaxZeroBytes;
        return ByteLength <= 0 || ByteLength > most || ByteOffset < 0 || ByteOffset > device.SizeBytes - ByteLength ? -Errno.IO : 0;
    }

    private void Answer(int result)
    {
        _server.Loop.Buffers.Return(_memory);
        _memory = default;
        _server.Block.CommitAndFetch(_server.Loop, _tag, result, _fetched);
    }

    private sealed class Fetched(UblkRequest request) : IoCompletion
    {
        public override void Complete(int result) => request.Begin(result);
    }
}
