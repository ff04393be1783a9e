using Lincow.Device;
using Lincow.Linux;
using Lincow.Requests;

namespace Lincow.Serving.Frontends.Fuse;

/// <summary>Whose the file is.</summary>
internal sealed record FuseOwner(uint User, uint Group);

/// <summary>
/// The file system that the kernel sees: its root is the one file, and the file's content is the device. Judges each request, once, and
/// answers it or hands it to the device. Nothing is cached above: every read and write of the file is one of the device, whatever the size
/// and alignment.
/// </summary>
internal sealed unsafe class FuseFile(IoLoop loop, BlockDevice device, FuseOwner owner)
{
    /// <summary>
    /// The file never changes but in its content, and that isn't cached: attributes stay true for as long as anybody asks.
    /// </summary>
    private const ulong ValidSeconds = 1 << 30;

    /// <summary>Runs that one look for data or holes takes at a time.</summary>
    private const int MaxExtents = 256;

    /// <summary>
    /// Requests in the background, as asynchronous direct I/O is (the loop driver's, io_uring's), that the kernel sends before it waits for
    /// replies; a multiple of a loop device's own depth of 128.
    /// </summary>
    private const ushort MaxBackground = 256;

    /// <summary>How often the file is open: a loop device over it has it open once, and one process may have it open more often.</summary>
    public int OpenCount { get; private set; }

    /// <summary>Nobody can open it any more.</summary>
    public bool IsClosing { get; set; }

    private readonly long _openedSeconds = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    private uint BlockBytes => (uint)Math.Clamp(device.Geometry.ChunkBytes, 4096, 1 << 20);

    /// <summary>The kernel takes requests over io_uring, and so do we.</summary>
    public bool IsOverUring { get; private set; }

    /// <summary>Judges a request that has just been received. False when it takes no reply.</summary>
    /// <param name="payloadBytes">What came after the arguments of a write.</param>
    public bool Begin(FuseRequest request, int payloadBytes)
    {
        if (request.Header->Node > FuseAbi.RootNode)
        {
            Answer(request, -Errno.IO);
            return true;
        }
        switch (request.Header->Opcode)
        {
            case FuseOpcode.Read:
                BeginRead(request);
                break;
            case FuseOpcode.Write:
                BeginWrite(request, payloadBytes);
                break;
            case FuseOpcode.Fsync or FuseOpcode.SyncFs:
                request.Operation = BlockOperation.Flush;
                device.Submit(request);
                break;
            case FuseOpcode.Fallocate:
                BeginFallocate(request);
                break;
            case FuseOpcode.Seek:
                BeginSeek(request);
                break;
            case FuseOpcode.Forget or FuseOpcode.BatchForget:
                return false;
            default:
                Answer(request, AnswerAtOnce(request));
                break;
        }
        return true;
    }

    /// <summary>The device is done with a request, or with a piece of it.</summary>
    public void Completed(FuseRequest request, int result)
    {
        if (result < 0)
        {
            Answer(request, result);
            return;
        }
        switch (request.Header->Opcode)
        {
            case FuseOpcode.Read:
                request.ReplyFromBuffer((int)request.ByteLength);
                break;
            case FuseOpcode.Write:
                // struct fuse_write_out: the size, and padding.
                *request.ReplyBody<ulong>() = (ulong)request.ByteLength;
                break;
            case FuseOpcode.Fallocate when request.ByteOffset + request.ByteLength < request.LastByteEnd:
                request.ByteOffset += request.ByteLength;
                Continue(request);
                return;
            case FuseOpcode.Seek:
                if (!TryFinishSeek(request))
                    Continue(request);
                return;
        }
        Answer(request, 0);
    }

    /// <summary>Starts the next piece of a long request.</summary>
    public void Continue(FuseRequest request)
    {
        var most = request.Operation == BlockOperation.Extents ? device.MaxExtentsBytes : device.MaxZeroBytes;
        request.ByteLength = Math.Min(request.LastByteEnd - request.ByteOffset, most);
        request.ExtentCount = MaxExtents;
        device.Submit(request);
    }

    private static void Answer(FuseRequest request, int result) => request.Answer(result);

    private void BeginRead(FuseRequest request)
    {
        var arguments = request.Arguments<FuseTransferRequest>();
        if (arguments->Size > FuseServer.MaxTransferBytes)
        {
            Answer(request, -Errno.Invalid);
            return;
        }
        request.ByteLength = BytesUpToEnd(arguments->Offset, arguments->Size);
        if (request.ByteLength == 0)
        {
            Answer(request, 0);
            return;
        }
        request.Operation = BlockOperation.Read;
        request.ByteOffset = (long)arguments->Offset;
        if (request.TryMakeRoom((int)request.ByteLength))
            device.Submit(request);
        else
            Answer(request, -Errno.NoMemory);
    }

