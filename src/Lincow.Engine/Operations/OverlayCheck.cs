using Lincow.Layers;
using Lincow.Linux;
using Lincow.Stores.DmSnapshot;
using Lincow.Stores.Linear;

namespace Lincow.Operations;

/// <summary>One thing that <c>check</c> found wrong.</summary>
/// <param name="Problem">A sentence.</param>
/// <param name="File">The file it is in.</param>
/// <param name="Offset">The byte offset in that file.</param>
/// <param name="DeviceStart">First byte of the device that it concerns; -1 when it concerns the whole.</param>
/// <param name="DeviceEnd">The byte after the last; -1 when it concerns the whole.</param>
/// <param name="Repairable">A sound twin can replace it.</param>
/// <param name="Repaired">It has been replaced.</param>
public sealed record CheckFinding(string Problem, string File, long Offset, long DeviceStart, long DeviceEnd, bool Repairable, bool Repaired);

/// <summary>What <c>lincow check</c> found.</summary>
/// <param name="Overlay">The overlay's path.</param>
/// <param name="Clean">It was closed cleanly.</param>
/// <param name="UnfinishedCommit">A commit was cut off, and is to be run again; no damage.</param>
/// <param name="PagesChecked">Map pages that hold something.</param>
/// <param name="StaleBytes">Allocated bytes of the data file that the map doesn't point at: left by a cut or a reset, harmless.</param>
/// <param name="Findings">Damage.</param>
public sealed record CheckReport(string Overlay, bool Clean, bool UnfinishedCommit, long PagesChecked, long StaleBytes, IReadOnlyList<CheckFinding> Findings)
{
    /// <summary>Damage that is still there.</summary>
    public bool IsDamaged => Findings.Any(finding => !finding.Repaired);
}

/// <summary>Examines superblocks, every map page, lengths and left-over data; repairs what a sound twin can replace.</summary>
public static class OverlayCheck
{
    /// <summary>Checks an overlay that nobody is writing. Throws <see cref="LincowException"/> when it can't be opened at all.</summary>
    /// <param name="overlay">The overlay.</param>
    /// <param name="map">Its map, if it isn't found by itself.</param>
    /// <param name="repair">Replace what is damaged by its twin.</param>
    /// <param name="acceptMap">Use a map that names another data file.</param>
    /// <param name="progress">Told of the fraction done, from 0 to 1.</param>
    /// <param name="origin">For a snapshot store that lincow has no note of: its origin, so that chunks beyond its end are found.</param>
    public static CheckReport Run(string overlay, string? map, bool repair, bool acceptMap = false, Action<double>? progress = null, string? origin = null)
    {
        try
        {
            if (SnapshotFile.Is(overlay, map))
                return SnapshotAdmin.Check(overlay, origin, repair, progress);
            using var files = OverlayFiles.Open(overlay, map, repair ? OverlayAccess.Write : OverlayAccess.Read, acceptMap: acceptMap);
            return Run(files, repair, progress);
        }
        catch (LinuxException e)
        {
            throw new LincowException(e.Message, e);
        }
    }

    internal static CheckReport Run(OverlayFiles files, bool repair, Action<double>? progress = null)
    {
        var findings = new List<CheckFinding>();
        CheckSuperblocks(files, repair, findings);
        // mutation: kept-space-unchecked
        CheckKeptSpace(files, repair, findings);
        var superblock = files.Superblock;
        var held = new DataRanges(superblock.Geometry);
        var (pages, total) = (0L, MapScan.PageCount(superblock));
        MapScan.ForEach(files.MapFile, superblock, (page, pair) =>
        {
            pages++;
            progress?.Invoke((double)page / total);
            CheckPage(files, page, pair, repair, findings, held);
        }, (page, error) =>
        {
            var (start, end) = MapPageJudge.DeviceRange(superblock, page);
            findings.Add(new CheckFinding($"map page {page} can't be read: {error.Reason}", files.MapFile.Path, LinearStore.PageOffset(page, 0), start, end, false, false));
            held.AddAll(page);
        });
        var stale = held.AllocatedOutside(files.DataFile, superblock.DataOffset);
        if (repair)
            files.MapFile.Sync();
        progress?.Invoke(1);
        return new CheckReport(files.Path, !superblock.InUse, superblock.IsCommitUnfinished, pages, stale, findings);
    }

    private static void CheckSuperblocks(OverlayFiles files, bool repair, List<CheckFinding> findings)
    {
        var reading = files.Reading;
        if (!reading.NeedsRepair)
            return;
        if (repair)
        {
            var block = new byte[Superblock.SizeBytes];
            reading.Current!.Encode(block);
            files.MapFile.Write(block, (1 - reading.CurrentSlot) * Superblock.SizeBytes);
            files.MapFile.Sync();
        }
        // Slots of different updates are a cut between the two writes of one: nothing is damaged, and the next open evens them out.
        if (reading.Damage is { } damage)
            findings.Add(new CheckFinding($"{damage}; its twin is sound", files.MapFile.Path, (1 - reading.CurrentSlot) * Superblock.SizeBytes, -1, -1, true, repair));
    }

