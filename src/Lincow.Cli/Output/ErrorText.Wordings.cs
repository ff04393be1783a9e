using Code = Lincow.LincowErrorCode;

namespace Lincow.Cli.Output;

// The table: in the order of the codes. What has no advice of the command line's is in AsTheyAre, at the end.
internal static partial class ErrorText
{
    private const string GiveOrigin = "{message}. Give it with --origin PATH";

    private static Dictionary<Code, string> Wordings()
    {
        var result = new Dictionary<Code, string>
        {
            // Sizes, chunks and what an overlay is made with.
            [Code.DeviceEmpty] = "{message}. Give its size with --size",
            [Code.DeviceNotSectors] = "{message}. Give a size with --size, for example {roundedBytes}",
            [Code.SectorSizeInvalid] = "--sector-size {sectorBytes}: {why}",
            [Code.MaxSizeTooSmall] = "--max-size {maxSizeBytes} is smaller than the device's size, {sizeBytes} bytes",
            [Code.OriginLargerThanSize] = "{message}. Give --size {roundedBytes} or more, or leave --size out",
            [Code.OriginLargerThanTransient] = "{message}. Give a larger --size, or leave it out",
            [Code.TransientNeedsOrigin] = "a transient overlay needs --origin",
            [Code.TransientUnholdable] = "{message} with --overlay",
            [Code.DirectNeedsBlocks] = "{file}: --cache none needs chunks of at least {blockBytes} bytes and a device size that is a "
                + "multiple of it. Use --cache writeback",
            [Code.MapIsOverlay] = "{message}. Leave out --map",
            [Code.MapIsData] = "{message}. Give --map a path of its own, or leave it out",
            [Code.LinearCannotBeLive] = "{message}. 'lincow create --store snapshot' makes one",
            [Code.RescueNeedsReadOnly] = "{file}: --rescue shows what is left of a store, so it needs --read-only",
            [Code.StoreTooSmall] = "{message}. Give a larger --store-size or a smaller --chunk",
            [Code.CannotReserve] = "{message}. Leave out --preallocate",
            [Code.CreateNoSpace] = "{message}. Make room, or leave out --preallocate",
            [Code.CreateTooLong] = "{message}. The file system, or 'ulimit -f', allows no file of this length. Use a block device or "
                + "another file system (xfs, btrfs), or a store that is no longer than what is to be written: --store snapshot "
                + "--store-size SIZE",
            [Code.TransientTooLong] = "{message}. Use --store snapshot, which takes no more than what is written, or give another place "
                + "with --overlay",
            [Code.NoDirectIO] = "{message}. Leave out --cache none",

            // What is there already.
            [Code.FileExists] = "{message}. Give another path, or --force to replace it and lose what it holds",
            [Code.OverlayExists] = "{message}. 'lincow reset' takes it back to its origin; --force makes it anew and loses what it holds",
            [Code.DeviceNotBlank] = "{message}. Give --force to overwrite it",
            [Code.DestinationAppeared] = "{message}. Give another path, or --force to replace it",

            // Overlays and their parts.
            [Code.FileMissing] = "{message}. 'lincow create' makes overlays",
            [Code.NotAnOverlay] = "{message}. If its map lies elsewhere, give it with --map; 'lincow create' makes overlays",
            [Code.DataForeign] = "{message} with --map",
            [Code.MapOfOriginal] = "{message}; or add --accept-map if this is the one to use",
            [Code.MapOfUntagged] = "{message}. If it is the same file at a new place, add --accept-map",
            [Code.FeatureForbidsWriting] = "{message}. Serve it with --read-only, or use a newer lincow",
            [Code.StoreGivenUp] = "{message}. 'lincow serve --read-only --rescue' shows what it holds; 'lincow reset' makes it empty",
            [Code.StoreCutShort] = "{message} with 'lincow create --force'",
            [Code.ExceptionsDamaged] = "{message}. 'lincow check' lists all; 'lincow serve --read-only --rescue' shows what is sound",
            [Code.ExceptionsDamagedAtCommit] = "{message}. 'lincow check' lists all",
            [Code.DataEnds] = "{message}; run 'lincow check'",
            [Code.MapPageDamaged] = "{message}. Run 'lincow check'",
            [Code.MapPageMended] = "{message}. Run 'lincow check'",
            [Code.MapPageOlderTwin] = "map page {page}: {finding}; --repair takes the older twin, and chunks that were first written since "
                + "then show the origin again",
            [Code.PlaceUnreadable] = "{message}. Run 'lincow check'",
            [Code.DeviceUnreadable] = "{message}. Run 'lincow check'",

            // Origins.
            [Code.OriginMissing] = "{message}. If it was moved, give its new place with --origin",
            [Code.OriginUnknown] = GiveOrigin,
            [Code.OriginRelativeLink] = GiveOrigin,
            [Code.OriginNamedMissing] = "{message}. Give the origin's place with --origin PATH",
            [Code.OriginDiffers] = "{message}. If you know that this is right, add --accept-origin; if the origin was moved, give "
                + "its place with --origin",
            [Code.OriginForeign] = "{message}. If you know that this is its origin, or where its origin is, say so with --origin PATH",
            [Code.KeyUnkept] = "{message}, with --origin; or have XDG_STATE_HOME name a directory where a key can be kept",
            [Code.OriginMounted] = "{message}; if it can't be otherwise, add --accept-in-use",
            [Code.OriginElsewhere] = "{message}; or if it was moved here, add --accept-origin",
            [Code.OriginIsOverlay] = "{message}: lincow run {file} -- sh -c 'nbdcopy \"$LINCOW_URI\" image'. If it is its bytes as they "
                + "are that you mean, give raw:{file}",
            [Code.OriginIsPart] = "{message}. Join the parts in their order ('cat PART... >NEW.img'), or serve them as one disk "
                + "('nbdkit split PART...', which nbdfuse shows as a file); if this file alone is the disk, give raw:{file}",
            [Code.OriginIsImage] = "{message} with --origin",

            // Commits.
            [Code.CommitUnfinished] = "{message}. Run 'lincow commit' again to complete it; 'lincow reset --force' throws the rest "
                + "away and leaves the origin as it is",
            [Code.CommitUnfinishedServed] = "{message}. Run 'lincow commit' again to complete it. What is served reads right",
            [Code.CommitUnfinishedShut] = "{file}: {problem}, but the overlay can't be opened ({reason}). If that can't be mended, "
                + "{remedy} and try again",
            [Code.CommitInterrupted] = "{message}. Run 'lincow commit' again to complete it",

            // Conversions.
            [Code.FormatUnsaid] = "{message} Say --to snapshot, --to uml or --to qcow2",
            [Code.FormatUnknown] = "--to {name}: is no format. Use one of {known}",
            [Code.UmlChunkInvalid] = "--chunk {chunkBytes}: {why}. Leave --chunk out",
            [Code.Qcow2ChunkInvalid] = "--chunk {chunkBytes}: {why}",
            [Code.OriginNotBeside] = "{message}. If that is its origin, say so with --origin {origin}",
            [Code.ConvertedOriginDiffers] = "{message}. If you know that it is right, add --accept-origin",
            [Code.ConvertedOriginWrong] = "{message}. Give the right one with --origin",

            // Serving and attaching.
            [Code.ExportNameTaken] = "{message}. Give each a name with --name, in the order of the overlays",
            [Code.RecordUnwritable] = "{message}. 'lincow status' shows it as it was",
            [Code.AttachWayUnknown] = "--via {name}: there is no such way; there are {known}",
            [Code.AttachWayImpossible] = "--via {name}: {why}",
            [Code.DeviceWaits] = "{message}. Go on with 'lincow attach', or take it away with 'lincow detach --stale'",
            [Code.WaitingDeviceDiffers] = "{message}, or take it away with 'lincow detach --stale' first",
        };
        foreach (var code in AsTheyAre)
            result.Add(code, AsItIs);
        return result;
    }

