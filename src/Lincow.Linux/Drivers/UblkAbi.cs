using System.Runtime.InteropServices;

namespace Lincow.Linux;

/// <summary>ublk's structures and numbers (<c>include/uapi/linux/ublk_cmd.h</c>); sizes are asserted in a test.</summary>
internal static class UblkAbi
{
    // Control commands, as ioctls encode them: _IOR or _IOWR('u', NUMBER, struct ublksrv_ctrl_cmd).
    public const uint GetInfo = 0x80207502, AddDevice = 0xc0207504, DeleteDevice = 0xc0207505, StartDevice = 0xc0207506,
        StopDevice = 0xc0207507,
        SetParameters = 0xc0207508, StartRecovery = 0xc0207510, EndRecovery = 0xc0207511, GetFeatures = 0x80207513;

    // A queue's commands: _IOWR('u', NUMBER, struct ublksrv_io_cmd).
    public const uint Fetch = 0xc0107520, CommitAndFetch = 0xc0107521;

    public const ulong Recovery = 1 << 3, RecoveryReissue = 1 << 4, IoctlEncoding = 1 << 6, UserCopy = 1 << 7;

    public const ushort StateLive = 1, StateQuiesced = 2;

    public const uint ReadOnly = 1, VolatileCache = 4, ForceUnitAccess = 8;
    public const uint BasicParameters = 1, DiscardParameters = 2;

    /// <summary>Where the data of a request is, in the character device: from here on, 2^25 bytes for each tag.</summary>
    public const long DataAt = 0x80000000;

    public const int DataShift = 25;
}

/// <summary><c>struct ublksrv_ctrl_cmd</c>, 32 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UblkControlCommand
{
    public uint Device;
    public ushort Queue;
    public ushort Length;
    public ulong Address;
    public ulong Data;
    public ushort PathLength;
    public ushort Padding;
    public uint Reserved;
}

/// <summary><c>struct ublksrv_ctrl_dev_info</c>, 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UblkDeviceInfo
{
    public ushort Queues, Depth, State, Padding0;
    public uint MaxTransferBytes, Device;
    public int ServerProcess;
    public uint Padding1;
    public ulong Flags;

    /// <summary>The server's own; the driver keeps it.</summary>
    public ulong ServerFlags;

    public uint OwnerUser, OwnerGroup;
    public ulong Reserved1, Reserved2;
}

/// <summary><c>struct ublk_params</c> up to the discard parameters, 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UblkParameters
{
    public uint Length, Types;
    public uint Attributes;
    public byte LogicalShift, PhysicalShift, OptimalShift, MinimalShift;
    public uint MaxSectors, ChunkSectors;
    public ulong DeviceSectors, VirtualBoundaryMask;
    public uint DiscardAlignment, DiscardGranularity, MaxDiscardSectors, MaxZeroSectors;
    public ushort MaxDiscardSegments, Reserved;
    public uint Padding;
}

/// <summary><c>struct ublksrv_io_cmd</c>, 16 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UblkQueueCommand
{
    public ushort Queue, Tag;
    public int Result;
    public ulong Address;
}

/// <summary><c>struct ublksrv_io_desc</c>, 24 bytes: what the kernel asks for.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct UblkDescriptor
{
    public uint OperationAndFlags, Sectors;
    public ulong StartSector, Address;

    public readonly UblkOperation Operation => (UblkOperation)(byte)OperationAndFlags;

    public readonly bool IsForceUnitAccess => (OperationAndFlags & 1 << 13) != 0;

    /// <summary>With zeroes: the space stays.</summary>
    public readonly bool IsNoUnmap => (OperationAndFlags & 1 << 15) != 0;

    public readonly long ByteOffset => (long)StartSector << 9;

    public readonly long ByteLength => (long)Sectors << 9;
}

/// <summary>UBLK_IO_OP_*.</summary>
internal enum UblkOperation : byte
{
    Read = 0,
    Write = 1,
    Flush = 2,
    Discard = 3,
    WriteZeroes = 5,
}
