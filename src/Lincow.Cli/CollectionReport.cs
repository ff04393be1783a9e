using System.Text.Json;
using Lincow.Serving.Hosting;

namespace Lincow.Cli;

/// <summary>What the garbage collector did while an overlay was served. Nothing, is the promise.</summary>
/// <param name="Gen0">Collections of generation 0, and so on.</param>
/// <param name="AllocatedBytes">Managed bytes allocated by all threads; a connection takes some, a request none.</param>
/// <param name="Requests">Requests that the devices had in that time.</param>
internal sealed record CollectionCounts(int Gen0, int Gen1, int Gen2, long AllocatedBytes, long Requests);

/// <summary>Counts collections from ready to stop and leaves the counts at the path in LINCOW_DEBUG_GC, for the bench.</summary>
internal sealed class CollectionReport
{
    private readonly string _path;
    private readonly Host _host;
    private readonly CollectionCounts _start;

    private CollectionReport(string path, Host host) => (_path, _host, _start) = (path, host, Now(host));

    public static CollectionReport? Begin(Host host) =>
        Environment.GetEnvironmentVariable("LINCOW_DEBUG_GC") is { Length: > 0 } path ? new CollectionReport(path, host) : null;

    public void Write()
    {
        var now = Now(_host);
        var counts = new CollectionCounts(now.Gen0 - _start.Gen0, now.Gen1 - _start.Gen1, now.Gen2 - _start.Gen2,
            now.AllocatedBytes - _start.AllocatedBytes, now.Requests - _start.Requests);
        File.WriteAllText(_path, JsonSerializer.Serialize(counts, Json.Default.CollectionCounts));
    }

    private static CollectionCounts Now(Host host) =>
        new(GC.CollectionCount(0), GC.CollectionCount(1), GC.CollectionCount(2), GC.GetTotalAllocatedBytes(precise: true),
            host.Exports.Sum(export => export.RequestCount));
}
