namespace Lincow.Serving.Frontends.Nbd;

/// <summary>
/// Numbers of the NBD protocol (proto.md of the NetworkBlockDevice project; EXTENDED_HEADERS from its extension-ext-header branch), and the
/// limits that this server sets within it. Everything on the wire is big-endian.
/// </summary>
internal static class NbdProtocol
{
    // Handshake.
    public const ulong InitMagic = 0x4e42444d41474943, OptionMagic = 0x49484156454f5054, OptionReplyMagic = 0x0003e889045565a9;
    public const ushort FlagFixedNewstyle = 1, FlagNoZeroes = 2;

    // Transmission flags.
    public const ushort HasFlags = 1, ReadOnly = 1 << 1, SendFlush = 1 << 2, SendFua = 1 << 3, SendTrim = 1 << 5, SendWriteZeroes = 1 << 6,
        SendDf = 1 << 7, CanMultiConn = 1 << 8, SendCache = 1 << 10, SendFastZero = 1 << 11;

    // Information types and option replies.
    public const ushort InfoExport = 0, InfoName = 1, InfoDescription = 2, InfoBlockSize = 3;
    public const uint ReplyAck = 1, ReplyServer = 2, ReplyInfo = 3, ReplyMetaContext = 4;
    public const uint ErrorUnsupported = 0x80000001, ErrorPolicy = 0x80000002, ErrorInvalid = 0x80000003, ErrorTlsRequired = 0x80000005,
        ErrorUnknown = 0x80000006, ErrorTooBig = 0x80000009, ErrorExtendedHeaderRequired = 0x8000000a;

    // Requests and replies.
    public const uint RequestMagic = 0x25609513, SimpleReplyMagic = 0x67446698, StructuredReplyMagic = 0x668e33ef;
    public const uint ExtendedRequestMagic = 0x21e41c71, ExtendedReplyMagic = 0x6e8a278c;
    public const int RequestBytes = 28, ExtendedRequestBytes = 32, SimpleReplyBytes = 16, StructuredReplyBytes = 20,
        ExtendedReplyBytes = 32;
    public const ushort FlagFua = 1, FlagNoHole = 2, FlagDf = 4, FlagReqOne = 8, FlagFastZero = 16, FlagPayloadLength = 32;
    public const ushort ReplyDone = 1;
    public const ushort ChunkNone = 0, ChunkOffsetData = 1, ChunkOffsetHole = 2, ChunkBlockStatus = 5, ChunkBlockStatusExtended = 6,
        ChunkError = 0x8001;

    // Metadata contexts.
    public const string BaseAllocation = "base:allocation", LincowOverlay = "lincow:overlay";
    public const uint BaseContextId = 1, OverlayContextId = 2;
    public const uint StateHole = 1, StateZero = 2;

    /// <summary>lincow:overlay: the overlay decides the range's content; bit 1 as well: it decides that it is zero.</summary>
    public const uint OverlayHolds = 1, OverlayZero = 2;

    /// <summary>The largest read or write: what clients in the field send at most (nbdkit and qemu-nbd stop at 32 to 64 MiB).</summary>
    public const int MaxPayloadBytes = 64 << 20;

    /// <summary>
    /// The longest option: names have at most 4096 bytes (proto.md, "Conventions"), and a list of queries needs a few of them. With its
    /// header it fits in a buffer of 32 KiB.
    /// </summary>
    public const int MaxOptionBytes = (32 << 10) - 16;

    /// <summary>A longer option than this isn't even read to its end: the connection is closed.</summary>
    public const int MaxSkippedOptionBytes = 1 << 20;

    /// <summary>
    /// From so many bytes of answers on, they are sent before anything else is answered. One answer more follows at most: less than 16 KiB.
    /// </summary>
    public const int MaxHandshakeOutputBytes = 16 << 10;

    /// <summary>What a connection takes at most while it shakes hands: an option, its answers, and those once more on their way.</summary>
    public const int HandshakeBytes = 96 << 10;

    /// <summary>What a connection takes at most for its TLS: two buffers of copies, SslStream's own, the session.</summary>
    public const int TlsBytes = 384 << 10;

    /// <summary>proto.md, "Conventions": strings.</summary>
    public const int MaxNameBytes = 4096;

    /// <summary>How long a client may take from connecting to transmission.</summary>
    public const int HandshakeMilliseconds = 30_000;

    /// <summary>How long a client may take to receive its last replies when the server ends.</summary>
    public const int GraceMilliseconds = 5_000;

    /// <summary>
    /// Connections at once in a process; more are closed at once. Each costs about 130 KiB when idle, and 20 KiB from the thousandth on.
    /// </summary>
    public const int MaxConnections = 8192;

    /// <summary>Of them, those that came by TCP without a certificate: others find a place even when these are all taken.</summary>
    public const int MaxStrangers = 7168;

    /// <summary>Requests of one connection in the device at once; beyond it the connection's socket is not read.</summary>
    public const int MaxRequestsInFlight = 256;

    /// <summary>Bytes of one connection's requests in memory; one request of the largest size always fits.</summary>
    public const long MaxBytesInFlight = 64L << 20;

    /// <summary>What may be on its way to a client: two large reads' worth.</summary>
    public const int SendBufferBytes = 2 << 20;
}

internal enum NbdOption : uint
{
    ExportName = 1,
    Abort = 2,
    List = 3,
    StartTls = 5,
    Info = 6,
    Go = 7,
    StructuredReply = 8,
    ListMetaContext = 9,
    SetMetaContext = 10,
    ExtendedHeaders = 11,
}

internal enum NbdCommand : ushort
{
    Read = 0,
    Write = 1,
    Disconnect = 2,
    Flush = 3,
    Trim = 4,
    Cache = 5,
    WriteZeroes = 6,
    BlockStatus = 7,
}

/// <summary>The protocol's error numbers (proto.md, "Error values") for errno values.</summary>
internal static class NbdError
{
    public const uint Perm = 1, IO = 5, NoMemory = 12, Invalid = 22, NoSpace = 28, Overflow = 75, NotSupported = 95, Shutdown = 108;

    public static uint FromResult(int result) => result >= 0 ? 0 : -result switch
    {
        1 or 13 or 30 => Perm,
        12 => NoMemory,
        22 => Invalid,
        27 or 28 or 122 => NoSpace,
        75 => Overflow,
        95 => NotSupported,
        108 => Shutdown,
        _ => IO,
    };
}
