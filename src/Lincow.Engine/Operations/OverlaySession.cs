using Lincow.Blobs;
using Lincow.Device;
using Lincow.Layers;
using Lincow.Linux;
using Lincow.Origins;
using Lincow.Requests;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Operations;

/// <summary>How an overlay is opened for use as a device.</summary>
public sealed record SessionOptions
{
    /// <summary>The overlay's path; null for a transient one.</summary>
    public string? Overlay { get; init; }

    /// <summary>The origin, when it has moved (or, for a transient overlay, in any case).</summary>
    public string? Origin { get; init; }

    /// <summary>The origin that a program decides on; <see cref="Origin"/> is left out then. The session disposes of it.</summary>
    public UserOrigin? UserOrigin { get; init; }

    /// <summary>The separate map, when it isn't found by itself.</summary>
    public string? Map { get; init; }

    /// <summary>For a transient overlay: a directory, a new file or a block device for its data; null for the directory of temporary files.</summary>
    public string? TransientData { get; init; }

    /// <summary>For a transient overlay: chunk and device size in bytes.</summary>
    public long ChunkBytes { get; init; } = 4096;

    public long? SizeBytes { get; init; }

    public bool ReadOnly { get; init; }

    /// <summary>With ReadOnly: look at the state on disk without a lock, also while somebody serves the overlay.</summary>
    public bool Peek { get; init; }

    /// <summary>Bypass the page cache (O_DIRECT).</summary>
    public bool Direct { get; init; }

    /// <summary>Go on with an origin that isn't as the overlay remembers it, and remember it as it is now.</summary>
    public bool AcceptOrigin { get; init; }

    /// <summary>Use a map that names another data file.</summary>
    public bool AcceptMap { get; init; }

    /// <summary>For a transient overlay: how its chunks lie. A persistent one is what it is.</summary>
    public StoreKind Store { get; init; }

    /// <summary>For a snapshot store: memory for areas of its list, in bytes.</summary>
    public long AreaCacheBytes { get; init; } = 16 << 20;

    /// <summary>For a snapshot store: when it is full, give it up as dm-snapshot's P and N do; else writes fail and the rest goes on, as with PO.</summary>
    public bool GiveUpWhenFull { get; init; }

    /// <summary>For a snapshot store: the origin is written to by the same process (<see cref="LiveOrigin"/>), so what it is like is not remembered meanwhile.</summary>
    public bool OriginIsLive { get; init; }

    /// <summary>For a snapshot store, with ReadOnly: open one that was given up or is damaged, and serve what is sound.</summary>
    public bool Rescue { get; init; }
}

/// <summary>How an overlay keeps its chunks.</summary>
public enum StoreKind
{
    /// <summary>Each at its own offset.</summary>
    Linear,

    /// <summary>In order of arrival, as dm-snapshot does.</summary>
    Snapshot,
}

/// <summary>
/// An open overlay with its device, on one loop. Everything here runs on the loop's thread: <see cref="Open"/>, <see cref="Close"/>.
/// </summary>
public sealed class OverlaySession
{
    private readonly IoLoop _loop;
    private readonly ExceptionStore _store;
    private readonly Origin _origin;
    private readonly IBlob _data;
    private readonly SessionReset? _reset;
    private Reclaimer? _reclaimer;

    internal OverlaySession(IoLoop loop, ExceptionStore store, IBlob data, Origin origin, bool isReadOnly, string name)
    {
        (_loop, _store, _data, _origin, Name) = (loop, store, data, origin, name);
        Device = new CowDevice(new LayerStack(store, data, origin), loop.Buffers, isReadOnly);
        if (!isReadOnly && store is LinearStore { Superblock: var superblock } && (superblock.Flags & SuperblockFlags.ReclaimPending) != 0)
            _reclaimer = new Reclaimer(Device, data, superblock.DataOffset);
        if (store is LinearStore linear)
            _reset = new SessionReset(loop, Device, linear);
    }

    public CowDevice Device { get; }

    /// <summary>A commit was cut off before. The device reads right, but the origin alone isn't whole until the commit has been run again.</summary>
    public bool IsCommitUnfinished
    {
        get => _store is LinearStore linear ? linear.Superblock.IsCommitUnfinished : field;
        internal init;
    }

    /// <summary>A name for exports and messages: the overlay's file name without its ending, or the origin's for a transient one.</summary>
    public string Name { get; }