    private void BeginWrite(FuseRequest request, int payload)
    {
        var arguments = request.Arguments<FuseTransferRequest>();
        var length = BytesUpToEnd(arguments->Offset, arguments->Size);
        if (payload < 0 || arguments->Size != (uint)payload)
            Answer(request, -Errno.Invalid);
        else if (device.IsReadOnly)
            Answer(request, -Errno.ReadOnlyFileSystem);
        else if (length == 0 && payload > 0)
            // As on a block device: there is nothing beyond the end.
            Answer(request, -Errno.NoSpace);
        else
        {
            request.Operation = BlockOperation.Write;
            (request.ByteOffset, request.ByteLength) = (length == 0 ? 0 : (long)arguments->Offset, length);
            request.TakePayload();
            device.Submit(request);
        }
    }

    private void BeginFallocate(FuseRequest request)
    {
        var arguments = request.Arguments<FuseFallocateRequest>();
        var length = BytesUpToEnd(arguments->Offset, arguments->Length);
        var mode = arguments->Mode & ~FuseAbi.FallocateKeepSize;
        if (device.IsReadOnly)
            Answer(request, -Errno.ReadOnlyFileSystem);
        else if (mode != FuseAbi.FallocatePunchHole && mode != FuseAbi.FallocateZeroRange)
            Answer(request, -Errno.NotSupported);
        else if (mode == FuseAbi.FallocatePunchHole && !device.CanDiscard)
            Answer(request, -Errno.NotSupported);
        else if (length < (long)Math.Min(arguments->Length, long.MaxValue) && mode == FuseAbi.FallocateZeroRange)
            Answer(request, -Errno.NoSpace);
        else if (length == 0)
            Answer(request, 0);
        else
        {
            // A hole in a file reads as zeroes, to the byte; a discard may leave parts of chunks.
            // mutation: hole-in-a-fuse-file-left
            request.Operation = BlockOperation.WriteZeroes;
            request.Flags = mode == FuseAbi.FallocatePunchHole ? BlockFlags.None : BlockFlags.NoHole;
            request.ByteOffset = (long)arguments->Offset;
            request.LastByteEnd = request.ByteOffset + length;
            Continue(request);
        }
    }

    private void BeginSeek(FuseRequest request)
    {
        var arguments = request.Arguments<FuseSeekRequest>();
        if (arguments->Whence is not (FuseAbi.SeekData or FuseAbi.SeekHole))
            Answer(request, -Errno.Invalid);
        else if (arguments->Offset >= (ulong)device.SizeBytes)
            Answer(request, -Errno.NoSuchAddress);
        else
        {
            if (!loop.Buffers.TryRent(MaxExtents * sizeof(BlockExtent), out var room))
            {
                Answer(request, -Errno.NoMemory);
                return;
            }
            request.Operation = BlockOperation.Extents;
            request.Memory = room;
            request.Buffer = request.Memory.Address;
            request.ByteOffset = (long)arguments->Offset;
            request.LastByteEnd = device.SizeBytes;
            Continue(request);
        }
    }

    /// <summary>Looks through the runs that have come; false when the answer lies further on.</summary>
    private bool TryFinishSeek(FuseRequest request)
    {
        var wantsData = request.Arguments<FuseSeekRequest>()->Whence == FuseAbi.SeekData;
        var runs = new ReadOnlySpan<BlockExtent>((void*)request.Buffer, request.ExtentCount);
        foreach (var run in runs)
        {
            if ((run.Source is RunSource.Data or RunSource.Origin) == wantsData)
                return Found(request.ByteOffset);
            request.ByteOffset += run.ByteLength;
        }
        if (request.ByteOffset < request.LastByteEnd)
            return false;
        if (!wantsData)
            return Found(request.LastByteEnd);
        Answer(request, -Errno.NoSuchAddress);
        return true;

        bool Found(long offset)
        {
            *request.ReplyBody<long>() = offset;
            Answer(request, 0);
            return true;
        }
    }

    /// <summary>What needs no device. 0, with the reply's body filled in, or a negative errno.</summary>
    private int AnswerAtOnce(FuseRequest request)
    {
        switch (request.Header->Opcode)
        {
            case FuseOpcode.Init:
                return Initialize(request);
            case FuseOpcode.GetAttributes:
                FillAttributes(request);
                return 0;
            case FuseOpcode.SetAttributes:
                return SetAttributes(request);
            case FuseOpcode.Statx:
                FillStatx(request);
                return 0;
            case FuseOpcode.Open when IsClosing:
                return -Errno.NoSuchDevice;
            case FuseOpcode.Open:
                // The device is the one cache; writes beside each other are its business too, and a close has nothing to say.
                OpenCount++;
                request.ReplyBody<FuseOpenReply>()->Flags = FuseAbi.OpenDirectIo | FuseAbi.OpenNoFlush | FuseAbi.OpenParallelDirectWrites;
                return 0;
            case FuseOpcode.StatFs:
                FillStatFs(request);
                return 0;
            case FuseOpcode.Lookup:
                return -Errno.NotDirectory;
            case FuseOpcode.Release:
                OpenCount--;
                return 0;
            case FuseOpcode.Destroy:
                return 0;
            default:
                // Also to interrupts, which the kernel sends no more then: whatever it wants to end is answered soon. And to flush, for a
                // close.
                return -Errno.NoSystemCall;
        }
    }

