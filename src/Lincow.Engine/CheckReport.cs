using System.Text.Json.Serialization;

namespace Lincow;

/// <summary>One thing that <c>check</c> found wrong.</summary>
/// <param name="Problem">A sentence.</param>
/// <param name="File">The file it is in.</param>
/// <param name="Offset">The byte offset in that file.</param>
/// <param name="DeviceStart">First byte of the device that it concerns; -1 when it concerns the whole.</param>
/// <param name="DeviceEnd">The byte after the last; -1 when it concerns the whole.</param>
/// <param name="Repairable">A sound twin can replace it.</param>
/// <param name="Repaired">It has been replaced.</param>
public sealed record CheckFinding(string Problem, string File, long Offset, long DeviceStart, long DeviceEnd, bool Repairable,
    bool Repaired)
{
    /// <summary>The problem as data, where there is something to be decided about it: a front end has its own words for that.</summary>
    [JsonIgnore]
    public LincowError? Error { get; init; }
}

/// <summary>What <c>lincow check</c> found.</summary>
/// <param name="Overlay">The overlay's path.</param>
/// <param name="Clean">It was closed cleanly.</param>
/// <param name="UnfinishedCommit">A commit was cut off, and is to be run again; no damage.</param>
/// <param name="PagesChecked">Map pages that hold something.</param>
/// <param name="StaleBytes">Allocated bytes of the data file that the map doesn't point at: left by a cut or a reset, harmless.</param>
/// <param name="Findings">Damage.</param>
public sealed record CheckReport(string Overlay, bool Clean, bool UnfinishedCommit, long PagesChecked, long StaleBytes,
    IReadOnlyList<CheckFinding> Findings)
{
    /// <summary>Damage that is still there.</summary>
    public bool IsDamaged => Findings.Any(finding => !finding.Repaired);
}
