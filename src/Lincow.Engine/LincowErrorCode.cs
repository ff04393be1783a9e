namespace Lincow;

/// <summary>What a program would do about an error. Each group of a hundred <see cref="LincowErrorCode"/>s is of one kind.</summary>
public enum LincowErrorKind
{
    /// <summary>What was asked for can't be: ask for something else.</summary>
    Argument = 1,
    /// <summary>It isn't there, or is something else: name the right one.</summary>
    NotFound = 2,
    /// <summary>Something is there already that would be lost: name another place, or say that it may be replaced.</summary>
    Exists = 3,
    /// <summary>Somebody else uses it: wait, or end that first.</summary>
    InUse = 4,
    /// <summary>It may be right, but a person has to say so.</summary>
    Unconfirmed = 5,
    /// <summary>Bytes are damaged or lost: check, then restore.</summary>
    Damaged = 6,
    /// <summary>Its state doesn't allow it: change that first (complete a commit, detach, ...).</summary>
    State = 7,
    /// <summary>This version of lincow, or this machine, can't.</summary>
    Unsupported = 8,
    /// <summary>The system or a peer failed: look at its reason (the fact <c>errno</c>, where there is one), mend that, try
    /// again.</summary>
    Failed = 9,
    /// <summary>It was told to stop: start it again.</summary>
    Interrupted = 10,
    /// <summary>An error of lincow itself.</summary>
    Internal = 11,
}

/// <summary>What went wrong. The hundreds are the <see cref="LincowErrorKind"/>; numbers don't change, new members get new ones.</summary>
public enum LincowErrorCode
{
    // Argument. What was asked for can't be.
    /// <summary>A text is not a size.</summary>
    SizeMalformed = 100,
    /// <summary>A size is not a whole number of bytes.</summary>
    SizeFractional = 101,
    /// <summary>A device would have no bytes.</summary>
    DeviceEmpty = 102,
    /// <summary>A device's size is not a multiple of 512 bytes.</summary>
    DeviceNotSectors = 103,
    /// <summary>A device would be larger than the largest that there is, 2^60 bytes.</summary>
    DeviceTooLarge = 104,
    /// <summary>A chunk size is out of bounds, or no power of two.</summary>
    ChunkSizeInvalid = 105,
    /// <summary>A path is empty.</summary>
    PathEmpty = 106,
    /// <summary>A path is longer than the format that is to remember it allows.</summary>
    PathTooLong = 107,
    /// <summary>No store has that name.</summary>
    StoreUnknown = 108,
    /// <summary>The size that an overlay may grow to is smaller than its device.</summary>
    MaxSizeTooSmall = 109,
    /// <summary>The origin is larger than the device that was to be created over it.</summary>
    OriginLargerThanSize = 110,
    /// <summary>The origin is larger than the device of a transient overlay was to be.</summary>
    OriginLargerThanTransient = 111,
    /// <summary>The origin is larger than the overlay's device.</summary>
    OriginLargerThanDevice = 112,
    /// <summary>A transient overlay was to be made over no origin.</summary>
    TransientNeedsOrigin = 113,
    /// <summary>Direct I/O needs larger chunks, or a device of whole blocks.</summary>
    DirectNeedsBlocks = 114,
    /// <summary>What was named as a map is an overlay with a map of its own.</summary>
    MapIsOverlay = 115,
    /// <summary>The map and the overlay's data were to be the same file.</summary>
    MapIsData = 116,
    /// <summary>A map was named for a store that has none of its own.</summary>
    StoreTakesNoMap = 117,
    /// <summary>The overlay was to be the origin itself.</summary>
    OverlayIsOrigin = 118,
    /// <summary>A snapshot of a live origin was to be a linear overlay.</summary>
    LinearCannotBeLive = 119,
    /// <summary>A rescue was asked for, and not read-only.</summary>
    RescueNeedsReadOnly = 120,
    /// <summary>A block device is too small for what it is to hold.</summary>
    DeviceTooSmall = 121,
    /// <summary>A dm-snapshot store's size would hold no chunk.</summary>
    StoreTooSmall = 122,
    /// <summary>A commit was to go to an origin of nothing.</summary>
    OriginIsNothing = 123,
    /// <summary>An origin is neither a file nor a block device.</summary>
    OriginKindWrong = 124,
    /// <summary>A live origin is not a whole number of sectors.</summary>
    LiveOriginNotSectors = 125,
    /// <summary>A conversion was to go into its own source.</summary>
    DestinationIsSource = 126,
    /// <summary>A format is written to regular files only, and the destination is none.</summary>
    DestinationNotRegular = 127,
    /// <summary>It wasn't said into which format to convert, and nothing suggests one.</summary>
    FormatUnsaid = 128,
    /// <summary>No format has that name.</summary>
    FormatUnknown = 129,
    /// <summary>The format to convert into can't hold such a device or origin.</summary>
    FormatCannotHold = 130,
    /// <summary>COW files of User-mode Linux know no such chunks.</summary>
    UmlChunkInvalid = 131,
    /// <summary>Two exports would have the same name.</summary>
    ExportNameTaken = 132,
    /// <summary>A Unix socket's path is too long for the kernel.</summary>
    SocketPathTooLong = 133,
    /// <summary>A file that is no socket lies where a socket was to listen.</summary>
    AddressNotSocket = 134,
    /// <summary>No way to attach has that name.</summary>
    AttachWayUnknown = 135,
    /// <summary>A file that TLS needs is not there, or holds no certificate.</summary>
    CertificateMissing = 136,
    /// <summary>qcow2 knows no such clusters, or not for such a device.</summary>
    Qcow2ChunkInvalid = 137,
    /// <summary>A control socket was asked something that it doesn't know.</summary>
    RequestUnknown = 138,
    /// <summary>A device can't have sectors of that size.</summary>
    SectorSizeInvalid = 150,

