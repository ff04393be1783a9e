using Lincow.Device;
using Lincow.Requests;

namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// Everything that can be wrong with a request, judged once, here (proto.md, "Request types" and "Error values"); after that the engine
/// asserts.
/// </summary>
internal static class NbdValidation
{
    /// <summary>0, or the protocol's error number.</summary>
    public static uint Check(NbdRequest request, ulong length, bool hasPayload, bool extended, BlockDevice device, bool hasContexts)
    {
        if (!HasValidFlags(request, extended))
            return NbdError.Invalid;
        if (extended && hasPayload != (request.Command == NbdCommand.Write))
            return NbdError.Invalid;
        var isWrite = request.Command is NbdCommand.Write or NbdCommand.Trim or NbdCommand.WriteZeroes;
        if (isWrite && device.IsReadOnly)
            return NbdError.Perm;
        if (request.Command == NbdCommand.Flush)
            return request.WireOffset == 0 && length == 0 ? 0 : NbdError.Invalid;
        if (request.Command > NbdCommand.BlockStatus || (request.Command == NbdCommand.Trim && !device.CanDiscard))
            return NbdError.Invalid;
        var size = (ulong)device.SizeBytes;
        if (request.WireOffset > size || length > size - request.WireOffset)
            return request.Command is NbdCommand.Write or NbdCommand.WriteZeroes ? NbdError.NoSpace : NbdError.Invalid;
        switch (request.Command)
        {
            case NbdCommand.Read:
                return length > NbdProtocol.MaxPayloadBytes ? NbdError.Overflow : 0;
            case NbdCommand.BlockStatus:
                return length > 0 && hasContexts ? 0 : NbdError.Invalid;
            case NbdCommand.WriteZeroes when (request.CommandFlags & NbdProtocol.FlagFastZero) != 0
                && ((long)length > device.MaxZeroBytes || !device.IsFastToZero((long)request.WireOffset, (long)length)):
                return NbdError.NotSupported;
            case NbdCommand.Trim or NbdCommand.WriteZeroes when (long)length > device.MaxZeroBytes:
                return NbdError.Overflow;
            default:
                return 0;
        }
    }

    /// <summary>Fills in the engine's side of a sound request.</summary>
    public static void Translate(NbdRequest request, long length, BlockDevice device)
    {
        request.Operation = request.Command switch
        {
            NbdCommand.Read => BlockOperation.Read,
            NbdCommand.Write => BlockOperation.Write,
            NbdCommand.Flush => BlockOperation.Flush,
            NbdCommand.Trim => BlockOperation.Discard,
            NbdCommand.Cache => BlockOperation.Cache,
            NbdCommand.WriteZeroes => BlockOperation.WriteZeroes,
            _ => BlockOperation.Extents,
        };
        request.Flags = BlockFlags.None;
        if ((request.CommandFlags & NbdProtocol.FlagFua) != 0)
            request.Flags |= BlockFlags.ForceUnitAccess;
        if (request.Command == NbdCommand.WriteZeroes && (request.CommandFlags & NbdProtocol.FlagNoHole) != 0)
            request.Flags |= BlockFlags.NoHole;
        request.ByteOffset = (long)request.WireOffset;
        request.ByteLength = length;
        request.ExtentCount = NbdReplyEncoder.MaxExtents;
        // A server may answer less than it was asked (proto.md, NBD_CMD_BLOCK_STATUS), and reading ahead is a hint.
        if (request.Operation is BlockOperation.Extents or BlockOperation.Cache)
            request.ByteLength = Math.Min(length, device.MaxExtentsBytes);
    }

    private static bool HasValidFlags(NbdRequest request, bool extended)
    {
        // FUA is valid with every command (proto.md, "Command flags").
        var allowed = (ushort)(NbdProtocol.FlagFua | request.Command switch
        {
            NbdCommand.Read => NbdProtocol.FlagDf,
            NbdCommand.WriteZeroes => NbdProtocol.FlagNoHole | NbdProtocol.FlagFastZero,
            NbdCommand.BlockStatus => NbdProtocol.FlagReqOne,
            _ => 0,
        });
        if (extended)
            allowed |= NbdProtocol.FlagPayloadLength;
        return (request.CommandFlags & ~allowed) == 0;
    }
}
