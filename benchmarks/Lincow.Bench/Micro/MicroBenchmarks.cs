using BenchmarkDotNet.Running;

namespace Lincow.Bench.Micro;

/// <summary>The benchmarks of single pieces of code: what a request costs without a disk, a socket and a client.</summary>
internal static class MicroBenchmarks
{
    /// <summary>Runs those that the arguments choose, in BenchmarkDotNet's own words; without arguments it asks.</summary>
    public static int Run(string[] arguments)
    {
        var summaries = BenchmarkSwitcher.FromAssembly(typeof(MicroBenchmarks).Assembly).Run(arguments);
        return summaries.Any(summary => summary.HasCriticalValidationErrors || summary.Reports.Any(report => !report.Success)) ? 1 : 0;
    }
}
