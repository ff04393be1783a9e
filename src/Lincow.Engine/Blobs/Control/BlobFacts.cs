using System.Globalization;
using Lincow.Linux;

namespace Lincow.Blobs;

/// <summary>What bytes at rest are kept as.</summary>
internal enum BlobKind
{
    /// <summary>A regular file, or what a program makes.</summary>
    File,
    BlockDevice,

    /// <summary>Nothing at all; it reads as zeroes.</summary>
    Nothing,

    /// <summary>Something that no bytes can be kept in: a directory, a socket.</summary>
    Other,
}

/// <summary>What a blob is.</summary>
/// <param name="Kind">What it is kept as.</param>
/// <param name="SizeBytes">How many bytes it has.</param>
/// <param name="ModifiedSeconds">When it was modified, whole seconds since 1970; 0 where nobody knows.</param>
/// <param name="ModifiedNanoseconds">The rest of that.</param>
/// <param name="Place">What it lies on: blobs of one place stand still together. "MAJOR:MINOR" of a file system or block device; empty
/// for what lies nowhere.</param>
/// <param name="Number">Its number in that place.</param>
/// <param name="IsTimeless">Its modification time says nothing of its content, and is left out: it lies on FUSE, and may be the time of the
/// mount.</param>
internal readonly record struct BlobFacts(BlobKind Kind, long SizeBytes, long ModifiedSeconds = 0, uint ModifiedNanoseconds = 0,
    string Place = "", ulong Number = 0, bool IsTimeless = false)
{
    public BlobFacts WithoutTime() => this with { ModifiedSeconds = 0, ModifiedNanoseconds = 0, IsTimeless = true };

    /// <summary>Whether both are one and the same, whatever they are called.</summary>
    public bool IsSame(BlobFacts other) => Place.Length > 0 && (Kind, Place, Number) == (other.Kind, other.Place, other.Number);

    public static BlobFacts Of(FileFacts file) => new(
        file.Kind switch
        {
            FileKind.Regular => BlobKind.File,
            FileKind.BlockDevice => BlobKind.BlockDevice,
            _ => BlobKind.Other,
        },
        file.SizeBytes, file.ModifiedSeconds, file.ModifiedNanoseconds, PlaceOf(file), file.Inode);

    public static string PlaceOf(FileFacts file) =>
        string.Create(CultureInfo.InvariantCulture, $"{file.Device.Major}:{file.Device.Minor}");
}