    // NotFound. It isn't there, or is something else.
    /// <summary>There is no such file.</summary>
    FileMissing = 200,
    /// <summary>The origin does not exist.</summary>
    OriginMissing = 201,
    /// <summary>It isn't known what the overlay's origin is.</summary>
    OriginUnknown = 202,
    /// <summary>The origin that a file to be converted names does not exist.</summary>
    OriginNamedMissing = 203,
    /// <summary>It is neither a file nor a block device.</summary>
    NotAFile = 204,
    /// <summary>It is not an overlay.</summary>
    NotAnOverlay = 205,
    /// <summary>It is not a dm-snapshot store.</summary>
    NotASnapshotStore = 206,
    /// <summary>A file to be converted is in none of the formats that are known.</summary>
    FormatUnrecognised = 207,
    /// <summary>The host doesn't serve that export.</summary>
    NotServed = 208,

    // Exists. Something is there that would be lost.
    /// <summary>There is a file already.</summary>
    FileExists = 300,
    /// <summary>There is an overlay already.</summary>
    OverlayExists = 301,
    /// <summary>The block device holds something.</summary>
    DeviceNotBlank = 302,
    /// <summary>A transient overlay would overwrite a file.</summary>
    TransientWouldOverwrite = 303,
    /// <summary>An earlier overlay's map lies beside, and would be taken for the new one's.</summary>
    MapBeside = 304,
    /// <summary>The destination of a conversion has come into being meanwhile.</summary>
    DestinationAppeared = 305,

    // InUse. Somebody else uses it.
    /// <summary>Another process uses the overlay; it may serve it, and can be asked.</summary>
    OverlayInUse = 400,
    /// <summary>Another process uses the file.</summary>
    FileInUse = 401,
    /// <summary>The block device is mounted, claimed or served.</summary>
    BlockDeviceInUse = 402,
    /// <summary>Another process uses the origin that is to be written to.</summary>
    OriginInUse = 403,
    /// <summary>The origin is an overlay that is being written to.</summary>
    OriginBeingWritten = 404,
    /// <summary>The origin is served for writing, with snapshots of it.</summary>
    OriginIsLive = 405,
    /// <summary>The origin has changed while it was being opened.</summary>
    OriginChanged = 406,
    /// <summary>Another conversion writes to the same destination.</summary>
    DestinationInUse = 407,
    /// <summary>Another server listens at the address.</summary>
    AddressInUse = 408,
    /// <summary>A mounted file system, an open file or a virtual machine uses the device.</summary>
    DeviceHeld = 409,
    /// <summary>The export is attached to this machine as a device.</summary>
    ExportAttached = 410,
    /// <summary>A device of the overlay waits for its server, which died.</summary>
    DeviceWaits = 411,
    /// <summary>A device that is to go doesn't, because its requests, or the kernel's, stand still.</summary>
    DeviceStandsStill = 412,
    /// <summary>An origin is mounted for writing, so it changes.</summary>
    OriginMounted = 413,
    /// <summary>Somebody has an origin open for writing.</summary>
    OriginOpenForWriting = 414,
    /// <summary>An overlay lies on a file system in its own origin.</summary>
    OriginContainsOverlay = 415,

