namespace Lincow.Bench.Workloads;

/// <summary>One measurement of one cell. Latencies in microseconds.</summary>
internal sealed record Sample(double Value)
{
    public double? Iops { get; init; }

    public double? MegabytesPerSecond { get; init; }

    public double? P50 { get; init; }

    public double? P99 { get; init; }

    public double? P999 { get; init; }

    /// <summary>User and system time of the server during the measurement.</summary>
    public double? ServerCpuSeconds { get; init; }

    public long? Requests { get; init; }

    /// <summary>The most memory that the server had resident since its start, in KiB.</summary>
    public long? ServerPeakKiB { get; init; }

    /// <summary>What only this row measures, by name.</summary>
    public SortedDictionary<string, double>? More { get; init; }
}
