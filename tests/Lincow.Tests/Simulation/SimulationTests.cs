using System.Diagnostics;
using System.Globalization;

namespace Lincow.Tests.Simulation;

/// <summary>
/// Whole lives of overlays on simulated machines, each from one seed. In the environment,
/// LINCOW_SIM_SEED=N replays one, LINCOW_SIM_SEEDS=N sets how many there are, LINCOW_SIM_SECONDS=N goes through random ones for a time.
/// </summary>
public class SimulationTests
{
    private const int Seeds = 20_000;

    /// <summary>How often a cut must have fallen on each step at least, so that none is lost unnoticed.</summary>
    private const int LeastCuts = 20;

    /// <summary>Attempts to make a failing plan shorter.</summary>
    private const int ShrinkAttempts = 2000;

    [Fact]
    public void Whatever_fails_and_whenever_the_power_goes_every_promise_is_kept()
    {
        var coverage = new SimulationCoverage();
        if (Setting("LINCOW_SIM_SEED") is { } only)
        {
            Play(only, only + 1, null, coverage);
            return;
        }
        if (Setting("LINCOW_SIM_SECONDS") is { } seconds)
        {
            var start = (ulong)Random.Shared.NextInt64(1L << 40);
            Play(start, ulong.MaxValue, TimeSpan.FromSeconds(seconds), coverage);
            return;
        }
        var seeds = Setting("LINCOW_SIM_SEEDS");
        Play(1, seeds + 1 ?? Seeds + 1, null, coverage);
        if (seeds is not null)
            return;
        Assert.Equal(Seeds, coverage.Seeds);
        foreach (var (phase, sites) in Steps)
            Assert.All(sites, site =>
                Assert.True(coverage.Cuts(phase, site) >= LeastCuts, $"only {coverage.Cuts(phase, site)} cuts fell on {site} of {phase}"));
        Assert.All([coverage.Kills, coverage.Faults, coverage.FailedDevices], count => Assert.True(count > 1000));
        Assert.True(coverage.FailedFlushes > 100);
        Assert.All([coverage.Refusals, coverage.LateAnswers, coverage.AnswersAfterClose], count => Assert.True(count > 200));
    }

    /// <summary>The steps that a cut must have fallen on.</summary>
    private static readonly (SimulationPhase Phase, SimulationSite[] Sites)[] Steps =
    [
        (SimulationPhase.Create, [SimulationSite.Length, SimulationSite.Clear, SimulationSite.ClearSync, SimulationSite.DataSync,
            SimulationSite.Superblock, SimulationSite.SuperblockSync]),
        (SimulationPhase.Open, [SimulationSite.Read, SimulationSite.DataSync, SimulationSite.Superblock, SimulationSite.SuperblockSync]),
        (SimulationPhase.Serve, [SimulationSite.Search, SimulationSite.Read, SimulationSite.DataWrite, SimulationSite.PunchData,
            SimulationSite.Reserve]),
        (SimulationPhase.Serve, [SimulationSite.Gather, SimulationSite.DataSync, SimulationSite.Image, SimulationSite.MapSync,
            SimulationSite.Reply]),
        (SimulationPhase.Close, [SimulationSite.Gather, SimulationSite.DataSync, SimulationSite.Image, SimulationSite.MapSync,
            SimulationSite.Superblock, SimulationSite.SuperblockSync]),
        (SimulationPhase.Reset, [SimulationSite.Superblock, SimulationSite.SuperblockSync, SimulationSite.PunchMap,
            SimulationSite.PunchData, SimulationSite.Discard, SimulationSite.MapSync]),
        (SimulationPhase.Check, [SimulationSite.Read, SimulationSite.DataSync]),
    ];

    private static ulong? Setting(string name) =>
        Environment.GetEnvironmentVariable(name) is { } text ? ulong.Parse(text, CultureInfo.InvariantCulture) : null;

    /// <summary>Goes through seeds in order, on all cores; stops at the first that fails.</summary>
    private static void Play(ulong first, ulong end, TimeSpan? limit, SimulationCoverage coverage)
    {
        var clock = Stopwatch.StartNew();
        var (next, failing) = (first - 1, ulong.MaxValue);
        var (nextReport, gate) = (TimeSpan.FromSeconds(60), new object());
        var threads = new Thread[end - first == 1 ? 1 : Environment.ProcessorCount];
        for (var i = 0; i < threads.Length; i++)
        {
            threads[i] = new Thread(Work);
            threads[i].Start();
        }
        foreach (var thread in threads)
            thread.Join();
        Console.WriteLine($"simulation: {coverage.Seeds / Math.Max(clock.Elapsed.TotalSeconds, 0.001):F0} seeds a second; {coverage}");
        if (failing != ulong.MaxValue)
            throw new SimulationFailure(Explain(failing, failing - first + 1));

        void Work()
        {
            var own = new SimulationCoverage();
            while (limit is null || clock.Elapsed < limit)
            {
                var seed = Interlocked.Increment(ref next);
                if (seed >= end || seed >= Volatile.Read(ref failing))
                    break;
                own.Seeds++;
                if (Try(SimulationPlan.From(seed), own) is not null)
                {
                    lock (gate)
                        failing = Math.Min(failing, seed);
                }
                if (limit is null || clock.Elapsed < nextReport)
                    continue;
                lock (gate)
                {
                    if (clock.Elapsed < nextReport)
                        continue;
                    nextReport += TimeSpan.FromSeconds(60);
                    Console.WriteLine($"simulation: {next - first} seeds in {clock.Elapsed.TotalSeconds:F0} s, none failed");
                }
            }
            lock (gate)
                coverage.Add(own);
        }
    }

    private static Exception? Try(SimulationPlan plan, SimulationCoverage coverage)
    {
        var run = new SimulationRun(plan, coverage);
        try
        {
            run.Play();
            return null;
        }
        catch (Exception e)
        {
            return e;
        }
        finally
        {
            run.Dispose();
        }
    }

    private static string Explain(ulong seed, ulong count)
    {
        var plan = SimulationPlan.From(seed);
        var failure = Try(plan, new SimulationCoverage());
        if (failure is null)
            return $"seed {seed}, after {count} seeds: failed once and not again, so the simulation isn't deterministic";
        var attempts = ShrinkAttempts;
        var steps = plan.Steps.ToList();
        for (var size = steps.Count / 2; size > 0 && attempts > 0;)
        {
            var shrunk = false;
            for (var start = 0; start < steps.Count && attempts > 0;)
            {
                var fewer = steps.ToList();
                fewer.RemoveRange(start, Math.Min(size, steps.Count - start));
                attempts--;
                if (Try(plan with { Steps = fewer }, new SimulationCoverage()) is { } again)
                    (steps, failure, shrunk) = (fewer, again, true);
                else
                    start += size;
            }
            if (!shrunk || size > 1)
                size /= 2;
        }
        return $"seed {seed}, after {count} seeds. Replay with LINCOW_SIM_SEED={seed}. {failure.GetType().Name}: {failure.Message}\n"
            + $"{steps.Count} of {plan.Steps.Count} steps are enough: {plan with { Steps = steps }}\n{failure.StackTrace}";
    }
}
