using Lincow.Linux;
using Lincow.Origins;

namespace Lincow.Stores.Linear;

/// <summary>Describes a linear overlay; counts the chunks of every map page.</summary>
internal static class LinearInfo
{
    public static OverlayInfo Of(LinearFiles files, CancellationToken stop)
    {
        var superblock = files.Superblock;
        long data = 0, zero = 0, damaged = 0;
        MapScan.ForEach(files.MapFile, superblock, (page, pair) =>
        {
            stop.ThrowIfCancellationRequested();
            var verdict = MapPageJudge.Judge(pair, superblock, page, !superblock.InUse);
            // A page that is being written while we look may be seen half done.
            for (var attempt = 0; verdict.IsDamaged && attempt < 3; attempt++)
            {
                Thread.Sleep(1);
                var again = new byte[MapFormat.PairBytes];
                files.MapFile.Read(again, LinearStore.PageOffset(page, 0));
                pair = again;
                verdict = MapPageJudge.Judge(pair, superblock, page, !superblock.InUse);
            }
            if (verdict.IsDamaged)
                damaged++;
            if (verdict.Slot < 0)
                return;
            var counts = MapScan.Count(pair.Slice(verdict.Slot * MapFormat.PageBytes, MapFormat.PageBytes), page, superblock.Geometry);
            data += counts.Data;
            zero += counts.Zero;
        }, (_, _) => damaged++);
        var total = superblock.Geometry.ChunkCount;
        var origin = RelativeOrigin.Resolve(superblock.OriginUri, files.MapFile);
        var mapFacts = files.MapFile.ReadFacts();
        var isSeparate = superblock.Layout == LinearLayout.Separate;
        return new OverlayInfo
        {
            Overlay = files.Path,
            Uuid = superblock.Uuid.ToString(),
            Origin = new OriginInfo(origin, superblock.Origin.SizeBytes, OriginReference.Parse(origin).IsPresent,
                RelativeOrigin.PathIn(superblock.OriginUri)),
            Size = superblock.DeviceBytes,
            SectorSize = StoreOrigin.SectorBytes(files, null),
            MaxSize = superblock.MaxDeviceBytes,
            ChunkSize = superblock.Geometry.ChunkBytes,
            Store = "linear",
            Layout = isSeparate ? "separate" : "front",
            Mode = "persistent",
            DataPath = files.DataFile.Path,
            DataOffset = superblock.DataOffset,
            MapPath = files.MapFile.Path,
            MapOffset = Superblock.MapOffsetBytes,
            MapBytes = superblock.MapBytes,
            Chunks = new ChunkCounts(total, data, zero, total - data - zero),
            AllocatedBytes = mapFacts.Kind == FileKind.Regular
                ? mapFacts.AllocatedBytes + (isSeparate ? files.DataFile.ReadFacts().AllocatedBytes : 0)
                : null,
            Generation = superblock.Generation,
            Clean = !superblock.InUse,
            UnfinishedCommit = superblock.IsCommitUnfinished,
            InUseBy = files.Writer(),
            Parent = null,
            Layers = [files.Path],
            DamagedPages = damaged,
            DmTable = $"0 {superblock.DeviceBytes / 512} cow {DmWords.Escape(origin)} "
                + $"{DmWords.Escape(files.DataFile.Path)} P {superblock.Geometry.ChunkBytes / 512}"
                + $"{(isSeparate ? " " + DmWords.Escape(files.MapFile.Path) : "")}",
        };
    }
}
