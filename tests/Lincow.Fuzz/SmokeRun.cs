using Lincow.Fuzz.Targets;

namespace Lincow.Fuzz;

/// <summary>Fuzzing without feedback, for a moment and from a seed: what every test run does, so that a target can't rot.</summary>
internal static class SmokeRun
{
    /// <summary>Runs while asked to; says how often. A finding bears its seed, its number and its input.</summary>
    public static long Run(IFuzzTarget target, IReadOnlyList<byte[]> corpus, int seed, Func<bool> mayGoOn)
    {
        var mutator = new Mutator(new Random(seed), corpus);
        long runs = 0;
        while (mayGoOn())
        {
            var input = mutator.Next();
            try
            {
                target.Run(input);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed}, run {runs}: {e.Message}; input {Convert.ToBase64String(input)}", e);
            }
            runs++;
        }
        return runs;
    }
}

/// <summary>A target whose runs together may not gain more memory than pools and the heap keep.</summary>
internal sealed class BoundedTarget(IFuzzTarget target) : IFuzzTarget
{
    private const long MaxGrowthBytes = 256L << 20;
    private const int WarmUpRuns = 200, RunsBetweenLooks = 100;

    private long _runs, _start;

    public void Run(ReadOnlySpan<byte> input)
    {
        target.Run(input);
        _runs++;
        if (_runs == WarmUpRuns)
            _start = Environment.WorkingSet;
        if (_runs > WarmUpRuns && _runs % RunsBetweenLooks == 0)
            BrokenPromiseException.Require(Environment.WorkingSet < _start + MaxGrowthBytes, "memory is bounded");
    }
}

/// <summary>Where targets keep files: in memory where there is such a place, for a run makes a hundred system calls on them.</summary>
internal static class FuzzPlace
{
    public static string NewPath() => Path.Combine(
        Environment.GetEnvironmentVariable("LINCOW_FUZZ_DIRECTORY") is { Length: > 0 } named ? named : Directory.Exists("/dev/shm")
            ? "/dev/shm" : Path.GetTempPath(),
        $"lincow-fuzz-{Guid.NewGuid():N}");
}
