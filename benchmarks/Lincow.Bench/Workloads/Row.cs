using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>What a row's figure is.</summary>
internal enum Figure
{
    RequestsPerSecond,
    MegabytesPerSecond,
    Milliseconds,
    Mebibytes,
    CpuSecondsPerMillion,
    Count,
}

/// <summary>What lincow's figure is held against.</summary>
internal enum Against
{
    /// <summary>The best other copy-on-write server of the row.</summary>
    BestPeer,

    /// <summary>The best of the subjects whose names match <see cref="Target.Other"/>.</summary>
    Subjects,

    /// <summary>lincow's own figure in the row <see cref="Target.Other"/>.</summary>
    Row,

    /// <summary>A figure that must not be exceeded.</summary>
    Limit,
}

/// <summary>What lincow has to reach in a row: so many times as good as somebody, or a limit in the row's unit.</summary>
internal sealed record Target(Against Against, double Factor, string? Other = null);

/// <summary>A workload: one line of the report.</summary>
internal sealed record Row(string Id, string Title, Figure Figure)
{
    /// <summary>What fio does; null where a stage has its own way.</summary>
    public FioJob? Job { get; init; }

    /// <summary>Names of those who take part.</summary>
    public required IReadOnlyList<string> Subjects { get; init; }

    /// <summary>Of those, the ones of a quick run.</summary>
    public IReadOnlyList<string> QuickSubjects { get; init; } = AllSubjects.Quick;

    /// <summary>The subject that stands for lincow.</summary>
    public string Candidate { get; init; } = AllSubjects.Reference;

    /// <summary>Which servers of a private copy count, with * and ?.</summary>
    public string RawSubjects { get; init; } = "*";

    public IReadOnlyList<Target> Targets { get; init; } = [];

    /// <summary>The row whose cells this one is computed from; it measures nothing itself.</summary>
    public string? DerivedFrom { get; init; }

    public bool HigherIsBetter => Figure is Figure.RequestsPerSecond or Figure.MegabytesPerSecond;

    /// <summary>Servers that answer a FLUSH without syncing anything don't count here.</summary>
    public bool NeedsRealFlush => Job is { Flush: true };

    public string Unit => Figure switch
    {
        Figure.RequestsPerSecond => "IOPS",
        Figure.MegabytesPerSecond => "MB/s",
        Figure.Milliseconds => "ms",
        Figure.Mebibytes => "MiB",
        Figure.CpuSecondsPerMillion => "s",
        _ => "",
    };

    /// <summary>How many times better <paramref name="value"/> is than <paramref name="other"/>, whichever way better is.</summary>
    public double TimesBetter(double value, double other) => HigherIsBetter ? value / other : other / value;

    public string Format(double value) => Figure switch
    {
        Figure.RequestsPerSecond => value.ToString("N0", System.Globalization.CultureInfo.InvariantCulture),
        Figure.Count => value.ToString("N0", System.Globalization.CultureInfo.InvariantCulture),
        Figure.MegabytesPerSecond when value >= 100 => value.ToString("N0", System.Globalization.CultureInfo.InvariantCulture),
        _ => value.ToString("0.0#", System.Globalization.CultureInfo.InvariantCulture),
    };
}
