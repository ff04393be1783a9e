using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Requests;

namespace Lincow;

/// <summary>
/// An open overlay: a block device whose content is its origin's, but for what was written to it. Any thread may call, and any number of
/// calls may be in flight; which of two overlapping ones at the same time comes first is open, and each byte is one's or the other's.
/// <code>
/// await Overlay.CreateAsync(new CreateOptions { Overlay = "work.cow", Origin = "golden.img" });
/// await using var overlay = await Overlay.OpenAsync("work.cow");
/// await overlay.WriteAsync(4096, "hello"u8.ToArray());
/// await overlay.FlushAsync();
/// </code>
/// Offsets and lengths are in bytes, of any alignment. What was written is on stable storage after the next <see cref="FlushAsync"/>, or
/// <see cref="DisposeAsync"/>; a crash before leaves each 512 bytes of it old or new. The static methods are what the command line does, by
/// its names; they work on overlays that nobody has open, or as of the last flush. To serve an overlay, see
/// <c>Lincow.Serving.Hosting.Host</c>.
/// </summary>
/// <remarks>
/// A range of up to 1 MiB (or a chunk, where chunks are larger) between multiples of that is read and written as one; a longer one in
/// pieces of that size, one after the other. Bytes pass through native memory, at most 64 MiB of it; calls beyond wait. A token that is
/// cancelled ends the wait at once, and the memory isn't touched any more; what a cancelled write should have replaced is old or new.
/// </remarks>
public sealed partial class Overlay : IAsyncDisposable
{
    /// <summary>
    /// Overlays whose files lie on the same file systems share threads. An exception on one is an error of lincow itself, and ends the
    /// process, for what is on disk can be trusted then and nothing else.
    /// </summary>
    private static readonly LoopPool Loops = new(null, static _ => { });

    private readonly OverlaySession _session;
    private readonly OverlayCalls _calls;
    private readonly LoopThread _thread;
    private readonly string _path;
    private Task? _closed;

    private Overlay(OverlaySession session, LoopThread thread, OverlayOptions options)
    {
        (_session, _thread, _path) = (session, thread, options.Overlay ?? session.Name);
        _calls = new OverlayCalls(session.Device, thread.Loop, _path, () => session.FailedBecause);
        thread.Loop.Post(() => session.Report = error => Log?.Invoke(error));
        thread.Loop.Post(session.StartReclaiming);
    }

    /// <summary>The overlay's file name without its ending, or the origin's for a transient one.</summary>
    public string Name => _session.Name;

    /// <summary>The device's size in bytes, a multiple of 512.</summary>
    public long SizeBytes => _session.Device.SizeBytes;

    /// <summary>Bytes of a chunk: a power of two, of which the overlay holds all or nothing.</summary>
    public long ChunkBytes => _session.Device.Geometry.ChunkBytes;

    /// <summary>It was opened for reading only.</summary>
    public bool IsReadOnly => _session.Device.IsReadOnly;

    /// <summary>Whether there is <see cref="DiscardAsync"/>; false for a dm-snapshot store.</summary>
    public bool CanDiscard => _session.Device.CanDiscard;

    /// <summary>
    /// A commit was cut off before. The device reads right, but the origin alone isn't whole until
    /// <see cref="CommitAsync(string, OverlayOptions?, IProgress{OperationProgress}?, CancellationToken)"/> has been run again.
    /// </summary>
    public bool IsCommitUnfinished => _session.IsCommitUnfinished;

    /// <summary>Why every call fails from here on, a sentence; null while the overlay is well.</summary>
    public string? FailedBecause => _session.FailedBecause;

    /// <summary>
    /// Told of damage and failures, a sentence each, on a thread of lincow's: it must not wait. By default they are dropped.
    /// </summary>
    public Action<LincowError>? Log { get; set; }

    /// <summary>For tests: its loop.</summary>
    internal IoLoop Loop => _thread.Loop;

    /// <summary>For tests: native memory that is lent to calls, in bytes.</summary>
    internal long BufferBytes => Loop.Invoke(() => _calls.BufferBytes);

    /// <summary>Opens an overlay; until it is disposed of, nobody else can open it for writing.</summary>
    /// <param name="path">The overlay, or its separate map.</param>
    /// <param name="options">How; null for reading and writing, with the origin that the overlay remembers. Its path is left out.</param>
    /// <param name="cancellation">Has it not begin.</param>
    /// <exception cref="LincowException">It can't be opened: the message says what is wrong with which file, and what to do.</exception>
    public static Task<Overlay> OpenAsync(string path, OverlayOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return OpenAsync((options ?? new OverlayOptions()) with { Overlay = path }, cancellation);
    }

