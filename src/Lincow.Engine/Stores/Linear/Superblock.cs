using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using System.Text.Unicode;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.Linear;

/// <summary>Where the map lies.</summary>
internal enum LinearLayout
{
    /// <summary>Superblock, map and data in one file; the data at a constant shift.</summary>
    Front = 0,

    /// <summary>Superblock and map in a file of their own; the data at shift 0.</summary>
    Separate = 1,
}

[Flags]
internal enum SuperblockFlags : uint
{
    None = 0,

    /// <summary>A writer has the overlay open, or had it when it was cut off.</summary>
    InUse = 1,

    /// <summary>Space of an earlier generation may not have been given back yet.</summary>
    ReclaimPending = 2,
}

/// <summary>
/// The superblock (docs/format.md, "Superblock"): 4096 bytes, little-endian, in two slots at bytes 0 and 4096. An update writes one slot,
/// syncs, then writes the other: at rest both are equal, and a cut in between leaves one of the two states whole.
/// </summary>
internal sealed record Superblock
{
    public const int SizeBytes = 4096;
    public const uint CurrentVersion = 1;

    /// <summary>The map follows the superblocks and what is kept free for later.</summary>
    public const long MapOffsetBytes = 64 << 10;

    /// <summary>The shift is a multiple of this.</summary>
    public const long ShiftUnitBytes = 1 << 20;

    public const int MaxOriginUriBytes = 2048;
    public const int MaxDataPathBytes = 1024;
    private const int SamplesOffset = 3344;

    /// <summary>
    /// Read-only-compatible: a commit is unfinished (<see cref="IsCommitUnfinished"/>). Who doesn't know of it would forget it, and must
    /// not write.
    /// </summary>
    private const ulong CommitFeature = 1;

    private const ulong KnownIncompatible = 0, KnownReadOnlyCompatible = CommitFeature;

    /// <summary>Compatible bits 0 to 2, a number: 0 for sectors that aren't remembered, else sectors of 256 bytes shifted by it.</summary>
    private const ulong SectorFeature = 7;

    /// <summary>"LINCOW", then the pair that shows a text-mode transfer.</summary>
    private static ReadOnlySpan<byte> Magic => "LINCOW\r\n"u8;

    public required Guid Uuid { get; init; }
    public ulong Compatible { get; init; }
    public ulong ReadOnlyCompatible { get; init; }
    public ulong Incompatible { get; init; }

    /// <summary>Counts the superblock's own updates.</summary>
    public ulong Sequence { get; init; }

    /// <summary>Map pages of a smaller generation read as empty. Starts at 1.</summary>
    public required ulong Generation { get; init; }

    /// <summary>The generation in which a commit was begun that isn't complete; 0 when there is none.</summary>
    public ulong CommitGeneration { get; init; }

    public required long DeviceBytes { get; init; }

    /// <summary>The map and the layout have room for a device of this size.</summary>
    public required long MaxDeviceBytes { get; init; }

    public required int ChunkShift { get; init; }
    public required LinearLayout Layout { get; init; }
    public SuperblockFlags Flags { get; init; }

    /// <summary>Byte offset of data chunk 0 in the data file: the shift.</summary>
    public required long DataOffset { get; init; }

    public required OriginIdentity Origin { get; init; }
    public required string OriginUri { get; init; }

    /// <summary>Where the data lies, when it is not in the same file.</summary>
    public string DataPath { get; init; } = "";

    /// <summary>Under whose key the two paths were written (<see cref="HostMark"/>); 0 for nobody's.</summary>
    public ulong Mark { get; init; }

    /// <summary>
    /// Why the paths in it must not be followed, a part of a sentence; null when this user wrote them on this machine.
    /// </summary>
    /// <param name="file">The file that it lies in.</param>
    public string? WhyForeign(LinuxFile file) => HostMark.WhyForeign(file, Mark, Uuid, OriginUri, DataPath);

    /// <summary>The same with paths that this user vouches for.</summary>
    public Superblock Marked() => this with { Mark = HostMark.Of(Uuid, OriginUri, DataPath) };

    /// <summary>The device's logical sectors; null when they aren't remembered.</summary>
    public int? SectorBytes
    {
        get => (Compatible & SectorFeature) is >= 1 and <= 4 and var number ? 256 << (int)number : null;
        init => Compatible = Compatible & ~SectorFeature | (value is { } bytes ? (ulong)BitOperations.Log2((uint)bytes / 256) : 0);
    }

    public Geometry Geometry => new(DeviceBytes, ChunkShift);
    public bool InUse => (Flags & SuperblockFlags.InUse) != 0;

    /// <summary>The origin holds a part of what the overlay held, and only both together are the device.</summary>
    public bool IsCommitUnfinished => CommitGeneration == Generation;

    /// <summary>
    /// The same over an origin that was recognised or accepted. While a commit is unfinished it isn't claimed to be known: were a wrong one
    /// accepted and recorded, the right one would be refused.
    /// </summary>
    public Superblock Over(string uri, OriginIdentity origin) =>
        // mutation: cut-commit-settles-its-origin
        this with { OriginUri = uri, Origin = IsCommitUnfinished ? OriginIdentity.Unsettled(origin, DeviceBytes) : origin };

