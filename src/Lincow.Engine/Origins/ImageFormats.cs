using System.Buffers.Binary;

namespace Lincow.Origins;

/// <summary>
/// Formats in which a disk's content doesn't lie where a disk has it: images with a structure of their own, compressed ones, archives. They
/// are told by content alone, and only by what no disk has by accident: a magic number that is short is checked together with fields that
/// have few values (a disk that is encrypted as a whole begins with anything). What lies at the end of a disk may be left over from what
/// was there before, so a trailer counts in a file only, and only if it fits the file's length.
/// </summary>
internal static class ImageFormats
{
    /// <summary>What is looked at from the start.</summary>
    public const int HeadBytes = 4096;

    /// <summary>What is looked at before the end.</summary>
    public const int TailBytes = 512;

    private const int VhdFixed = 2, VhdDifferencing = 4;

    /// <summary>The name of the format; null for what may be a disk.</summary>
    /// <param name="head">The first <see cref="HeadBytes"/>, or as many as there are.</param>
    /// <param name="tail">The last <see cref="TailBytes"/>; empty for what is as long as a disk and no file.</param>
    /// <param name="sizeBytes">How long it is.</param>
    public static string? Recognise(ReadOnlySpan<byte> head, ReadOnlySpan<byte> tail, long sizeBytes)
    {
        // So that no look at a short one goes beyond its end.
        Span<byte> whole = stackalloc byte[HeadBytes];
        whole.Clear();
        head[..Math.Min(head.Length, HeadBytes)].CopyTo(whole);
        return OfMachines(whole) ?? OfExaminers(whole) ?? Compressed(whole) ?? Archive(whole, isFile: tail.Length > 0)
            ?? ByTrailer(tail, sizeBytes);
    }

    // What virtual machines have.
    private static string? OfMachines(ReadOnlySpan<byte> head) =>
        Begins(head, [0x51, 0x46, 0x49, 0xfb]) && Big(head, 4) is 1 or 2 or 3 ? "qcow2"
        : Begins(head, "QED\0"u8) && IsPowerOfTwo(Little(head, 4), 4096, 64 << 20) ? "QED"
        : Begins(head, "KDMV"u8) && Little(head, 4) is >= 1 and <= 3 || Begins(head, "COWD"u8) && Little(head, 4) == 1
            || Begins(head, [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0]) && Little(head, 12) == 2 || IsVmdkDescriptor(head) ? "VMDK"
        : Little(head, 64) == 0xbeda107f && Little(head, 68) >> 16 <= 1 ? "VDI"
        : Begins(head, "vhdxfile"u8) ? "VHDX"
        : IsVhdFooter(head[..TailBytes], out _, out _) ? "VHD"
        : Begins(head, "WithoutFreeSpace"u8) || Begins(head, "WithouFreSpacExt"u8) ? "Parallels"
        : Begins(head, "Bochs Virtual HD Image\0"u8) ? "Bochs"
        : Begins(head, "OOOM"u8) && Big(head, 4) is >= 1 and <= 3 ? "UML COW"
        : Begins(head, [0x3a, 0xff, 0x26, 0xed]) && Little(head, 4) is 1 && Little(head, 8) == 0x000c001c ? "Android sparse"
        : Begins(head, "#!/bin/sh\n#V2.0 Format\n"u8) || Begins(head, "#!/bin/sh\n#V3.0 Format\n"u8) ? "cloop"
        : null;

    // What examiners of disks and makers of backups have.
    private static string? OfExaminers(ReadOnlySpan<byte> head) =>
        Begins(head, [.. "EVF\t\r\n"u8, 0xff, 0]) || Begins(head, [.. "EVF2\r\n"u8, 0x81, 0])
            || Begins(head, [.. "LVF\t\r\n"u8, 0xff, 0]) || Begins(head, [.. "LEF2\r\n"u8, 0x81, 0]) ? "EWF"
        : Begins(head, "AFF10\r\n\0"u8) ? "AFF"
        : Begins(head, "encrcdsa"u8) ? "DMG"
        : Begins(head, "partclone-image"u8) ? "partclone"
        : Begins(head, "PaRtImAgE-VoLuMe"u8) ? "Partimage"
        : Begins(head, "\0ntfsclone-image"u8) ? "ntfsclone"
        : Begins(head, "MSWIM\0\0\0"u8) ? "WIM"
        : null;