    /// <summary>
    /// Opens an overlay as its options say: <see cref="OverlayOptions.Overlay"/>, or a transient one over <see
    /// cref="OverlayOptions.Origin"/>, of which nothing is left afterwards.
    /// </summary>
    /// <param name="options">What, and how.</param>
    /// <param name="cancellation">Has it not begin.</param>
    /// <exception cref="LincowException">It can't be opened: the message says what is wrong with which file, and what to do.</exception>
    public static async Task<Overlay> OpenAsync(OverlayOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        using var opening = await OverlaySession.PrepareAsync(options, cancellation).ConfigureAwait(false);
        var thread = Loops.Take(opening.Places);
        try
        {
            return new Overlay(await opening.BeginAsync(thread.Loop).ConfigureAwait(false), thread, options);
        }
        catch
        {
            await GiveBackAsync(thread).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Reads a range, all of it.</summary>
    /// <param name="offset">Its first byte.</param>
    /// <param name="buffer">Is filled.</param>
    /// <param name="cancellation">Ends the wait; the buffer's content is undefined then, and isn't touched any more.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range doesn't lie within the device.</exception>
    /// <exception cref="OverlayIOException">It can't be read.</exception>
    /// <exception cref="ObjectDisposedException">The overlay has been disposed of.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public ValueTask ReadAsync(long offset, Memory<byte> buffer, CancellationToken cancellation = default) =>
        Start(BlockOperation.Read, offset, buffer.Length, buffer, cancellation, nameof(buffer));

    /// <summary>Writes a range. Nothing is on stable storage before <see cref="FlushAsync"/>.</summary>
    /// <param name="offset">Its first byte.</param>
    /// <param name="buffer">Its content, which must not change until the end.</param>
    /// <param name="cancellation">Ends the wait; each sector of the range is old or new then.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range doesn't lie within the device.</exception>
    /// <exception cref="NotSupportedException">The overlay is open for reading only.</exception>
    /// <exception cref="OverlayIOException">It can't be written.</exception>
    /// <exception cref="ObjectDisposedException">The overlay has been disposed of.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> buffer, CancellationToken cancellation = default)
    {
        RequireWritable();
        return Start(BlockOperation.Write, offset, buffer.Length, MemoryMarshal.AsMemory(buffer), cancellation, nameof(buffer));
    }

    /// <summary>Ends when everything whose call had ended before is on stable storage.</summary>
    /// <param name="cancellation">Ends the wait.</param>
    /// <exception cref="OverlayIOException">It could not be made durable, and may be lost.</exception>
    /// <exception cref="ObjectDisposedException">The overlay has been disposed of.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public ValueTask FlushAsync(CancellationToken cancellation = default) =>
        cancellation.IsCancellationRequested ? ValueTask.FromCanceled(cancellation)
            : _calls.Enter().Start(BlockOperation.Flush, 0, 0, default, cancellation).Task;

    /// <summary>
    /// Says that nobody needs a range's content any more: it reads as zeroes and its space is given back; but parts of chunks that the
    /// overlay doesn't hold stay the origin's.
    /// </summary>
    /// <param name="offset">Its first byte.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range doesn't lie within the device.</exception>
    /// <exception cref="NotSupportedException">The overlay is open for reading only, or <see cref="CanDiscard"/> is false.</exception>
    /// <exception cref="OverlayIOException">It failed.</exception>
    /// <exception cref="ObjectDisposedException">The overlay has been disposed of.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellation = default)
    {
        RequireWritable();
        if (!CanDiscard)
            throw new NotSupportedException($"{_path}: its store knows no discard");
        return Start(BlockOperation.Discard, offset, length, default, cancellation);
    }

    /// <summary>Has a range read as zeroes. Whole chunks cost no data, and give back the space that they had.</summary>
    /// <param name="offset">Its first byte.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="cancellation">Ends the wait; each sector of the range is old or zero then.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range doesn't lie within the device.</exception>
    /// <exception cref="NotSupportedException">The overlay is open for reading only.</exception>
    /// <exception cref="OverlayIOException">It failed.</exception>
    /// <exception cref="ObjectDisposedException">The overlay has been disposed of.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public ValueTask WriteZeroesAsync(long offset, long length, CancellationToken cancellation = default)
    {
        RequireWritable();
        return Start(BlockOperation.WriteZeroes, offset, length, default, cancellation);
    }

    /// <summary>Where the content of the whole device comes from; see <see cref="ExtentsAsync(long, long, CancellationToken)"/>.</summary>
    /// <param name="cancellation">Ends it.</param>
    public IAsyncEnumerable<OverlayExtent> ExtentsAsync(CancellationToken cancellation = default) =>
        ExtentsAsync(0, SizeBytes, cancellation);

    /// <summary>
    /// Where the content of a range comes from: extents in order that cover it, neighbours of different kinds. What is written meanwhile
    /// may show or not.
    /// </summary>
    /// <param name="offset">The range's first byte.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range doesn't lie within the device.</exception>
    /// <exception cref="OverlayIOException">The map can't be read; while it is enumerated, as the next two.</exception>
    /// <exception cref="ObjectDisposedException">The overlay has been disposed of.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public IAsyncEnumerable<OverlayExtent> ExtentsAsync(long offset, long length, CancellationToken cancellation = default)
    {
        RequireRange(offset, length);
        return Extents(offset, offset + length, cancellation);
    }

    /// <summary>
    /// The device as a stream of fixed length, at its first byte. Flushing it is <see cref="FlushAsync"/>; it has no buffer, and disposing
    /// of it neither flushes nor closes the overlay. As with any stream, one thread at a time; but there may be many.
    /// </summary>
    public Stream OpenStream() => new OverlayStream(this);

    /// <summary>
    /// Takes the overlay back to its origin: calls that come meanwhile wait, and each is wholly before or wholly after it. On stable
    /// storage at the end.
    /// </summary>
    /// <param name="force">Also where a commit was cut off (<see cref="IsCommitUnfinished"/>), and what it had left goes.</param>
    /// <exception cref="LincowException">
    /// It was refused, as for a dm-snapshot store or one that is open for reading only, or it failed.
    /// </exception>
    /// <exception cref="ObjectDisposedException">The overlay has been disposed of.</exception>
    public async Task ResetAsync(bool force = false)
    {
        _calls.Join();
        try
        {
            await _session.ResetAsync(force).ConfigureAwait(false);
        }
        finally
        {
            _calls.Leave();
        }
    }

    /// <summary>
    /// Lets no call in any more, waits for those in flight (reads from a <see cref="UserOrigin"/> are cancelled, and fail), flushes and
    /// closes. Disposing of it again waits for the same end.
    /// </summary>
    /// <exception cref="LincowException">What was written since the last flush could not be made durable. The files are closed.</exception>
    public ValueTask DisposeAsync()
    {
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        if (Interlocked.CompareExchange(ref _closed, ended.Task, null) is { } closed)
            return new ValueTask(closed);
        return new ValueTask(CloseAsync(ended));
    }

    private async Task CloseAsync(TaskCompletionSource ended)
    {
        try
        {
            var drained = _calls.CloseAsync();
            _thread.Loop.Post(_session.CancelWaits);
            await drained.ConfigureAwait(false);
            try
            {
                await _session.CloseAsync().ConfigureAwait(false);
            }
            finally
            {
                await GiveBackAsync(_thread).ConfigureAwait(false);
            }
        }
        finally
        {
            ended.SetResult();
        }
    }

    private async IAsyncEnumerable<OverlayExtent> Extents(long start, long end, [EnumeratorCancellation] CancellationToken cancellation)
    {
        const int Records = 4096;
        var room = new byte[Records * Unsafe.SizeOf<BlockExtent>()];
        var pending = default(OverlayExtent);
        while (start < end)
        {
            var count = await _calls.Enter()
                .Start(BlockOperation.Extents, start, Math.Min(end - start, _session.Device.MaxExtentsBytes), room, cancellation).Count
                .ConfigureAwait(false);
            for (var i = 0; i < count; i++)
            {
                var extent = ExtentAt(room, i, start);
                start += extent.Length;
                // What one answer cuts in two is one extent.
                if (pending.Length > 0 && pending.Kind == extent.Kind)
                {
                    pending = pending with { Length = pending.Length + extent.Length };
                    continue;
                }
                if (pending.Length > 0)
                    yield return pending;
                pending = extent;
            }
        }
        if (pending.Length > 0)
            yield return pending;
    }

    private static OverlayExtent ExtentAt(byte[] records, int index, long start)
    {
        var extent = MemoryMarshal.Cast<byte, BlockExtent>(records)[index];
        return new OverlayExtent(start, extent.ByteLength, extent.Source switch
        {
            RunSource.Data => ExtentKind.Data,
            RunSource.Zero => ExtentKind.Zero,
            RunSource.Origin => ExtentKind.Origin,
            _ => ExtentKind.OriginHole,
        });
    }

    private ValueTask Start(BlockOperation operation, long offset, long length, Memory<byte> memory, CancellationToken cancellation,
        string lengthName = "length")
    {
        RequireRange(offset, length, lengthName);
        return cancellation.IsCancellationRequested ? ValueTask.FromCanceled(cancellation)
            : _calls.Enter().Start(operation, offset, length, memory, cancellation).Task;
    }

    private void RequireRange(long offset, long length, string lengthName = "length")
    {
        if (offset < 0 || offset > SizeBytes)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, $"is not within the device, which has {SizeBytes} bytes");
        if (length < 0 || length > SizeBytes - offset)
            throw new ArgumentOutOfRangeException(lengthName, length,
                $"goes beyond the device, which has {SizeBytes - offset} bytes from byte {offset} on");
    }

    private void RequireWritable()
    {
        if (IsReadOnly)
            throw new NotSupportedException($"{_path}: is open for reading only");
    }

    // A loop that has nobody left ends, and is waited for on a thread that may wait.
    private static Task GiveBackAsync(LoopThread thread) => Loops.Release(thread) ? Task.Run(thread.Stop) : Task.CompletedTask;
}
