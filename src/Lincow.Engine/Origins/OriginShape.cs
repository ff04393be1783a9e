using Lincow.Blobs;
using Lincow.Linux;

namespace Lincow.Origins;

/// <summary>
/// Whether what somebody names as an origin is a disk's content, byte for byte, or an image in another format, or a part of one
/// (<see cref="ImageFormats"/>). Asked when it is named, and not again: a guest that writes into a disk's first sectors, and whose writes
/// are committed, doesn't make something else of it.
/// </summary>
internal static class OriginShape
{
    /// <summary>Throws <see cref="LincowException"/> when it is no disk.</summary>
    public static async ValueTask RequireDiskAsync(IBlobControl blob, CancellationToken stop)
    {
        if (blob.Facts.Kind is not (BlobKind.File or BlobKind.BlockDevice))
            return;
        var (isFile, size) = (blob.Facts.Kind == BlobKind.File, blob.Facts.SizeBytes);
        var head = await ReadAsync(blob, 0, ImageFormats.HeadBytes, stop).ConfigureAwait(false);
        var tail = isFile && size > ImageFormats.TailBytes
            ? await ReadAsync(blob, size - ImageFormats.TailBytes, ImageFormats.TailBytes, stop).ConfigureAwait(false) : [];
        if (ImageFormats.Recognise(head, tail, size) is { } format)
            throw new LincowException(OriginErrors.NotRaw(blob.Name, format));
        // mutation: part-of-an-image-taken-for-a-disk
        if (isFile && FindOtherPart(blob.Name, size) is { } other)
            throw new LincowException(OriginErrors.IsPart(blob.Name, other));
    }

    /// <summary>
    /// For a file that looks like one of several into which an image was cut (disk.000, disk.001, ...; disk.aa, disk.ab, ...): another of
    /// them. All have the same length but the last, which has no more. One that is alone is whole.
    /// </summary>
    internal static string? FindOtherPart(string path, long sizeBytes)
    {
        var number = Path.GetExtension(path) is [_, .. var ending] ? ending : "";
        var isNumber = number.Length is 2 or 3 or 4 && number.All(char.IsAsciiDigit);
        if (!isNumber && !(number.Length is 2 or 3 && number.All(char.IsAsciiLetterLower)))
            return null;
        var stem = path[..^number.Length];
        if (Next(number, isNumber ? '0' : 'a', isNumber ? '9' : 'z', 1) is { } next && LengthOf(stem + next) is { } behind
            && behind > 0 && behind <= sizeBytes)
            return stem + next;
        return Next(number, isNumber ? '0' : 'a', isNumber ? '9' : 'z', -1) is { } previous && LengthOf(stem + previous) is { } before
            && before >= sizeBytes && sizeBytes > 0 ? stem + previous : null;
    }

    private static long? LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : null;

    // The number before or behind one that is written with these digits.
    private static string? Next(string number, char first, char last, int step)
    {
        var digits = number.ToCharArray();
        for (var i = digits.Length - 1; i >= 0; i--)
        {
            digits[i] = (char)(digits[i] + step);
            if (digits[i] >= first && digits[i] <= last)
                return new string(digits);
            digits[i] = step > 0 ? first : last;
        }
        return null;
    }

    // What can't be read says nothing: a failing disk is an honest origin.
    private static async ValueTask<byte[]> ReadAsync(IBlobControl blob, long byteOffset, int byteCount, CancellationToken stop)
    {
        var bytes = new byte[byteCount];
        try
        {
            return bytes[..await blob.ReadAsync(byteOffset, bytes, stop).ConfigureAwait(false)];
        }
        catch (Exception e) when (e is LinuxException or IOException)
        {
            return [];
        }
    }
}
