using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>The kernel's io_uring structures and numbers (<c>include/uapi/linux/io_uring.h</c>); sizes are asserted in a test.</summary>
internal static class UringAbi
{
    public const long SetupCall = 425, EnterCall = 426, RegisterCall = 427;

    public const uint SetupCqSize = 1 << 3, SetupSubmitAll = 1 << 7, SetupCoopTaskRun = 1 << 8, SetupTaskRunFlag = 1 << 9,
        SetupWideEntries = 1 << 10, SetupSingleIssuer = 1 << 12, SetupDeferTaskRun = 1 << 13;
    public const uint EnterGetEvents = 1, EnterExtArg = 1 << 3;
    public const uint SubmissionCqOverflow = 1 << 1, SubmissionTaskRun = 1 << 2;
    public const uint FeatureSingleMmap = 1, FeatureNoDrop = 2, FeatureExtArg = 1 << 8;
    public const long OffsetRings = 0, OffsetSqes = 0x10000000;

    public const byte OpFsync = 3, OpPoll = 6, OpSendMessage = 9, OpAccept = 13, OpAsyncCancel = 14, OpFallocate = 17, OpRead = 22,
        OpWrite = 23, OpReceive = 27, OpCommand = 46;
    public const uint FsyncDataSync = 1;
    public const long RegisterMaxWorkers = 19;
}

/// <summary>
/// <c>struct io_uring_sqe</c>, the first 64 bytes of 128 (IORING_SETUP_SQE128); the rest belongs to <see cref="UringAbi.OpCommand"/>.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct SubmissionEntry
{
    [FieldOffset(0)] public byte Opcode;
    [FieldOffset(1)] public byte Flags;
    [FieldOffset(2)] public ushort Priority;
    [FieldOffset(4)] public int Descriptor;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public ulong Address;
    [FieldOffset(24)] public uint Length;
    [FieldOffset(28)] public uint OperationFlags;
    [FieldOffset(32)] public ulong UserData;
}

/// <summary><c>struct io_uring_cqe</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CompletionEntry
{
    public ulong UserData;
    public int Result;
    public uint Flags;
}

/// <summary><c>struct io_sqring_offsets</c> and <c>struct io_cqring_offsets</c>, 40 bytes each.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RingOffsets
{
    public uint Head, Tail, RingMask, RingEntries;

    /// <summary>sq: flags; cq: overflow.</summary>
    public uint Fifth;

    /// <summary>sq: dropped; cq: cqes.</summary>
    public uint Sixth;

    /// <summary>sq: array; cq: flags.</summary>
    public uint Seventh;

    public uint Reserved;
    public ulong UserAddress;
}

/// <summary><c>struct io_uring_params</c>, 120 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RingParameters
{
    public uint SqEntries, CqEntries, Flags, SqThreadCpu, SqThreadIdle, Features, WorkQueueDescriptor;
    public uint Reserved0, Reserved1, Reserved2;
    public RingOffsets Sq, Cq;
}

/// <summary><c>struct io_uring_getevents_arg</c>, 24 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct GetEventsArgument
{
    public ulong SignalMask;
    public uint SignalMaskSize;
    public uint MinWaitMicroseconds;
    public ulong Timespec;
}