    private static string? Compressed(ReadOnlySpan<byte> head) =>
        // Deflate, no reserved flag, a level and a system that there are.
        Begins(head, [0x1f, 0x8b, 8]) && (head[3] & 0xe0) == 0 && head[8] is 0 or 2 or 4 && head[9] is <= 13 or 255 ? "gzip"
        : Begins(head, [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0]) && head[6] == 0 && head[7] <= 0x0f ? "xz"
        : IsZstd(head) || Little(head, 0) is >= 0x184d2a50 and <= 0x184d2a5f && Little(head, 4) is > 0 and <= 64
            && IsZstd(head[(8 + (int)Little(head, 4))..]) ? "zstd"
        : Begins(head, "BZh"u8) && head[3] is >= (byte)'1' and <= (byte)'9'
            && (Begins(head[4..], [0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
                || Begins(head[4..], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90])) ? "bzip2"
        : Little(head, 0) == 0x184d2204 && (head[4] & 0xc2) == 0x40 && (head[5] & 0x8f) == 0 && head[5] >> 4 >= 4
            || Little(head, 0) == 0x184c2102 && Little(head, 4) is > 0 and <= 0x00880000 ? "lz4"
        : Begins(head, "LZIP"u8) && head[4] is 0 or 1 && (head[5] & 0x1f) is >= 12 and <= 29 ? "lzip"
        : Begins(head, [0x89, (byte)'L', (byte)'Z', (byte)'O', 0, 0x0d, 0x0a, 0x1a, 0x0a]) ? "lzop"
        // Five bytes of properties, and a length that isn't known.
        : Begins(head, [0x5d, 0, 0]) && IsPowerOfTwo(Little(head, 1), 1 << 16, 1 << 30) && Begins(head[5..], Ones) ? "lzma"
        : null;

    private static string? Archive(ReadOnlySpan<byte> head, bool isFile) =>
        Begins(head, "PK\u0003\u0004"u8) && Little(head, 4) is var version && (version & 0xff) <= 63 && (version >> 8 & 0xff) <= 19
            ? (head.IndexOf("aff4"u8) >= 0 ? "AFF4" : "ZIP")
        : Begins(head, [(byte)'7', (byte)'z', 0xbc, 0xaf, 0x27, 0x1c]) ? "7z"
        : Begins(head, [.. "Rar!"u8, 0x1a, 7]) ? "RAR"
        // On a device it may be what somebody keeps there.
        : isFile && IsTar(head) ? "tar"
        : null;

    private static string? ByTrailer(ReadOnlySpan<byte> tail, long sizeBytes)
    {
        if (tail.Length < TailBytes)
            return null;
        // mutation: trailer-of-any-length
        if (IsVhdFooter(tail, out var type, out var contentBytes) && type == VhdFixed && contentBytes == sizeBytes - TailBytes)
            return "VHD";
        if (Begins(tail, "koly"u8) && Big(tail, 4) == 4 && Big(tail, 8) == TailBytes)
            return "DMG";
        return Begins(tail[^8..], "cdsaencr"u8) ? "DMG" : null;
    }

    /// <summary>The footer of a virtual hard disk, of which a copy lies in front unless its size is fixed ("Virtual Hard Disk Image Format
    /// Specification", 2006): its checksum is that of its other bytes.</summary>
    private static bool IsVhdFooter(ReadOnlySpan<byte> footer, out int type, out long contentBytes)
    {
        (type, contentBytes) = ((int)Big(footer, 60), BinaryPrimitives.ReadInt64BigEndian(footer[48..]));
        if (!Begins(footer, "conectix"u8) || type is < VhdFixed or > VhdDifferencing)
            return false;
        uint sum = 0;
        for (var i = 0; i < TailBytes; i++)
            sum += i is >= 64 and < 68 ? 0u : footer[i];
        return ~sum == Big(footer, 64);
    }

    // A text: lines of comments, of which the first says what it is, then "version=1".
    private static bool IsVmdkDescriptor(ReadOnlySpan<byte> head)
    {
        const string title = "# Disk DescriptorFile";
        for (var i = 0; i < title.Length; i++)
        {
            if (head[i] >= 0x80 || char.ToLowerInvariant((char)head[i]) != char.ToLowerInvariant(title[i]))
                return false;
        }
        return true;
    }

    private static bool IsZstd(ReadOnlySpan<byte> head) => Little(head, 0) == 0xfd2fb528 && (head[4] & 0x08) == 0;

    private static bool IsTar(ReadOnlySpan<byte> head)
    {
        const int headerBytes = 512, checksumOffset = 148, checksumBytes = 8;
        if (!Begins(head[257..], "ustar"u8))
            return false;
        long sum = 0, recorded = 0;
        for (var i = 0; i < headerBytes; i++)
            sum += i is >= checksumOffset and < checksumOffset + checksumBytes ? (byte)' ' : head[i];
        foreach (var digit in head.Slice(checksumOffset, checksumBytes))
        {
            if (digit is >= (byte)'0' and <= (byte)'7')
                recorded = recorded * 8 + (digit - '0');
        }
        return sum == recorded;
    }

    private static ReadOnlySpan<byte> Ones => [255, 255, 255, 255, 255, 255, 255, 255];

    private static bool Begins(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> with) => bytes.StartsWith(with);

    private static bool IsPowerOfTwo(uint value, uint least, uint most) => value >= least && value <= most && (value & (value - 1)) == 0;

    private static uint Little(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);

    private static uint Big(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32BigEndian(bytes[offset..]);
}
