namespace Lincow.Stores.DmSnapshot;

/// <summary>Examines the header and every entry of the list. What a cut left after the list's end is cleared on repair.</summary>
internal static class SnapshotCheck
{
    public static CheckReport Run(SnapshotFile store, long? device, bool repair, Action<double>? progress = null)
    {
        var findings = new List<CheckFinding>();
        var path = store.File.Path;
        if (!store.Header.IsValid)
            findings.Add(new CheckFinding("valid is 0: the store was given up, because it was full or its disk failed", path, 4, -1, -1,
                false, false));
        if (store.IsBlank)
        {
            if (repair)
                SnapshotFile.Restart(store.File, store.Header);
            return new CheckReport(path, repair, false, 0, 0, findings);
        }
        var chunks = device is { } bytes ? new Geometry(bytes, store.Header.ChunkShift).ChunkCount : (long?)null;
        progress?.Invoke(0);
        var scan = SnapshotScan.Run(store.File, store.Layout, store.ReadSizeBytes(), chunks, null, progress);
        foreach (var finding in scan.Findings)
        {
            var start = finding.OldChunk is { } chunk && chunk < (ulong)(long.MaxValue >> store.Header.ChunkShift)
                ? (long)chunk << store.Header.ChunkShift : -1;
            findings.Add(new CheckFinding(finding.Problem, path, finding.StoreOffset, start, start < 0 ? -1 : start
                + store.Layout.ChunkBytes, false, false));
        }
        var isClean = !scan.HasLeftOver;
        if (scan.HasLeftOver && repair && findings.Count == 0)
        {
            store.ClearLeftOver(scan);
            isClean = true;
        }
        progress?.Invoke(1);
        return new CheckReport(path, isClean, store.Header.IsCommitUnfinished, scan.AreaCount, 0, findings);
    }
}
