using Lincow.Bench;
using Lincow.Bench.Micro;

// Everything after "micro" is in BenchmarkDotNet's words; anything else compares, which need not be said.
return args switch
{
    ["micro", .. var rest] => MicroBenchmarks.Run(rest),
    ["compare", .. var rest] => CompareCommand.Build().Parse(rest).Invoke(),
    _ => CompareCommand.Build().Parse(args).Invoke(),
};