    // Unconfirmed. A person has to say that it is right.
    /// <summary>The origin isn't what the overlay remembers of it.</summary>
    OriginDiffers = 500,
    /// <summary>The overlay names an origin, but comes from another user or machine.</summary>
    OriginForeign = 501,
    /// <summary>An overlay whose commit was cut off was made on an origin at another place.</summary>
    OriginElsewhere = 502,
    /// <summary>A file to be converted names an origin that isn't beside it.</summary>
    OriginNotBeside = 503,
    /// <summary>The origin isn't what a file to be converted remembers of it.</summary>
    ConvertedOriginDiffers = 504,
    /// <summary>The origin can't be that of a file to be converted.</summary>
    ConvertedOriginWrong = 505,
    /// <summary>A map names its data file, but comes from another user or machine.</summary>
    DataForeign = 506,
    /// <summary>A map belongs to a file that still exists, and its data file is a copy of that.</summary>
    MapOfOriginal = 507,
    /// <summary>A map was made for another path, and the data file doesn't say whose it is.</summary>
    MapOfUntagged = 508,
    /// <summary>A map belongs to another data file.</summary>
    MapWrong = 509,
    /// <summary>The way to an origin that an overlay names relative to itself leads over a symbolic link.</summary>
    OriginRelativeLink = 510,

    // Damaged. Bytes are damaged or lost: exit status 3 of the command line's check.
    /// <summary>Both superblocks of an overlay are damaged.</summary>
    SuperblocksDamaged = 600,
    /// <summary>A file is shorter than what it holds.</summary>
    Truncated = 601,
    /// <summary>A header makes no sense.</summary>
    HeaderDamaged = 602,
    /// <summary>A dm-snapshot store is shorter than its header says.</summary>
    StoreCutShort = 603,
    /// <summary>A dm-snapshot store's list of exceptions is damaged.</summary>
    ExceptionsDamaged = 604,
    /// <summary>A dm-snapshot store's list of exceptions is damaged, so nothing was committed.</summary>
    ExceptionsDamagedAtCommit = 605,
    /// <summary>A data file ends within what it holds.</summary>
    DataEnds = 606,
    /// <summary>A page of an overlay's map is damaged: requests there get an error.</summary>
    MapPageDamaged = 607,
    /// <summary>A page of an overlay's map is damaged in one copy: nothing is lost.</summary>
    MapPageMended = 608,
    /// <summary>Checked: a page of the map is damaged, and its older copy is sound.</summary>
    MapPageOlderTwin = 609,

    // State. Its state doesn't allow it.
    /// <summary>The overlay's commit was cut off and has to be completed first.</summary>
    CommitUnfinished = 700,
    /// <summary>The overlay that is served has a commit to complete. What is read of it is right.</summary>
    CommitUnfinishedServed = 701,
    /// <summary>The overlay's commit was cut off, and it can't be opened.</summary>
    CommitUnfinishedShut = 702,
    /// <summary>A dm-snapshot store was given up: full, or its disk failed.</summary>
    StoreGivenUp = 703,
    /// <summary>The overlay can't be reset as it is served now.</summary>
    ResetRefused = 704,
    /// <summary>The export is served no more.</summary>
    ServedNoMore = 705,
    /// <summary>A live origin has nothing that it could be reset to.</summary>
    NothingToReset = 706,
    /// <summary>The export is a live origin's snapshot, and goes with it.</summary>
    LiveOriginsSnapshot = 707,
    /// <summary>The device that waits for its server was attached in another way.</summary>
    WaitingDeviceDiffers = 708,
    /// <summary>What is served isn't attached to this machine, so it can't be detached.</summary>
    NotAttached = 709,
    /// <summary>Who serves it serves it for something of its own, and doesn't stop when others ask.</summary>
    StopRefused = 712,

    // Unsupported. This version, or this machine, can't.
    /// <summary>The format's version is one that this lincow doesn't know.</summary>
    VersionUnknown = 800,
    /// <summary>The format uses a feature that this lincow doesn't know.</summary>
    FeatureUnknown = 801,
    /// <summary>The format uses a feature that this lincow doesn't know, so it can't write to it.</summary>
    FeatureForbidsWriting = 802,
    /// <summary>Origins of that kind are not there yet.</summary>
    OriginKindUnsupported = 803,
    /// <summary>The origin is itself an overlay.</summary>
    OriginIsOverlay = 804,
    /// <summary>The origin is in a format of its own, and has to be raw.</summary>
    OriginIsImage = 805,
    /// <summary>The file system can't reserve space.</summary>
    CannotReserve = 806,
    /// <summary>That way to attach doesn't work here.</summary>
    AttachWayImpossible = 807,
    /// <summary>No way to attach works here.</summary>
    NothingAttaches = 808,
    /// <summary>A program that is needed is not installed.</summary>
    ProgramMissing = 809,
    /// <summary>A program that is needed is too old.</summary>
    ProgramTooOld = 810,
    /// <summary>There is no directory for the records of running servers.</summary>
    NoRunDirectory = 811,
    /// <summary>An origin is an image in another format, or compressed, and not a disk's bytes.</summary>
    OriginNotRaw = 812,
    /// <summary>An origin is one of several files into which an image was split.</summary>
    OriginIsPart = 813,

