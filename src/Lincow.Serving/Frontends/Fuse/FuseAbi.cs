using System.Runtime.InteropServices;

namespace Lincow.Serving.Frontends.Fuse;

/// <summary>
/// The kernel's side of /dev/fuse (<c>include/uapi/linux/fuse.h</c>, protocol 7): what a server of a single regular file meets of it. Sizes
/// and offsets are asserted in a test.
/// </summary>
internal static class FuseAbi
{
    public const int Major = 7;

    /// <summary>The newest minor version that this code was written against; the kernel takes the lower of both.</summary>
    public const int Minor = 42;

    public const ulong RootNode = 1;

    /// <summary>fuse_in_header and the longest fixed argument that comes before a payload, that of a write.</summary>
    public const int WriteHeaderBytes = 40 + 40;

    public const int RequestHeaderBytes = 40, ReplyHeaderBytes = 16, InitReplyBytes = 64;

    public const ulong AsyncRead = 1, BigWrites = 1 << 5, AsyncDirectIo = 1 << 15, ParallelDirectoryOperations = 1 << 18,
        AbortError = 1 << 21, MaxPages = 1 << 22, InitExtended = 1 << 30;
    public const ulong DirectIoAllowsMmap = 1UL << 36, OverUring = 1UL << 41;

    /// <summary>Commands of the ring: here is room for requests, and here is a reply and room for the next.</summary>
    public const uint RingRegister = 1, RingCommitAndFetch = 2;

    /// <summary>
    /// struct fuse_uring_req_header: the request's or the reply's header, then the arguments, then <see cref="FuseRingState"/>.
    /// </summary>
    public const int RingHeaderBytes = 288, RingArgumentsAt = 128, RingStateAt = 256;

    public const uint OpenDirectIo = 1, OpenNoFlush = 1 << 5, OpenParallelDirectWrites = 1 << 6;

    public const uint AttributeMode = 1, AttributeUser = 2, AttributeGroup = 4, AttributeSize = 8;

    public const uint FallocateKeepSize = 1, FallocatePunchHole = 2, FallocateZeroRange = 16;

    public const uint SeekData = 3, SeekHole = 4;

    public const uint RegularFile = 0x8000;
}

internal enum FuseOpcode : uint
{
    Lookup = 1,
    Forget = 2,
    GetAttributes = 3,
    SetAttributes = 4,
    Open = 14,
    Read = 15,
    Write = 16,
    StatFs = 17,
    Release = 18,
    Fsync = 20,
    Flush = 25,
    Init = 26,
    Interrupt = 36,
    Destroy = 38,
    BatchForget = 42,
    Fallocate = 43,
    Seek = 46,
    SyncFs = 50,
    Statx = 52,
}

/// <summary><c>struct fuse_in_header</c>, 40 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct FuseRequestHeader
{
    [FieldOffset(0)] public uint Length;
    [FieldOffset(4)] public FuseOpcode Opcode;
    [FieldOffset(8)] public ulong Unique;
    [FieldOffset(16)] public ulong Node;
}

/// <summary><c>struct fuse_out_header</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseReplyHeader
{
    public uint Length;
    public int Error;
    public ulong Unique;
}

/// <summary><c>struct fuse_uring_ent_in_out</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct FuseRingState
{
    [FieldOffset(8)] public ulong CommitId;
    [FieldOffset(16)] public uint PayloadBytes;
}

/// <summary><c>struct fuse_uring_cmd_req</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct FuseRingCommand
{
    [FieldOffset(8)] public ulong CommitId;
    [FieldOffset(16)] public ushort Queue;
}

/// <summary><c>struct fuse_init_in</c>; older kernels send less of it.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct FuseInitRequest
{
    [FieldOffset(0)] public uint Major;
    [FieldOffset(4)] public uint Minor;
    [FieldOffset(8)] public uint MaxReadahead;
    [FieldOffset(12)] public uint Flags;
    [FieldOffset(16)] public uint Flags2;
}

