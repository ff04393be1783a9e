using Lincow.Conversion;
using Lincow.Operations;

namespace Lincow;

// What is done to overlays that aren't open here: the operations by the command line's names. Each runs on a thread of its own.
public sealed partial class Overlay
{
    /// <summary>Makes an overlay.</summary>
    /// <param name="options">Where, over which origin, and how.</param>
    /// <param name="cancellation">Has it not begin.</param>
    /// <returns>What it is.</returns>
    /// <exception cref="LincowException">It can't be made; files that were made for it are gone.</exception>
    public static Task<OverlayInfo> CreateAsync(CreateOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        return OverlayCreator.CreateAsync(options, cancellation);
    }

    /// <summary>Says what an overlay is, also while somebody has it open, and then as of its last flush.</summary>
    /// <param name="path">The overlay, or its separate map.</param>
    /// <param name="options">Where its map and its origin are, if they aren't found by themselves.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="LincowException">It can't be read.</exception>
    public static Task<OverlayInfo> DescribeAsync(string path, OverlayOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return OverlayDescription.ReadAsync(path, options?.Map, options?.AcceptMap ?? false, options?.Origin, cancellation);
    }

    /// <summary>Examines all metadata of an overlay that nobody has open.</summary>
    /// <param name="path">The overlay, or its separate map.</param>
    /// <param name="repair">Replace what is damaged, where there is a sound twin.</param>
    /// <param name="options">Where its map and its origin are, if they aren't found by themselves.</param>
    /// <param name="progress">Told how far it is, on threads of the pool.</param>
    /// <param name="cancellation">Ends it between two pages; what has been repaired stays so.</param>
    /// <exception cref="LincowException">It can't be opened at all.</exception>
    public static Task<CheckReport> CheckAsync(string path, bool repair = false, OverlayOptions? options = null,
        IProgress<OperationProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return OverlayCheck.RunAsync(path, options?.Map, repair, options?.AcceptMap ?? false, options?.Origin, progress, cancellation);
    }

    /// <summary>
    /// Takes an overlay that nobody has open back to its origin, on stable storage. Space is given back for a moment, and the rest when the
    /// overlay is next open.
    /// </summary>
    /// <param name="path">The overlay, or its separate map.</param>
    /// <param name="force">Also where a commit was cut off, and what it has not yet carried into the origin goes.</param>
    /// <param name="options">Where its map is, if it isn't found by itself.</param>
    /// <param name="cancellation">Has it not begin. One that has begun is short, and goes on to its end.</param>
    /// <returns>Whether all space has been given back already.</returns>
    /// <exception cref="LincowException">It was refused or failed.</exception>
    public static Task<bool> ResetAsync(string path, bool force = false, OverlayOptions? options = null,
        CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return OverlayReset.ResetAsync(path, options?.Map, options?.AcceptMap ?? false, force, cancellation);
    }

    /// <summary>
    /// Writes what an overlay holds into its origin, which nobody may use meanwhile, and empties the overlay. At every moment the device
    /// reads the same; a commit that was cut off is run again, and goes on where it was.
    /// </summary>
    /// <param name="path">The overlay, or its separate map.</param>
    /// <param name="options">Where its map and its origin are, if they aren't found by themselves.</param>
    /// <param name="progress">Told how far it is, on threads of the pool.</param>
    /// <param name="cancellation">Ends it between two batches; it can be run again.</param>
    /// <exception cref="LincowException">It was refused, failed or was ended: the message says what is where.</exception>
    public static Task<CommitReport> CommitAsync(string path, OverlayOptions? options = null,
        IProgress<OperationProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return OverlayCommit.RunAsync((options ?? new OverlayOptions()) with { Overlay = path }, progress, cancellation);
    }

    /// <summary>
    /// Lists where each range of an overlay's device comes from, in order and down to the file's byte, also while somebody has it open, and
    /// then as of its last flush.
    /// </summary>
    /// <param name="path">The overlay, or its separate map.</param>
    /// <param name="options">Where its map and its origin are, if they aren't found by themselves.</param>
    /// <param name="cancellation">Ends it between two ranges.</param>
    /// <exception cref="LincowException">It can't be read; while it is enumerated.</exception>
    public static IAsyncEnumerable<MapRange> MapAsync(string path, OverlayOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return OverlayMap.ReadAsync((options ?? new OverlayOptions()) with { Overlay = path }, cancellation);
    }

    /// <summary>
    /// Carries the changes of a device from one format to another: linear and dm-snapshot stores, and COW files of User-mode Linux. Only
    /// changed ranges are moved, and all of them are read back and compared.
    /// </summary>
    /// <param name="options">From where to where, and into which format.</param>
    /// <param name="progress">Told how far it is, on threads of the pool.</param>
    /// <param name="cancellation">Ends it between two pieces; nothing is left then.</param>
    /// <exception cref="LincowException">
    /// It was refused or failed; the destination is as it was (a block device begins with zeroes).
    /// </exception>
    public static Task<ConvertReport> ConvertAsync(ConvertOptions options, IProgress<OperationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new OverlayConverter([.. StoreChangeFormat.All, new UmlCowFormat()], progress, cancellation).RunAsync(options);
    }
}