    // Failed. The system or a peer failed.
    /// <summary>The system refused; its sentence says what.</summary>
    SystemRefused = 900,
    /// <summary>Several errors, each of them a fact.</summary>
    Several = 901,
    /// <summary>A file can't be opened.</summary>
    FileUnopenable = 902,
    /// <summary>A file can't be made.</summary>
    FileUnmakeable = 903,
    /// <summary>An origin can't be opened.</summary>
    OriginUnopenable = 904,
    /// <summary>There is no space for a new overlay.</summary>
    CreateNoSpace = 905,
    /// <summary>The file system allows no file as long as a new overlay.</summary>
    CreateTooLong = 906,
    /// <summary>There is no space for what is converted.</summary>
    ConvertNoSpace = 907,
    /// <summary>A transient overlay can't be held there.</summary>
    TransientUnholdable = 908,
    /// <summary>The superblocks can't be read.</summary>
    SuperblockUnreadable = 909,
    /// <summary>A superblock can't be written.</summary>
    SuperblockUnwritable = 910,
    /// <summary>A page of the map can't be read.</summary>
    MapPageUnreadable = 911,
    /// <summary>An area of a dm-snapshot store can't be read.</summary>
    AreaUnreadable = 912,
    /// <summary>Where a byte of the device lies can't be read.</summary>
    PlaceUnreadable = 913,
    /// <summary>A part of the device can't be read.</summary>
    DeviceUnreadable = 914,
    /// <summary>Writing metadata failed; flushes fail until it succeeds.</summary>
    MetadataUnwritten = 915,
    /// <summary>There is no space for the second copies of map pages.</summary>
    TwinsNoSpace = 916,
    /// <summary>A dm-snapshot store is full.</summary>
    StoreFull = 917,
    /// <summary>The device is failed: it answers every request with an error until it is opened again.</summary>
    DeviceFailed = 918,
    /// <summary>The live origin is failed: it answers every request with an error until it is opened again.</summary>
    OriginFailed = 919,
    /// <summary>A program's own origin failed at reading.</summary>
    UserReadFailed = 920,
    /// <summary>The last flush failed: writes since the one before may be lost.</summary>
    FlushFailed = 921,
    /// <summary>Closing failed; the overlay stays marked as in use.</summary>
    CloseFailed = 922,
    /// <summary>A commit failed; it can be run again.</summary>
    CommitFailed = 923,
    /// <summary>The origin can't be made as large as the device; nothing was committed.</summary>
    OriginCannotGrow = 924,
    /// <summary>What was converted doesn't read back as it was written.</summary>
    ReadBackDiffers = 925,
    /// <summary>An export stands still or was lost, and could not be flushed.</summary>
    ExportLost = 926,
    /// <summary>Nothing can listen at the address.</summary>
    AddressUnusable = 927,
    /// <summary>The directory for records of running servers can't be used.</summary>
    RunDirectoryUnusable = 928,
    /// <summary>What is served can't be written down.</summary>
    RecordUnwritable = 929,
    /// <summary>Attaching failed.</summary>
    AttachFailed = 930,
    /// <summary>The server at the other end failed, or is none.</summary>
    PeerFailed = 931,
    /// <summary>A certificate or key can't be read.</summary>
    CertificateUnusable = 932,
    /// <summary>A program that is needed failed.</summary>
    ProgramFailed = 933,
    /// <summary>No key can be kept that shows whose overlays are, so their paths won't be followed.</summary>
    KeyUnkept = 934,
    /// <summary>A part of an origin by which it is recognised can't be read.</summary>
    SampleUnreadable = 935,
    /// <summary>An origin has no modification time by which it could be recognised.</summary>
    OriginTimeless = 936,
    /// <summary>An origin can't be locked, and is used without.</summary>
    OriginUnlockable = 937,
    /// <summary>The file system allows no file as long as a transient overlay's device.</summary>
    TransientTooLong = 938,
    /// <summary>The file system has no direct I/O.</summary>
    NoDirectIO = 939,
    /// <summary>A request ended with an error of what the device lies on: bytes that can't be read or written, or no room.</summary>
    RequestFailed = 940,
    /// <summary>An overlay can't be locked, so nothing would keep it from having two writers.</summary>
    OverlayUnlockable = 941,
    /// <summary>An origin was changed by others while it was served.</summary>
    OriginChangedMeanwhile = 942,

    // Interrupted. It was told to stop.
    /// <summary>A commit was interrupted, and can be completed.</summary>
    CommitInterrupted = 1000,
    /// <summary>A commit was interrupted before it had written anything.</summary>
    CommitNotBegun = 1001,

    // Internal. An error of lincow itself.
    /// <summary>An exception on a loop.</summary>
    LincowFault = 1100,
    /// <summary>What was converted reads back with another size.</summary>
    ReadBackSizeDiffers = 1101,
}
