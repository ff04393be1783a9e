using Lincow.Linux;

namespace Lincow;

/// <summary>
/// A read, write, flush, discard or zeroing of an open <see cref="Overlay"/> that failed. What a failed write should have replaced is old
/// or new, sector by sector; what a failed flush should have made durable may be lost.
/// </summary>
public sealed class OverlayIOException : IOException
{
    internal OverlayIOException(string what, int errno, string? failedBecause)
        : base($"{what}: {Reason(errno)}{(failedBecause is null ? "" : $". The overlay has failed: {failedBecause}")}") => Errno = errno;

    /// <summary>
    /// The error's number as in errno(3), positive: 5 (EIO) for content that can't be read or a device that has failed, 28 (ENOSPC) when
    /// the overlay's file system or store is full, 12 (ENOMEM).
    /// </summary>
    public int Errno { get; }

    private static string Reason(int errno) => Linux.Errno.Describe(errno);
}