    /// <summary>
    /// An unfinished commit is given up, and with it what the overlay holds. What the origin is like then, half old, half new, is recorded
    /// nowhere, so it is not claimed to be settled: the user may put another one in its place.
    /// </summary>
    public Superblock WithoutCommit() => IsCommitUnfinished
        ? this with { CommitGeneration = 0, Origin = OriginIdentity.Unsettled(Origin, DeviceBytes) } : this;

    /// <summary>Bytes of all map pages that the maximum size can need, both slots.</summary>
    public long MapBytes => ChunkMap.PagesFor(new Geometry(MaxDeviceBytes, ChunkShift).ChunkCount) * MapFormat.PairBytes;

    /// <summary>How long the file with the map must be.</summary>
    public long MapFileBytes => Layout == LinearLayout.Front ? DataOffset + DeviceBytes : MapOffsetBytes + MapBytes;

    /// <summary>How long the file with the data must be.</summary>
    public long DataFileBytes => DataOffset + DeviceBytes;

    /// <summary>The smallest shift that leaves room for the map.</summary>
    public static long ShiftFor(long maxDeviceBytes, int chunkShift)
    {
        var mapEnd = MapOffsetBytes + ChunkMap.PagesFor(new Geometry(maxDeviceBytes, chunkShift).ChunkCount) * MapFormat.PairBytes;
        return (mapEnd + ShiftUnitBytes - 1) / ShiftUnitBytes * ShiftUnitBytes;
    }

    /// <summary>Whether a file begins as an overlay with its map in front, or as a map, does.</summary>
    public static bool HasMagic(ReadOnlySpan<byte> head) => head.StartsWith(Magic);