    private int Initialize(FuseRequest request)
    {
        var arguments = *request.Arguments<FuseInitRequest>();
        if (arguments.Major < FuseAbi.Major)
            return -Errno.Protocol;
        var reply = request.ReplyBody<FuseInitReply>();
        (reply->Major, reply->Minor) = (FuseAbi.Major, FuseAbi.Minor);
        // A newer kernel says it again in our words.
        if (arguments.Major > FuseAbi.Major)
            return 0;
        var offered = arguments.Flags | (arguments.Flags & FuseAbi.InitExtended) / FuseAbi.InitExtended * ((ulong)arguments.Flags2 << 32);
        const ulong wanted = FuseAbi.AsyncRead | FuseAbi.BigWrites | FuseAbi.AsyncDirectIo | FuseAbi.ParallelDirectoryOperations
            | FuseAbi.AbortError | FuseAbi.MaxPages
            | FuseAbi.InitExtended | FuseAbi.DirectIoAllowsMmap;
        var agreed = offered & (loop.HasCommands ? wanted | FuseAbi.OverUring : wanted);
        IsOverUring = (agreed & FuseAbi.OverUring) != 0;
        (reply->Flags, reply->Flags2) = ((uint)agreed, (uint)(agreed >> 32));
        reply->MaxReadahead = arguments.MaxReadahead;
        reply->MaxBackground = MaxBackground;
        reply->CongestionThreshold = MaxBackground * 3 / 4;
        reply->MaxWrite = FuseServer.MaxTransferBytes;
        reply->TimeGranularity = 1;
        reply->MaxPages = FuseServer.MaxTransferBytes / 4096;
        return 0;
    }

    private int SetAttributes(FuseRequest request)
    {
        var arguments = request.Arguments<FuseSetAttributesRequest>();
        if ((arguments->Valid & (FuseAbi.AttributeMode | FuseAbi.AttributeUser | FuseAbi.AttributeGroup)) != 0)
            return -Errno.Perm;
        if ((arguments->Valid & FuseAbi.AttributeSize) != 0 && arguments->Size != (ulong)device.SizeBytes)
            return -Errno.Perm;
        FillAttributes(request);
        return 0;
    }

    private uint Mode => FuseAbi.RegularFile | (device.IsReadOnly ? 0x100u : 0x180u);

    private void FillAttributes(FuseRequest request)
    {
        var reply = request.ReplyBody<FuseAttributesReply>();
        reply->ValidSeconds = ValidSeconds;
        reply->Inode = FuseAbi.RootNode;
        reply->Size = (ulong)device.SizeBytes;
        reply->Blocks = (ulong)device.SizeBytes / 512;
        reply->AccessSeconds = reply->ModifiedSeconds = reply->ChangedSeconds = (ulong)_openedSeconds;
        reply->Mode = Mode;
        reply->Links = 1;
        (reply->User, reply->Group) = (owner.User, owner.Group);
        reply->BlockBytes = BlockBytes;
    }

    private void FillStatx(FuseRequest request)
    {
        var reply = request.ReplyBody<FuseStatxReply>();
        const uint basicStats = 0x7ff;
        reply->ValidSeconds = ValidSeconds;
        reply->Mask = basicStats;
        reply->Inode = FuseAbi.RootNode;
        reply->Size = (ulong)device.SizeBytes;
        reply->Blocks = (ulong)device.SizeBytes / 512;
        reply->AccessSeconds = reply->ModifiedSeconds = reply->ChangedSeconds = _openedSeconds;
        reply->Mode = (ushort)Mode;
        reply->Links = 1;
        (reply->User, reply->Group) = (owner.User, owner.Group);
        reply->BlockBytes = BlockBytes;
    }

    // The loop driver takes the block size for the unit of its discards.
    private void FillStatFs(FuseRequest request)
    {
        var reply = request.ReplyBody<FuseStatFsReply>();
        reply->BlockBytes = reply->FragmentBytes = BlockBytes;
        reply->Blocks = ((ulong)device.SizeBytes + BlockBytes - 1) / BlockBytes;
        reply->Files = 1;
        reply->NameBytes = 255;
    }

    private long BytesUpToEnd(ulong byteOffset, ulong byteLength) =>
        byteOffset >= (ulong)device.SizeBytes ? 0 : (long)Math.Min(byteLength, (ulong)device.SizeBytes - byteOffset);
}