    /// <summary>Told of damage and failures, a sentence each.</summary>
    public Action<string>? Report
    {
        get => _store.Report;
        set => _store.Report = _origin.Report = value;
    }

    /// <summary>Why the device answers everything with EIO; null while it is well.</summary>
    public string? FailedBecause => _store.FailedBecause;

    /// <summary>For a dm-snapshot store: what dmsetup status shows behind the target's name (dm-snap.c, snapshot_status). Null for a linear one.</summary>
    public string? DmStatus => _store is not SnapshotStore store ? null
        : store.IsGivenUp ? "Invalid"
        : store.IsFull ? "Overflow"
        : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{store.AllocatedSectors}/{store.TotalSectors} {store.MetadataSectors}");

    /// <summary>For a persistent dm-snapshot store: how many areas its cache holds at most, and how often it had what was asked for.</summary>
    public (int Areas, long Hits, long Misses)? AreaCache => _store is SnapshotStore { MetadataBlob: not null, Cache: var cache } ? (cache.Capacity, cache.Hits, cache.Misses) : null;

    /// <summary>For a snapshot of a live origin: remembers what the origin is like, now that nobody writes to it.</summary>
    internal Action<OriginIdentity>? NoteOrigin { get; init; }

    /// <summary>Opens an overlay, or makes a transient one, on the loop's thread. Throws <see cref="LincowException"/>.</summary>
    public static OverlaySession Open(SessionOptions options, IoLoop loop) => Prepare(options).Begin(loop);

    /// <summary>The part of <see cref="Open"/> that needs no loop: finds, opens, locks and checks the files. Throws <see cref="LincowException"/>.</summary>
    public static OverlayOpening Prepare(SessionOptions options)
    {
        try
        {
            if (options.Overlay is not { } overlay)
                return options.Store == StoreKind.Snapshot ? SnapshotSession.PrepareTransient(options) : PrepareTransient(options);
            return SnapshotFile.Is(overlay, options.Map) ? SnapshotSession.Prepare(options, overlay) : PreparePersistent(options, overlay);
        }
        catch (LinuxException e)
        {
            throw new LincowException(e.Message, e);
        }
    }

    /// <summary>Starts giving back space that a reset left behind, while requests are served. Call once the device serves.</summary>
    public void StartReclaiming() => _reclaimer?.Start();

    /// <summary>Whether a reset is under way; the session must not be closed meanwhile.</summary>
    public bool IsResetting => _reset is { IsRunning: true };

    /// <summary>
    /// Takes the overlay back to its origin while it is served: new requests wait until those in flight have ended and the reset is on stable
    /// storage. Calls back with null, or what went wrong. Space is given back in the background.
    /// </summary>
    /// <param name="done">Told on the loop's thread.</param>
    /// <param name="force">Also where a commit was cut off (<see cref="IsCommitUnfinished"/>).</param>
    public void Reset(Action<LincowException?> done, bool force = false)
    {
        var reason = _store is not LinearStore ? "has dm-snapshot's store, which can't be reset while it is served: stop its server first"
            : Device.IsReadOnly ? "is served read-only, so it can't be reset"
            : IsResetting ? "is being reset already"
            : IsCommitUnfinished && !force ? UnfinishedCommit.RefusalSentence
            : FailedBecause is { } failure ? $"is failed, so it can't be reset while it is served: {failure}"
            : null;
        if (reason is not null)
        {
            done(new LincowException($"{_data.Name}: {reason}"));
            return;
        }
        _reclaimer?.Stop();
        _reset!.Start(error =>
        {
            if (error is null)
            {
                _reclaimer ??= new Reclaimer(Device, _data, ((LinearStore)_store).Superblock.DataOffset);
                _reclaimer.Start();
            }
            done(error);
        });
    }

    /// <summary>
    /// Nobody waits any longer for what is being read from an origin that may take its time (<see cref="UserOrigin"/>): such reads are cancelled, and in about a
    /// second at the latest they have ended, with EIO. For whoever is about to close, and waits for requests to end.
    /// </summary>
    public void CancelReads() => _origin.CancelReads();