    // Zeroes by the format, and nobody reads them: whatever is there now, a disk or a stray program put it there.
    private static void CheckKeptSpace(OverlayFiles files, bool repair, List<CheckFinding> findings)
    {
        const int start = 2 * Superblock.SizeBytes;
        var space = new byte[Superblock.MapOffsetBytes - start];
        files.MapFile.Read(space, start);
        var at = space.AsSpan().IndexOfAnyExcept((byte)0);
        // A later version may keep something there, and says so.
        if (at < 0 || files.Superblock.Compatible != 0)
            return;
        if (repair)
            files.MapFile.Write(new byte[space.Length], start);
        findings.Add(new CheckFinding("the space between superblocks and map is not zero; nothing is lost", files.MapFile.Path, start + at, -1, -1, true, repair));
    }

    private static void CheckPage(OverlayFiles files, long page, ReadOnlySpan<byte> pair, bool repair, List<CheckFinding> findings, DataRanges held)
    {
        var superblock = files.Superblock;
        var first = MapFormat.Inspect(pair[..MapFormat.PageBytes], superblock.Uuid, page);
        var second = MapFormat.Inspect(pair[MapFormat.PageBytes..], superblock.Uuid, page);
        var verdict = PageVerdict.Choose(first, second, superblock.Generation, !superblock.InUse);
        var slot = verdict.Slot;
        if (verdict.Finding is not null)
        {
            var good = SoundSlot(first, second, superblock.Generation);
            var isRepaired = repair && good >= 0;
            if (isRepaired)
            {
                files.MapFile.Write(pair.Slice(good * MapFormat.PageBytes, MapFormat.PageBytes), LinearStore.PageOffset(page, 1 - good));
                slot = (good == 0 ? first : second).Newest.Generation == superblock.Generation ? good : -1;
            }
            var (start, end) = MapPageJudge.DeviceRange(superblock, page);
            var consequence = !verdict.IsDamaged ? ""
                : good >= 0 ? "; --repair takes the older twin, and chunks that were first written since then show the origin again"
                : "; no sound twin is left, and requests there get an I/O error";
            findings.Add(new CheckFinding($"map page {page}: {verdict.Finding}{consequence}", files.MapFile.Path, LinearStore.PageOffset(page, 0), start, end, good >= 0, isRepaired));
        }
        if (slot >= 0)
            held.Add(pair.Slice(slot * MapFormat.PageBytes, MapFormat.PageBytes), page);
        else if (verdict.IsDamaged)
            held.AddAll(page);
    }

    /// <summary>The slot to rebuild from: whole or blank, and not of a generation to come; the newer of two.</summary>
    private static int SoundSlot(SlotFacts first, SlotFacts second, ulong generation)
    {
        var (firstIsSound, secondIsSound) = (IsSound(first), IsSound(second));
        if (firstIsSound && secondIsSound)
            return first.Newest < second.Newest ? 1 : 0;
        return firstIsSound ? 0 : secondIsSound ? 1 : -1;

        bool IsSound(SlotFacts slot) => slot.Condition is SlotCondition.Blank or SlotCondition.Whole && slot.Newest.Generation <= generation;
    }

    /// <summary>The ranges that the map says the overlay holds, in device order.</summary>
    private sealed class DataRanges(Geometry geometry)
    {
        private readonly List<(long Start, long End)> _ranges = [];

        public void AddAll(long page) => Append(page * MapFormat.ChunksPerPage, (page + 1) * MapFormat.ChunksPerPage);

        public void Add(ReadOnlySpan<byte> image, long page)
        {
            Span<ulong> words = stackalloc ulong[MapFormat.WordsPerPage];
            MapFormat.CopyStates(image, words);
            var first = page * MapFormat.ChunksPerPage;
            for (var i = 0; i < MapFormat.ChunksPerPage; i++)
            {
                if (words[i >> 5] == 0)
                    i |= 31;
                else if (((words[i >> 5] >> ((i & 31) * 2)) & 3) == (ulong)ChunkState.Data)
                    Append(first + i, first + i + 1);
            }
        }

        /// <summary>Bytes of the data file that are allocated where no range is; counted in chunks that lie wholly outside.</summary>
        public long AllocatedOutside(LinuxFile data, long shift)
        {
            if (data.Facts.Kind != FileKind.Regular)
                return 0;
            long stale = 0;
            var next = 0;
            long cursor = 0;
            while (data.TryFindData(shift + cursor, shift + geometry.DeviceBytes, out var start, out var end))
            {
                (start, cursor) = (start - shift, end - shift);
                stale += cursor - start;
                while (next < _ranges.Count && _ranges[next].End <= start)
                    next++;
                for (var i = next; i < _ranges.Count && _ranges[i].Start < cursor; i++)
                    stale -= Math.Min(_ranges[i].End, cursor) - Math.Max(_ranges[i].Start, start);
            }
            // Below the file system's own block, allocation says nothing.
            return geometry.ChunkBytes >= 4096 ? stale : 0;
        }

        private void Append(long firstChunk, long endChunk)
        {
            var (start, end) = (firstChunk << geometry.ChunkShift, Math.Min(endChunk << geometry.ChunkShift, geometry.DeviceBytes));
            if (_ranges.Count > 0 && _ranges[^1].End == start)
                _ranges[^1] = (_ranges[^1].Start, end);
            else
                _ranges.Add((start, end));
        }
    }
}