    private static ReadOnlySpan<Code> AsTheyAre =>
    [
        Code.SizeMalformed, Code.SizeFractional, Code.DeviceTooLarge, Code.ChunkSizeInvalid, Code.PathEmpty, Code.PathTooLong,
        Code.StoreUnknown, Code.OriginLargerThanDevice, Code.StoreTakesNoMap, Code.OverlayIsOrigin, Code.DeviceTooSmall,
        Code.OriginIsNothing, Code.OriginKindWrong, Code.LiveOriginNotSectors, Code.DestinationIsSource, Code.DestinationNotRegular,
        Code.FormatCannotHold, Code.SocketPathTooLong, Code.AddressNotSocket, Code.CertificateMissing, Code.RequestUnknown,
        Code.NotAFile, Code.NotASnapshotStore, Code.FormatUnrecognised, Code.NotServed, Code.TransientWouldOverwrite, Code.MapBeside,
        Code.OverlayInUse, Code.FileInUse, Code.BlockDeviceInUse, Code.OriginInUse, Code.OriginBeingWritten, Code.OriginIsLive,
        Code.OriginChanged, Code.DestinationInUse, Code.AddressInUse, Code.DeviceHeld, Code.DeviceStandsStill,
        Code.ExportAttached, Code.MapWrong,
        Code.SuperblocksDamaged, Code.Truncated, Code.HeaderDamaged, Code.ResetRefused, Code.ServedNoMore, Code.NothingToReset,
        Code.LiveOriginsSnapshot, Code.NotAttached, Code.StopRefused, Code.VersionUnknown, Code.FeatureUnknown, Code.OriginKindUnsupported,
        Code.NothingAttaches, Code.ProgramMissing, Code.ProgramTooOld, Code.NoRunDirectory, Code.SystemRefused, Code.Several,
        Code.FileUnopenable, Code.FileUnmakeable, Code.OriginUnopenable, Code.ConvertNoSpace, Code.SuperblockUnreadable,
        Code.SuperblockUnwritable, Code.MapPageUnreadable, Code.AreaUnreadable, Code.MetadataUnwritten, Code.TwinsNoSpace,
        Code.StoreFull, Code.DeviceFailed, Code.OriginFailed, Code.UserReadFailed, Code.FlushFailed, Code.CloseFailed,
        Code.CommitFailed, Code.OriginCannotGrow, Code.ReadBackDiffers, Code.ExportLost, Code.AddressUnusable,
        Code.RunDirectoryUnusable, Code.AttachFailed, Code.PeerFailed, Code.CertificateUnusable, Code.ProgramFailed,
        Code.CommitNotBegun, Code.OriginNotRaw, Code.LincowFault, Code.ReadBackSizeDiffers, Code.RequestFailed,
        Code.OriginOpenForWriting, Code.OriginContainsOverlay, Code.OriginChangedMeanwhile, Code.SampleUnreadable,
        Code.OriginTimeless, Code.OriginUnlockable, Code.OverlayUnlockable,
    ];
}