    /// <summary>
    /// Ends the session when the front ends have let go of the device: flushes, makes the overlay clean and closes the files. Throws
    /// <see cref="LincowException"/> when that fails; the files are closed all the same.
    /// </summary>
    public void Close()
    {
        try
        {
            _reclaimer?.Stop();
            CancelReads();
            while (!Device.IsIdle || _reclaimer is { IsIdle: false })
                _loop.RunOnce();
            // A store that was given up has said so, and owes nothing.
            if (!Device.IsReadOnly && _store is not SnapshotStore { IsGivenUp: true })
            {
                Flush();
                while (!Device.IsIdle)
                    _loop.RunOnce();
                _store.CloseCleanly(_reclaimer?.IsDone ?? false);
            }
        }
        catch (LinuxException e)
        {
            throw new LincowException($"{e.Message}. The overlay stays marked as in use, and is examined at the next open", e);
        }
        finally
        {
            _store.Dispose();
            _data.Dispose();
            _origin.Dispose();
        }
    }

    /// <summary>As <see cref="Close"/>, after a reset that may be under way. Calls back with null, or with what went wrong.</summary>
    public void CloseWhenPossible(Action<LincowException?> closed)
    {
        // A reset may be further down on this very stack, waiting for its disk: it can't be waited for here.
        if (IsResetting)
        {
            _loop.Delay(1, new LaterClose(this, closed));
            return;
        }
        LincowException? failure = null;
        try
        {
            Close();
        }
        catch (LincowException e)
        {
            failure = e;
        }
        closed(failure);
    }

    /// <summary>Waits for a flush. Throws <see cref="LincowException"/> when it fails.</summary>
    internal void Flush()
    {
        // mutation: close-without-flush
        var result = new FlushWaiter().Await(Device, _loop);
        if (result < 0)
            throw new LincowException($"{_data.Name}: the last flush failed: {Errno.Describe(-result)}. Writes since the flush before it may be lost");
    }

