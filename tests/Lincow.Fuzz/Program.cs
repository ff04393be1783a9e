using System.Diagnostics;
using System.Globalization;
using Lincow.Fuzz;
using Lincow.Fuzz.Targets;

// Lincow.Fuzz afl TARGET                            one input after the other from afl-fuzz, in instrumented assemblies: see tests/fuzz
// Lincow.Fuzz replay TARGET PATH...                 inputs from files, or all files of directories
// Lincow.Fuzz smoke TARGET SECONDS SEED CORPUS      mutations of a corpus, without feedback
// Made inside the first run: instrumented code counts into memory that only Fuzzer.Run gives it.
var inner = new Lazy<IFuzzTarget>(() => FuzzTargets.All[args[1]]());
var target = new Lazy<BoundedTarget>(() => new BoundedTarget(inner.Value));
switch (args[0])
{
    case "afl":
        SharpFuzz.Fuzzer.Run(stream =>
        {
            using var input = new MemoryStream();
            stream.CopyTo(input);
            target.Value.Run(input.ToArray());
        });
        break;
    case "replay":
        foreach (var path in args[2..].SelectMany(path => Directory.Exists(path) ? Directory.GetFiles(path) : [path]))
        {
            Console.WriteLine(path);
            target.Value.Run(File.ReadAllBytes(path));
        }
        break;
    case "smoke":
        var (seconds, seed) = (int.Parse(args[2], CultureInfo.InvariantCulture), int.Parse(args[3], CultureInfo.InvariantCulture));
        var clock = Stopwatch.StartNew();
        var runs = SmokeRun.Run(target.Value, Directory.GetFiles(args[4]).Order().Select(File.ReadAllBytes).ToList(), seed, () =>
            clock.Elapsed.TotalSeconds < seconds);
        Console.WriteLine($"{args[1]}: {runs} runs in {clock.Elapsed.TotalSeconds:0} s, seed {seed}");
        break;
    default:
        throw new ArgumentException(args[0]);
}
if (inner.IsValueCreated)
    (inner.Value as IDisposable)?.Dispose();
