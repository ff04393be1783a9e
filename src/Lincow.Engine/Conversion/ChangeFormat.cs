using Lincow.Linux;
using Lincow.Stores;

namespace Lincow.Conversion;

/// <summary>A range of the device that differs from the origin.</summary>
/// <param name="Start">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsZero">It reads as zeroes, and nothing is stored for it.</param>
internal readonly record struct ChangedRange(long Start, long Length, bool IsZero)
{
    public long End => Start + Length;
}

/// <summary>
/// A format that keeps changes of a device apart from their origin: lincow's own, dm-snapshot's, User-mode Linux's, qcow2. Each reads and
/// writes what the others do; <see cref="OverlayConverter"/> carries changes from one to another.
/// </summary>
internal interface IChangeFormat
{
    /// <summary>As <c>--to</c> names it.</summary>
    string Name { get; }

    /// <summary>Whether a file is of this format.</summary>
    /// <param name="file">The file, open for reading.</param>
    /// <param name="head">Its first 8 KiB, zeroes behind its end.</param>
    bool Recognises(LinuxFile file, ReadOnlySpan<byte> head);

    /// <summary>Opens a file of this format for reading. Throws <see cref="LincowException"/>.</summary>
    IChangeSource Open(ChangeSourceOptions options);

    /// <summary>The chunk size that a new file of this format gets, or a <see cref="LincowException"/> when it can't be.</summary>
    /// <param name="wanted">What the user asked for; null for what suits best.</param>
    /// <param name="source">The source's granularity in bytes.</param>
    /// <param name="deviceBytes">The device's size.</param>
    int ChunkFor(long? wanted, int source, long deviceBytes);

    /// <summary>Throws <see cref="LincowException"/> when a file beside a path would be taken for a part of what is made there.</summary>
    void RequireFreeName(string path)
    {
    }

    /// <summary>
    /// Plans a new file of this format. Throws <see cref="LincowException"/> for all that stands against it; nothing of a block device has
    /// changed then.
    /// </summary>
    IChangeSink Create(ChangeSinkOptions options);
}

/// <summary>What is to be read.</summary>
internal sealed record ChangeSourceOptions
{
    public required string Path { get; init; }

    /// <summary>The origin, where the file doesn't name one that may be followed.</summary>
    public string? Origin { get; init; }

    /// <summary>Go on with an origin that isn't as the file remembers it.</summary>
    public bool AcceptOrigin { get; init; }

    /// <inheritdoc cref="ConvertOptions.IgnoreHoles"/>
    public bool IgnoreHoles { get; init; }
}

/// <summary>The device that a file and its origin make, and which ranges of it the file decides.</summary>
internal interface IChangeSource : IDisposable
{
    long DeviceBytes { get; }

    /// <summary>Changes begin and end at multiples of this, or at the device's end.</summary>
    int GranularityBytes { get; }

    /// <summary>The origin in use: an absolute path, or zero:SIZE.</summary>
    string OriginUri { get; }

    /// <summary>Every changed range, in the device's order, none overlapping another.</summary>
    IEnumerable<ChangedRange> Changes();

    /// <summary>Reads the device: changes over the origin over zeroes. The range lies within the device.</summary>
    void Read(long byteOffset, Span<byte> buffer);
}