    private static OverlayOpening PreparePersistent(SessionOptions options, string overlay)
    {
        if (options.OriginIsLive)
            throw new LincowException($"{overlay}: is a linear overlay, and a snapshot of a live origin is kept in a dm-snapshot store. 'lincow create --store snapshot' makes one");
        var access = options.Peek ? OverlayAccess.Peek : options.ReadOnly ? OverlayAccess.Read : OverlayAccess.Write;
        var files = OverlayFiles.Open(overlay, options.Map, access, options.Direct, options.AcceptMap);
        try
        {
            var origin = OpenOrigin(files, options);
            var name = Path.GetFileNameWithoutExtension(overlay);
            return new OverlayOpening(loop => Open(files, origin, options.ReadOnly, name, loop), origin, files, files.MapFile.Facts, files.DataFile.Facts);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>Builds the stack on files that are open; marks the overlay as in use before anything else is written.</summary>
    internal static OverlaySession Open(OverlayFiles files, OriginFile origin, bool readOnly, string name, IoLoop loop)
    {
        RequireAlignment(files.Superblock, files.DataFile, origin);
        var blob = new FileBlob(files.MapFile, loop);
        var data = ReferenceEquals(files.MapFile, files.DataFile) ? blob : new FileBlob(files.DataFile, loop);
        var superblock = files.Superblock;
        if (!readOnly)
        {
            if (files.Reading.NeedsRepair)
                SuperblockFile.Repair(blob, files.Reading, loop.Buffers);
            superblock = superblock.Over(origin.Uri, origin.Identity);
            if (superblock.Layout == LinearLayout.Separate)
            {
                superblock = superblock with { DataPath = files.DataFile.Path };
                files.DataFile.TrySetAttribute(OverlayFiles.MapAttribute, files.MapFile.Path);
            }
            superblock = superblock.Marked();
        }
        var store = new LinearStore(superblock, blob, loop.Buffers);
        try
        {
            if (!readOnly)
                store.MarkInUse();
            return new OverlaySession(loop, store, data, origin.OnLoop(loop), readOnly, name);
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    internal static OriginFile OpenOrigin(OverlayFiles files, SessionOptions options)
    {
        var superblock = files.Superblock;
        // Before the path is so much as looked at: to open some devices is to act on them.
        // mutation: foreign-origin-followed
        if (options is { Origin: null, UserOrigin: null } && OriginFile.IsPath(superblock.OriginUri) && !superblock.IsOwn)
        {
            throw new LincowException($"{files.Path}: names {superblock.OriginUri} as its origin, but this user didn't make it on this machine, and an overlay from elsewhere could name any file. "
                + "If you know that this is its origin, or where its origin is, say so with --origin PATH");
        }
        var origin = OriginFile.Open(options.UserOrigin, options.Origin ?? superblock.OriginUri, options.Direct);
        try
        {
            if (!options.AcceptOrigin)
                RequireRecognised(files.Path, origin, superblock.OriginUri, superblock.Origin, superblock.IsCommitUnfinished);
            if (origin.Identity.SizeBytes > superblock.DeviceBytes)
                throw new LincowException($"{origin.Uri}: has {origin.Identity.SizeBytes} bytes, more than the overlay's device ({superblock.DeviceBytes})");
            return origin;
        }
        catch
        {
            origin.Dispose();
            throw;
        }
    }

    /// <summary>Throws <see cref="LincowException"/> when an origin isn't the one that an overlay remembers.</summary>
    internal static void RequireRecognised(string overlay, OriginFile origin, string recordedUri, OriginIdentity recorded, bool isCommitUnfinished)
    {
        if (origin.Identity.DifferenceFrom(recorded) is { } difference)
        {
            throw new LincowException($"{origin.Uri}: is not the origin that {overlay} was made on: {difference}. "
                + "If you know that this is right, add --accept-origin; if the origin was moved, give its place with --origin");
        }
        if (isCommitUnfinished)
            UnfinishedCommit.RequireSamePlace(overlay, origin, recordedUri);
    }

    internal static OriginFile OpenTransientOrigin(SessionOptions options) =>
        OriginFile.Open(options.UserOrigin, options.Origin ?? (options.UserOrigin is null ? throw new LincowException("a transient overlay needs --origin") : ""), options.Direct);

    private static OverlayOpening PrepareTransient(SessionOptions options)
    {
        var origin = OpenTransientOrigin(options);
        LinuxFile? file = null;
        try
        {
            var size = options.SizeBytes ?? origin.Identity.SizeBytes;
            OverlayCreator.RequireSize(size, options.SizeBytes is null ? origin.Uri : "--size");
            if (origin.Identity.SizeBytes > size)
                throw new LincowException($"{origin.Uri}: the origin has {origin.Identity.SizeBytes} bytes and the device would have {size}. Give a larger --size, or leave it out");
            var data = file = TransientFile.Open(options.TransientData, size, options.Direct);
            var superblock = new Superblock
            {
                Uuid = Guid.NewGuid(),
                Generation = 1,
                DeviceBytes = size,
                MaxDeviceBytes = size,
                ChunkShift = OverlayCreator.ChunkShift(options.ChunkBytes),
                Layout = LinearLayout.Separate,
                DataOffset = 0,
                Origin = origin.Identity,
                OriginUri = origin.Uri,
            };
            RequireAlignment(superblock, file, origin);
            return new OverlayOpening(loop => new OverlaySession(loop, new LinearStore(superblock, mapBlob: null, loop.Buffers), new FileBlob(data, loop),
                origin.OnLoop(loop), options.ReadOnly, TransientName(origin)), origin, data, data.Facts);
        }
        catch
        {
            file?.Dispose();
            origin.Dispose();
            throw;
        }
    }

    internal static string TransientName(OriginFile origin) => origin.Identity.Kind == OriginKind.Zero ? "zero" : Path.GetFileNameWithoutExtension(origin.Uri);

    private static void RequireAlignment(Superblock superblock, LinuxFile data, OriginFile origin)
    {
        if (!data.IsDirect)
            return;
        var block = Math.Max(data.LogicalBlockBytes, origin.AlignmentBytes);
        if (1L << superblock.ChunkShift < block || superblock.DeviceBytes % block != 0)
            throw new LincowException($"{data.Path}: --cache none needs chunks of at least {block} bytes and a device size that is a multiple of it. Use --cache writeback");
    }

    private sealed class LaterClose(OverlaySession session, Action<LincowException?> closed) : IoCompletion
    {
        // Posted: closing waits with turns of the loop, and those may not be nested in a completion.
        public override void Complete(int result) => session._loop.Post(() => session.CloseWhenPossible(closed));
    }

    /// <summary>A flush that the control plane waits for.</summary>
    private sealed class FlushWaiter : BlockRequest
    {
        private int? _result;

        public int Await(CowDevice device, IoLoop loop)
        {
            Operation = BlockOperation.Flush;
            device.Submit(this);
            while (_result is null)
                loop.RunOnce();
            return _result.Value;
        }

        protected internal override void OnCompleted(int result) => _result = result;
    }
}
