using Lincow.Blobs;
using Lincow.Linux;
using Lincow.Operations;
using Lincow.Origins;

namespace Lincow.Stores.DmSnapshot;

/// <summary>Opens exception stores as devices: reads the list, judges it, mends what a cut has left, and builds the stack.</summary>
internal static class SnapshotSession
{
    /// <summary>Opens a persistent store. Throws <see cref="LincowException"/>.</summary>
    public static OverlayOpening Prepare(SessionOptions options, string overlay)
    {
        if (options.Rescue && !options.ReadOnly)
            throw new LincowException($"{overlay}: --rescue shows what is left of a store, so it needs --read-only");
        var access = options.Peek ? OverlayAccess.Peek : options.ReadOnly ? OverlayAccess.Read : OverlayAccess.Write;
        var store = SnapshotFile.Open(overlay, access, options.Direct, options.Rescue);
        try
        {
            var origin = OpenOrigin(store, options);
            return new OverlayOpening(loop => Open(store, origin, options, loop), origin, store, store.File.Facts);
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    /// <summary>A store that is forgotten at exit, as dm-snapshot's N: chunks from the device's start on, in order of arrival.</summary>
    public static OverlayOpening PrepareTransient(SessionOptions options)
    {
        var origin = OverlaySession.OpenTransientOrigin(options);
        LinuxFile? file = null;
        try
        {
            var geometry = new Geometry(DeviceSize(options, origin), OverlayCreator.ChunkShift(options.ChunkBytes));
            var opened = file = TransientFile.OpenStore(options.TransientData, geometry.ChunkCount << geometry.ChunkShift, options.Direct);
            RequireAlignment(geometry, opened, origin);
            return new OverlayOpening(Begin, origin, opened, opened.Facts);

            OverlaySession Begin(IoLoop loop)
            {
                var data = new FileBlob(opened, loop);
                var store = new SnapshotStore(geometry, data, isPersistent: false, Options(options), opened.TryReadSizeBytes, loop.Buffers);
                return new OverlaySession(loop, store, data, origin.OnLoop(loop), options.ReadOnly, OverlaySession.TransientName(origin));
            }
        }
        catch
        {
            file?.Dispose();
            origin.Dispose();
            throw;
        }
    }

    /// <summary>Builds the stack on files that are open.</summary>
    internal static OverlaySession Open(SnapshotFile file, OriginFile origin, SessionOptions options, IoLoop loop)
    {
        var geometry = new Geometry(options.SizeBytes ?? file.Note?.DeviceBytes ?? origin.Identity.SizeBytes, file.Header.ChunkShift);
        RequireAlignment(geometry, file.File, origin);
        if (!options.ReadOnly && file.IsBlank)
            SnapshotFile.Restart(file.File, file.Header);
        var data = new FileBlob(file.File, loop);
        SnapshotStore? store = null;
        try
        {
            // mutation: store-forgets-a-cut-commit
            store = new SnapshotStore(geometry, data, isPersistent: true, Options(options, file.Header.IsCommitUnfinished), file.File.TryReadSizeBytes, loop.Buffers);
            var scan = file.IsBlank ? new SnapshotScan() : SnapshotScan.Run(file.File, file.Layout, file.ReadSizeBytes(), geometry.ChunkCount, store.Adopt);
            // mutation: damaged-store-opened
            if (scan is { Findings: [var finding, ..] } && !options.Rescue)
            {
                throw new LincowException($"{file.File.Path}: the list of exceptions is damaged at byte {finding.StoreOffset}: {finding.Problem}. "
                    + "'lincow check' lists all; 'lincow serve --read-only --rescue' shows what is sound")
                { IsDamage = true };
            }
            if (scan.HasLeftOver && !options.ReadOnly)
                // mutation: left-over-joins-the-list
                file.ClearLeftOver(scan);
            var result = store.Continue(scan);
            if (result < 0)
                throw new LincowException($"{file.File.Path}: its last area can't be read: {Errno.Describe(-result)}");
            if (!options.ReadOnly)
                Remember(file, geometry, origin.Uri, Known(file, origin.Identity, geometry, options.OriginIsLive));
            return new OverlaySession(loop, store, data, origin.OnLoop(loop), options.ReadOnly, Path.GetFileNameWithoutExtension(file.File.Path))
            {
                IsCommitUnfinished = file.Header.IsCommitUnfinished,
                NoteOrigin = options is { OriginIsLive: true, ReadOnly: false } ? identity => Remember(file, geometry, origin.Uri, identity) : null,
            };
        }
        catch
        {
            store?.Dispose();
            throw;
        }
    }

    /// <summary>The origin that the user names, or that the store remembers and this user wrote down.</summary>
    internal static OriginFile OpenOrigin(SnapshotFile store, SessionOptions options)
    {
        var path = store.File.Path;
        if (options is { Origin: null, UserOrigin: null } && store.Note is null)
            throw new LincowException($"{path}: an exception store doesn't say what its origin is, and lincow has no note of it. Give it with --origin PATH");
        if (options is { Origin: null, UserOrigin: null } && OriginFile.IsPath(store.Note!.OriginUri) && !store.Note.IsOwn)
        {
            throw new LincowException($"{path}: names {store.Note.OriginUri} as its origin, but this user didn't make it on this machine, and an overlay from elsewhere could name any file. "
                + "If you know that this is its origin, or where its origin is, say so with --origin PATH");
        }
        var origin = OriginFile.Open(options.UserOrigin, options.Origin ?? store.Note?.OriginUri ?? "", options.Direct, options.OriginIsLive);
        try
        {
            // A live one too: old content of a wrong one would be copied into the snapshot for good.
            // mutation: live-origin-not-compared
            if (store.Note is { } note && !options.AcceptOrigin)
                OverlaySession.RequireRecognised(path, origin, note.OriginUri, note.Identity, store.Header.IsCommitUnfinished);
            var size = options.SizeBytes ?? store.Note?.DeviceBytes ?? origin.Identity.SizeBytes;
            OverlayCreator.RequireSize(size, origin.Uri);
            if (origin.Identity.SizeBytes > size)
                throw new LincowException($"{origin.Uri}: has {origin.Identity.SizeBytes} bytes, more than the overlay's device ({size})");
            return origin;
        }
        catch
        {
            origin.Dispose();
            throw;
        }
    }

    private static SnapshotOptions Options(SessionOptions options, bool isCommitUnfinished = false) =>
        new(options.AreaCacheBytes, options.GiveUpWhenFull ? WhenFull.Invalidate : WhenFull.FailWrites, isCommitUnfinished);

    private static long DeviceSize(SessionOptions options, OriginFile origin)
    {
        var size = options.SizeBytes ?? origin.Identity.SizeBytes;
        OverlayCreator.RequireSize(size, options.SizeBytes is null ? origin.Uri : "--size");
        if (origin.Identity.SizeBytes > size)
            throw new LincowException($"{origin.Uri}: the origin has {origin.Identity.SizeBytes} bytes and the device would have {size}. Give a larger --size, or leave it out");
        return size;
    }

    // What is written to, or was half written to by a commit, isn't known.
    // mutation: cut-store-commit-settles-its-origin
    private static OriginIdentity Known(SnapshotFile file, OriginIdentity origin, Geometry geometry, bool isLive) => file.Header.IsCommitUnfinished ? OriginIdentity.Unsettled(origin, geometry.DeviceBytes)
        : isLive ? OriginIdentity.Unsettled(origin, origin.SizeBytes) : origin;

    // Before anything is served for writing, and not of a store that is refused.
    private static void Remember(SnapshotFile file, Geometry geometry, string originUri, OriginIdentity identity)
    {
        var note = OriginNote.Read(file.File);
        if (note is null || note.Identity != identity || note.OriginUri != originUri || note.DeviceBytes != geometry.DeviceBytes || !note.IsOwn)
            OriginNote.Write(file.File, note?.Uuid ?? Guid.NewGuid(), geometry.DeviceBytes, identity, originUri);
    }

    private static void RequireAlignment(Geometry geometry, LinuxFile file, OriginFile origin)
    {
        if (!file.IsDirect)
            return;
        var block = Math.Max(file.LogicalBlockBytes, origin.AlignmentBytes);
        if (geometry.ChunkBytes < block || geometry.DeviceBytes % block != 0)
            throw new LincowException($"{file.Path}: --cache none needs chunks of at least {block} bytes and a device size that is a multiple of it. Use --cache writeback");
    }
}
