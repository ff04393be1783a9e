namespace Lincow;

/// <summary>
/// A range of the device and where it comes from: the fields of <c>qemu-img map --output=json</c>.
/// </summary>
/// <param name="Start">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Depth">0: the overlay; 1: the origin.</param>
/// <param name="Present">Some layer holds or zeroes the range; false for what is nowhere.</param>
/// <param name="Zero">Reads as zeroes.</param>
/// <param name="Data">Bytes are stored for it.</param>
/// <param name="Offset">Where, in <paramref name="Filename"/>; null without data.</param>
/// <param name="Filename">The file that stores it.</param>
public sealed record MapRange(long Start, long Length, int Depth, bool Present, bool Zero, bool Data, long? Offset, string? Filename);
