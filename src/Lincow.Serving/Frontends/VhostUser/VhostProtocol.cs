namespace Lincow.Serving.Frontends.VhostUser;

/// <summary>The numbers of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst, "Front-end message types").</summary>
internal enum VhostMessage : uint
{
    GetFeatures = 1,
    SetFeatures = 2,
    SetOwner = 3,
    ResetOwner = 4,
    SetMemTable = 5,
    SetVringNum = 8,
    SetVringAddr = 9,
    SetVringBase = 10,
    GetVringBase = 11,
    SetVringKick = 12,
    SetVringCall = 13,
    SetVringErr = 14,
    GetProtocolFeatures = 15,
    SetProtocolFeatures = 16,
    GetQueueNum = 17,
    SetVringEnable = 18,
    SetBackendRequests = 21,
    GetConfig = 24,
    SetConfig = 25,
    GetInflightFd = 31,
    SetInflightFd = 32,
    ResetDevice = 34,
    GetMaxMemSlots = 36,
    AddMemReg = 37,
    RemMemReg = 38,
}

/// <summary>Features of the device and its queues (virtio 1.2, sections 5.2.3 and 6).</summary>
[Flags]
internal enum VirtioFeatures : ulong
{
    SegMax = 1UL << 2,
    ReadOnly = 1UL << 5,
    BlkSize = 1UL << 6,
    Flush = 1UL << 9,
    Topology = 1UL << 10,
    ConfigWce = 1UL << 11,
    MultiQueue = 1UL << 12,
    Discard = 1UL << 13,
    WriteZeroes = 1UL << 14,
    IndirectDescriptors = 1UL << 28,
    EventIndex = 1UL << 29,

    /// <summary>VHOST_USER_F_PROTOCOL_FEATURES: not the guest's, but the front end's.</summary>
    ProtocolFeatures = 1UL << 30,
    Version1 = 1UL << 32,
    PackedRing = 1UL << 34,
}

/// <summary>What front end and back end can do beyond the oldest protocol ("Protocol features").</summary>
[Flags]
internal enum VhostFeatures : ulong
{
    MultiQueue = 1UL << 0,
    ReplyAck = 1UL << 3,

    /// <summary>A channel for messages of ours. There are none yet, but User-mode Linux has no interrupts without it.</summary>
    BackendRequests = 1UL << 5,
    Config = 1UL << 9,
    InflightMemory = 1UL << 12,
    ResetDevice = 1UL << 13,
    ConfigureMemSlots = 1UL << 15,

    All = MultiQueue | ReplyAck | BackendRequests | Config | InflightMemory | ResetDevice | ConfigureMemSlots,
}

/// <summary>Types of a request (virtio 1.2, section 5.2.6).</summary>
internal enum VirtioBlkType : uint
{
    In = 0,
    Out = 1,
    Flush = 4,
    GetId = 8,
    Discard = 11,
    WriteZeroes = 13,
}

internal static class VhostProtocol
{
    public const int HeaderBytes = 12;
    public const uint Version = 1, VersionMask = 3, FlagReply = 4, FlagNeedReply = 8;

    /// <summary>
    /// The longest payload is a memory table: a front end with more than the 8 regions that this message allows uses AddMemReg.
    /// </summary>
    public const int MaxPayloadBytes = 1024;

    /// <summary>Size of a memory region's description, and how many SetMemTable may have.</summary>
    public const int RegionBytes = 32, MaxTableRegions = 8;

    /// <summary>Memory regions in all: hot-plugged DIMMs. Each is looked through for each address that misses the last one.</summary>
    public const int MaxRegions = 64;

    /// <summary>Queues of a device: one for each virtual processor of a large guest.</summary>
    public const int MaxQueues = 64;

    /// <summary>Entries of a queue (virtio 1.2, section 2.7: at most 32768).</summary>
    public const int MaxQueueSize = 32768;

    /// <summary>Requests of one queue in the device at once; more stay in the ring.</summary>
    public const int MaxInFlight = 256;

    /// <summary>Descriptors of one request; what QEMU allows as well.</summary>
    public const int MaxDescriptors = 1024;

    /// <summary>Data of one request. Guests ask for some 1 MiB at once.</summary>
    public const long MaxDataBytes = 32 << 20;

    /// <summary>
    /// Buffers for requests whose data isn't in one piece, of one front end; with more than that no further requests are taken until some
    /// have ended.
    /// </summary>
    public const long MaxBounceBytes = 64 << 20;

    public const byte StatusOk = 0, StatusIoError = 1, StatusUnsupported = 2;
    public const int SectorShift = 9, RequestHeaderBytes = 16, IdBytes = 20;

    /// <summary>A range of Discard and WriteZeroes (struct virtio_blk_discard_write_zeroes), and how many a request may have.</summary>
    public const int ZeroRangeBytes = 16, MaxZeroRanges = 16;

    public const uint ZeroUnmap = 1;

    /// <summary>Descriptor flags (virtio 1.2, sections 2.7.5 and 2.8).</summary>
    public const ushort DescriptorNext = 1, DescriptorWrite = 2, DescriptorIndirect = 4, PackedAvailable = 1 << 7, PackedUsed = 1 << 15;

    public const int DescriptorBytes = 16;
}

/// <summary>
/// The guest or the front end has broken the rules; the message says which. Its queue or its connection ends, nothing else.
/// </summary>
internal sealed class VhostException(string message) : Exception(message);