    public void Encode(Span<byte> block)
    {
        block.Clear();
        Magic.CopyTo(block);
        BinaryPrimitives.WriteUInt32LittleEndian(block[8..], CurrentVersion);
        Uuid.TryWriteBytes(block[16..], bigEndian: true, out _);
        BinaryPrimitives.WriteUInt64LittleEndian(block[32..], Compatible);
        BinaryPrimitives.WriteUInt64LittleEndian(block[40..], ReadOnlyCompatible | (IsCommitUnfinished ? CommitFeature : 0));
        BinaryPrimitives.WriteUInt64LittleEndian(block[48..], Incompatible);
        BinaryPrimitives.WriteUInt64LittleEndian(block[56..], Sequence);
        BinaryPrimitives.WriteUInt64LittleEndian(block[64..], Generation);
        BinaryPrimitives.WriteInt64LittleEndian(block[72..], DeviceBytes);
        BinaryPrimitives.WriteInt64LittleEndian(block[80..], MaxDeviceBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(block[88..], (uint)ChunkShift);
        BinaryPrimitives.WriteUInt32LittleEndian(block[92..], (uint)Layout);
        BinaryPrimitives.WriteUInt32LittleEndian(block[96..], (uint)Flags);
        BinaryPrimitives.WriteInt64LittleEndian(block[104..], MapOffsetBytes);
        BinaryPrimitives.WriteInt64LittleEndian(block[112..], DataOffset);
        BinaryPrimitives.WriteUInt64LittleEndian(block[120..], CommitGeneration);
        Origin.Encode(block.Slice(128, OriginIdentity.EncodedBytes));
        WriteString(block[192..], OriginUri, MaxOriginUriBytes);
        WriteString(block[2304..], DataPath, MaxDataPathBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(block[3336..], Mark);
        Origin.Samples?.Encode(block.Slice(SamplesOffset, OriginSamples.EncodedBytes), Origin.SampleHash);
        BinaryPrimitives.WriteUInt32LittleEndian(block[12..], Checksum(block));
    }

    /// <summary>Reads a slot. Null when it holds no sound superblock; <paramref name="problem"/> says why.</summary>
    public static Superblock? TryDecode(ReadOnlySpan<byte> block, string path, out SlotProblem problem)
    {
        problem = SlotProblem.None;
        if (!block[..8].SequenceEqual(Magic))
        {
            problem = block.IndexOfAnyExcept((byte)0) < 0 ? SlotProblem.Blank : SlotProblem.NotLincow;
            return null;
        }
        // Sound first: a version or a feature bit that is a flipped bit must not be believed.
        if (BinaryPrimitives.ReadUInt32LittleEndian(block[12..]) != Checksum(block))
        {
            problem = SlotProblem.Checksum;
            return null;
        }
        var version = BinaryPrimitives.ReadUInt32LittleEndian(block[8..]);
        if (version != CurrentVersion)
            throw new LincowException(LinearErrors.VersionUnknown(path, version, CurrentVersion));
        var incompatible = BinaryPrimitives.ReadUInt64LittleEndian(block[48..]) & ~KnownIncompatible;
        if (incompatible != 0)
            throw new LincowException(LinearErrors.FeatureUnknown(path, BitOperations.TrailingZeroCount(incompatible), incompatible));
        var result = new Superblock
        {
            Uuid = new Guid(block.Slice(16, 16), bigEndian: true),
            Compatible = BinaryPrimitives.ReadUInt64LittleEndian(block[32..]),
            ReadOnlyCompatible = BinaryPrimitives.ReadUInt64LittleEndian(block[40..]) & ~CommitFeature,
            Sequence = BinaryPrimitives.ReadUInt64LittleEndian(block[56..]),
            Generation = BinaryPrimitives.ReadUInt64LittleEndian(block[64..]),
            CommitGeneration = BinaryPrimitives.ReadUInt64LittleEndian(block[120..]),
            DeviceBytes = BinaryPrimitives.ReadInt64LittleEndian(block[72..]),
            MaxDeviceBytes = BinaryPrimitives.ReadInt64LittleEndian(block[80..]),
            ChunkShift = (int)BinaryPrimitives.ReadUInt32LittleEndian(block[88..]),
            Layout = (LinearLayout)BinaryPrimitives.ReadUInt32LittleEndian(block[92..]),
            Flags = (SuperblockFlags)BinaryPrimitives.ReadUInt32LittleEndian(block[96..]),
            DataOffset = BinaryPrimitives.ReadInt64LittleEndian(block[112..]),
            Origin = OriginIdentity.Decode(block.Slice(128, OriginIdentity.EncodedBytes),
                block.Slice(SamplesOffset, OriginSamples.EncodedBytes)),
            OriginUri = ReadString(block[192..], MaxOriginUriBytes),
            DataPath = ReadString(block[2304..], MaxDataPathBytes),
            Mark = BinaryPrimitives.ReadUInt64LittleEndian(block[3336..]),
        };
        if (!IsPath(block[192..], MaxOriginUriBytes) || !IsPath(block[2304..], MaxDataPathBytes)
            || !result.IsPlausible(BinaryPrimitives.ReadInt64LittleEndian(block[104..])))
        {
            problem = SlotProblem.Fields;
            return null;
        }
        return result;
    }

    /// <summary>The name of the read-only-compatible feature bit that forbids writing, if there is one.</summary>
    public string? ForbidsWriting =>
        (ReadOnlyCompatible & ~KnownReadOnlyCompatible) is var unknown && unknown != 0
            ? $"the read-only-compatible feature bit {BitOperations.TrailingZeroCount(unknown)}"
            : null;

    // A checksum shows that a program wrote this, not that the program was honest: every number is checked before it is used.
    private bool IsPlausible(long mapOffset) =>
        ChunkShift is >= 9 and <= 26 && Origin.Kind is OriginKind.Zero or OriginKind.File or OriginKind.BlockDevice
        && DeviceBytes is > 0 and <= Geometry.MaxDeviceBytes && DeviceBytes % 512 == 0
        && MaxDeviceBytes >= DeviceBytes && MaxDeviceBytes <= Geometry.MaxDeviceBytes
        && Generation is > 0 and <= long.MaxValue && CommitGeneration <= Generation && Sequence <= long.MaxValue
            && mapOffset == MapOffsetBytes
        && (Layout == LinearLayout.Front
            // mutation: data-offset-unchecked (2 lines)
            ? DataOffset % ShiftUnitBytes == 0 && DataOffset >= ShiftFor(MaxDeviceBytes, ChunkShift)
                && DataOffset <= Geometry.MaxDeviceBytes
            : Layout == LinearLayout.Separate && DataOffset == 0);

    private static uint Checksum(ReadOnlySpan<byte> block)
    {
        var crc = uint.MaxValue;
        for (var i = 0; i < SizeBytes; i += 4)
            crc = BitOperations.Crc32C(crc, i == 12 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(block[i..]));
        return ~crc;
    }

    private static void WriteString(Span<byte> field, string text, int maxBytes)
    {
        var length = Encoding.UTF8.GetByteCount(text);
        if (length > maxBytes)
            throw new LincowException(ArgumentErrors.PathTooLong(text, length, maxBytes));
        BinaryPrimitives.WriteUInt32LittleEndian(field, (uint)length);
        Encoding.UTF8.GetBytes(text, field[4..]);
    }

    // No system call takes a NUL in a path, and what isn't UTF-8 would come back longer than it was.
    private static bool IsPath(ReadOnlySpan<byte> field, int maxBytes)
    {
        var length = BinaryPrimitives.ReadUInt32LittleEndian(field);
        return length <= maxBytes && Utf8.IsValid(field.Slice(4, (int)length)) && !field.Slice(4, (int)length).Contains((byte)0);
    }

    private static string ReadString(ReadOnlySpan<byte> field, int maxBytes)
    {
        var length = BinaryPrimitives.ReadUInt32LittleEndian(field);
        return length <= maxBytes ? Encoding.UTF8.GetString(field.Slice(4, (int)length)) : "";
    }
}

internal enum SlotProblem
{
    None,
    Blank,
    NotLincow,
    Checksum,
    Fields,
}