/// <summary><c>struct fuse_init_out</c>, 64 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = FuseAbi.InitReplyBytes)]
internal struct FuseInitReply
{
    [FieldOffset(0)] public uint Major;
    [FieldOffset(4)] public uint Minor;
    [FieldOffset(8)] public uint MaxReadahead;
    [FieldOffset(12)] public uint Flags;
    [FieldOffset(16)] public ushort MaxBackground;
    [FieldOffset(18)] public ushort CongestionThreshold;
    [FieldOffset(20)] public uint MaxWrite;
    [FieldOffset(24)] public uint TimeGranularity;
    [FieldOffset(28)] public ushort MaxPages;
    [FieldOffset(32)] public uint Flags2;
}

/// <summary><c>struct fuse_read_in</c> and <c>struct fuse_write_in</c>, 40 bytes: alike as far as they are read here.</summary>
[StructLayout(LayoutKind.Explicit, Size = 40)]
internal struct FuseTransferRequest
{
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public uint Size;
}

/// <summary><c>struct fuse_fallocate_in</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct FuseFallocateRequest
{
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public ulong Length;
    [FieldOffset(24)] public uint Mode;
}

/// <summary><c>struct fuse_lseek_in</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 24)]
internal struct FuseSeekRequest
{
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public uint Whence;
}

/// <summary><c>struct fuse_setattr_in</c>, 88 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 88)]
internal struct FuseSetAttributesRequest
{
    [FieldOffset(0)] public uint Valid;
    [FieldOffset(16)] public ulong Size;
}

/// <summary><c>struct fuse_attr_out</c>, 104 bytes: how long it stays true, and <c>struct fuse_attr</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 104)]
internal struct FuseAttributesReply
{
    [FieldOffset(0)] public ulong ValidSeconds;
    [FieldOffset(16)] public ulong Inode;
    [FieldOffset(24)] public ulong Size;
    [FieldOffset(32)] public ulong Blocks;
    [FieldOffset(40)] public ulong AccessSeconds;
    [FieldOffset(48)] public ulong ModifiedSeconds;
    [FieldOffset(56)] public ulong ChangedSeconds;
    [FieldOffset(76)] public uint Mode;
    [FieldOffset(80)] public uint Links;
    [FieldOffset(84)] public uint User;
    [FieldOffset(88)] public uint Group;
    [FieldOffset(96)] public uint BlockBytes;
}

/// <summary><c>struct fuse_statx_out</c>, 288 bytes: how long it stays true, and <c>struct fuse_statx</c> from byte 32 on.</summary>
[StructLayout(LayoutKind.Explicit, Size = 288)]
internal struct FuseStatxReply
{
    [FieldOffset(0)] public ulong ValidSeconds;
    [FieldOffset(32)] public uint Mask;
    [FieldOffset(36)] public uint BlockBytes;
    [FieldOffset(48)] public uint Links;
    [FieldOffset(52)] public uint User;
    [FieldOffset(56)] public uint Group;
    [FieldOffset(60)] public ushort Mode;
    [FieldOffset(64)] public ulong Inode;
    [FieldOffset(72)] public ulong Size;
    [FieldOffset(80)] public ulong Blocks;
    [FieldOffset(96)] public long AccessSeconds;
    [FieldOffset(128)] public long ChangedSeconds;
    [FieldOffset(144)] public long ModifiedSeconds;
}

/// <summary><c>struct fuse_open_out</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FuseOpenReply
{
    public ulong Handle;
    public uint Flags;
    public uint Padding;
}

/// <summary><c>struct fuse_kstatfs</c>, 80 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 80)]
internal struct FuseStatFsReply
{
    [FieldOffset(0)] public ulong Blocks;
    [FieldOffset(8)] public ulong FreeBlocks;
    [FieldOffset(16)] public ulong AvailableBlocks;
    [FieldOffset(24)] public ulong Files;
    [FieldOffset(40)] public uint BlockBytes;
    [FieldOffset(44)] public uint NameBytes;
    [FieldOffset(48)] public uint FragmentBytes;
}
