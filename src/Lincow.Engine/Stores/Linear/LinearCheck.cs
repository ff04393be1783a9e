using Lincow.Layers;
using Lincow.Linux;

namespace Lincow.Stores.Linear;

/// <summary>Examines superblocks, every map page and left-over data of a linear overlay; repairs what a sound twin can replace.</summary>
internal static class LinearCheck
{
    public static CheckReport Run(LinearFiles files, bool repair, Action<double>? progress = null)
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
            findings.Add(new CheckFinding($"map page {page} can't be read: {error.Reason}", files.MapFile.Path,
                LinearStore.PageOffset(page, 0), start, end, false, false));
            held.AddAll(page);
        });
        var stale = held.AllocatedOutside(files.DataFile, superblock.DataOffset);
        if (repair)
            files.MapFile.Sync();
        progress?.Invoke(1);
        return new CheckReport(files.Path, !superblock.InUse, superblock.IsCommitUnfinished, pages, stale, findings);
    }

    private static void CheckSuperblocks(LinearFiles files, bool repair, List<CheckFinding> findings)
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
            findings.Add(new CheckFinding($"{damage}; its twin is sound", files.MapFile.Path,
                (1 - reading.CurrentSlot) * Superblock.SizeBytes, -1, -1, true, repair));
    }

    // Zeroes by the format, and nobody reads them: whatever is there now, a disk or a stray program put it there.
    private static void CheckKeptSpace(LinearFiles files, bool repair, List<CheckFinding> findings)
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
        findings.Add(new CheckFinding("the space between superblocks and map is not zero; nothing is lost", files.MapFile.Path, start + at,
            -1, -1, true, repair));
    }

    private static void CheckPage(LinearFiles files, long page, ReadOnlySpan<byte> pair, bool repair, List<CheckFinding> findings,
        DataRanges held)
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
            var older = verdict.IsDamaged && good >= 0 ? LinearErrors.MapPageOlderTwin(files.MapFile.Path, page, verdict.Finding) : null;
            var consequence = verdict.IsDamaged ? "; no sound twin is left, and requests there get an I/O error" : "";
            findings.Add(new CheckFinding(older?.Message ?? $"map page {page}: {verdict.Finding}{consequence}", files.MapFile.Path,
                LinearStore.PageOffset(page, 0), start, end, good >= 0, isRepaired)
            { Error = older });
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

        bool IsSound(SlotFacts slot) => slot.Condition is SlotCondition.Blank or SlotCondition.Whole
            && slot.Newest.Generation <= generation;
    }

    /// <summary>The ranges that the map says the overlay holds, in device order.</summary>
    private sealed class DataRanges(Geometry geometry)
    {
        private readonly List<(long Start, long End)> _ranges = [];

        public void AddAll(long page) => Append(page * ChunkMap.ChunksPerPage, (page + 1) * ChunkMap.ChunksPerPage);

        public void Add(ReadOnlySpan<byte> image, long page)
        {
            Span<ulong> words = stackalloc ulong[MapFormat.WordsPerPage];
            MapFormat.CopyStates(image, words);
            var first = page * ChunkMap.ChunksPerPage;
            for (var i = 0; i < ChunkMap.ChunksPerPage; i++)
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
