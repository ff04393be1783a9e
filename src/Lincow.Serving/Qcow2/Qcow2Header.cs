using System.Buffers.Binary;
using System.Text;

namespace Lincow.Serving.Qcow2;

/// <summary>
/// The part of a qcow2 file's header that decides whether and how it can be read (QEMU, docs/interop/qcow2.rst): big-endian. Everything
/// else is left to qemu's own programs.
/// </summary>
/// <param name="SizeBytes">The device's size.</param>
/// <param name="GranularityBytes">A cluster, or a subcluster.</param>
/// <param name="BackingFile">As it is written there; null if there is none.</param>
/// <param name="BackingFormat">As it is written there; null if nothing is.</param>
internal sealed record Qcow2Header(long SizeBytes, int GranularityBytes, string? BackingFile, string? BackingFormat)
{
    /// <summary>Header, extensions and the name of the backing file lie in the first cluster.</summary>
    public const int MaxBytes = 1 << MaxClusterBits;

    private const uint Magic = 0x514649fb, BackingFormatExtension = 0xe2792aca;
    private const int MinClusterBits = 9, MaxClusterBits = 21, HeaderBytesOfVersion2 = 72, MaxNameBytes = 1023;
    private const ulong Corrupt = 2, ExternalData = 4, Compression = 8, ExtendedL2 = 16,
        Known = 1 | Corrupt | ExternalData | Compression | ExtendedL2;

    public static bool HasMagic(ReadOnlySpan<byte> head) => head.Length >= 4 && BinaryPrimitives.ReadUInt32BigEndian(head) == Magic;

    /// <summary>The header, or null and a reason with what to do.</summary>
    public static Qcow2Header? Decode(ReadOnlySpan<byte> head, out string? problem)
    {
        problem = "it is too short to have a header";
        if (head.Length < 104 || !HasMagic(head))
            return null;
        var version = BinaryPrimitives.ReadUInt32BigEndian(head[4..]);
        var nameOffset = BinaryPrimitives.ReadUInt64BigEndian(head[8..]);
        var nameBytes = BinaryPrimitives.ReadUInt32BigEndian(head[16..]);
        var clusterBits = BinaryPrimitives.ReadUInt32BigEndian(head[20..]);
        var size = BinaryPrimitives.ReadUInt64BigEndian(head[24..]);
        var features = version >= 3 ? BinaryPrimitives.ReadUInt64BigEndian(head[72..]) : 0;
        var headerBytes = version >= 3 ? BinaryPrimitives.ReadUInt32BigEndian(head[100..]) : HeaderBytesOfVersion2;
        problem = version is not (2 or 3) ? $"its version is {version}, and 2 and 3 are known"
            : clusterBits is < MinClusterBits or > MaxClusterBits ? $"its clusters would have 2^{clusterBits} bytes"
            : size is 0 or > Geometry.MaxDeviceBytes ? $"its device would have {size} bytes"
            : BinaryPrimitives.ReadUInt32BigEndian(head[32..]) != 0 ? "it is encrypted. Decrypt it first: qemu-img convert"
            : (features & ExternalData) != 0
                ? "its data lies in another file, and a file from elsewhere could name any. Bring it together first: qemu-img convert"
            : (features & Corrupt) != 0 ? "it is marked as corrupt. Repair it first: qemu-img check -r all"
            : (features & ~Known) != 0 ? $"it uses features that this lincow doesn't know (0x{features:x})"
            : nameOffset != 0 && (nameBytes is 0 or > MaxNameBytes || nameOffset > (ulong)head.Length - nameBytes
                || nameOffset > 1UL << (int)clusterBits) ? "the name of its backing file lies outside of its header"
            : headerBytes < HeaderBytesOfVersion2 || headerBytes > head.Length ? $"its header would have {headerBytes} bytes"
            : null;
        if (problem is not null)
            return null;
        var granularity = 1 << ((int)clusterBits - ((features & ExtendedL2) != 0 ? 5 : 0));
        var name = nameOffset == 0 ? null : Encoding.UTF8.GetString(head.Slice((int)nameOffset, (int)nameBytes));
        return new Qcow2Header((long)size, granularity, name, FindBackingFormat(head[(int)headerBytes..]));
    }

    private static string? FindBackingFormat(ReadOnlySpan<byte> extensions)
    {
        while (extensions.Length >= 8)
        {
            var (type, length) = (BinaryPrimitives.ReadUInt32BigEndian(extensions), BinaryPrimitives.ReadUInt32BigEndian(extensions[4..]));
            if (type == 0 || length > extensions.Length - 8)
                return null;
            if (type == BackingFormatExtension)
                return Encoding.UTF8.GetString(extensions.Slice(8, (int)length));
            extensions = extensions[Math.Min(extensions.Length, 8 + ((int)length + 7) / 8 * 8)..];
        }
        return null;
    }
}
