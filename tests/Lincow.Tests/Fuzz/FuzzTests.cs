using System.Diagnostics;
using Lincow.Fuzz;
using Lincow.Fuzz.Targets;
using Lincow.Tests.House;

namespace Lincow.Tests.Fuzz;

/// <summary>
/// What tests/fuzz found worth keeping, every time; and a moment of fuzzing with a new seed, so that the targets can't rot.
/// </summary>
public class FuzzTests
{
    private const double SmokeSeconds = 2;

    public static TheoryData<string> Targets => [.. FuzzTargets.All.Keys];

    [Theory]
    [MemberData(nameof(Targets))]
    public void Every_input_of_the_corpus_is_survived(string name) => With(name, (target, corpus) =>
    {
        Assert.NotEmpty(corpus);
        foreach (var (path, input) in corpus)
        {
            try
            {
                target.Run(input);
            }
            catch (Exception e)
            {
                Assert.Fail($"{path}: {e}");
            }
        }
    });

    [Theory]
    [MemberData(nameof(Targets))]
    public void A_moment_of_fuzzing_finds_nothing(string name) => With(name, (target, corpus) =>
    {
        var replayed = Environment.GetEnvironmentVariable("LINCOW_SEED");
        var seed = replayed is null ? Environment.TickCount : int.Parse(replayed, null);
        var clock = Stopwatch.StartNew();
        var runs = SmokeRun.Run(target, [.. corpus.Select(entry => entry.Input)], seed, () => clock.Elapsed.TotalSeconds < SmokeSeconds);
        Assert.True(runs > 50, $"{runs} runs in {SmokeSeconds} s");
        TestContext.Current.TestOutputHelper?.WriteLine($"{name}: {runs} runs, seed {seed}");
    });

    private static void With(string name, Action<IFuzzTarget, List<(string Path, byte[] Input)>> run)
    {
        var target = FuzzTargets.All[name]();
        try
        {
            var files = Directory.GetFiles(Path.Combine(HouseTests.Root, "tests", "corpus", name)).Order(StringComparer.Ordinal);
            run(target, [.. files.Select(path => (path, File.ReadAllBytes(path)))]);
        }
        finally
        {
            (target as IDisposable)?.Dispose();
        }
    }
}
