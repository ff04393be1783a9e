using System.Globalization;
using System.Text.Json;

namespace Lincow.Bench.Running;

/// <summary>What fio does to the device in one cell. Sizes are written as fio reads them.</summary>
internal sealed record FioJob(string Pattern, string BlockSize, int Depth)
{
    public int Jobs { get; init; } = 1;

    /// <summary>The part of the device that a job works on.</summary>
    public string Size { get; init; } = "1g";

    /// <summary>Each job begins this much after the one before.</summary>
    public string? OffsetIncrement { get; init; }

    /// <summary>A FLUSH after each write.</summary>
    public bool Flush { get; init; }

    /// <summary>
    /// Goes on to the end of the time, over the same blocks again. Otherwise each block is touched once, and the time is a limit.
    /// </summary>
    public bool Repeats { get; init; } = true;

    /// <summary>To the end of <see cref="Size"/>, however long that takes.</summary>
    public bool IsUnlimited { get; init; }

    /// <summary>
    /// How a file or block device is used: io_uring, or psync for one plain call after the other. Always past its page cache.
    /// </summary>
    public string FileEngine { get; init; } = "io_uring";

    /// <param name="target">An NBD URI, or the path of a file or block device.</param>
    /// <param name="seconds">How long.</param>
    public IEnumerable<string> Arguments(string target, double seconds)
    {
        yield return "--name=cell";
        if (target.StartsWith('/'))
        {
            yield return "--ioengine=" + FileEngine;
            yield return "--direct=1";
            yield return "--filename=" + target;
        }
        else
        {
            yield return "--ioengine=nbd";
            yield return "--uri=" + target;
        }
        yield return "--rw=" + Pattern;
        yield return "--bs=" + BlockSize;
        yield return "--iodepth=" + Depth.ToString(CultureInfo.InvariantCulture);
        yield return "--size=" + Size;
        yield return "--numjobs=" + Jobs.ToString(CultureInfo.InvariantCulture);
        yield return "--group_reporting";
        if (!IsUnlimited)
            yield return "--runtime=" + FioRun.Milliseconds(seconds);
        if (Repeats && !IsUnlimited)
            yield return "--time_based";
        if (IsUnlimited)
            yield return "--end_fsync=1";
        if (Flush)
            yield return "--fsync=1";
        if (OffsetIncrement is not null)
            yield return "--offset_increment=" + OffsetIncrement;
        // Reads and writes in one set of figures. Not always: in this mode fio leaves out the latencies of flushes.
        if (Pattern is "randrw" or "rw")
            yield return "--unified_rw_reporting=mixed";
    }
}

/// <summary>
/// What fio measured. Latencies in microseconds; those of the flushes where there are flushes, as that is what such a client waits for.
/// </summary>
internal sealed record FioResult(double Iops, double MegabytesPerSecond, double P50, double P99, double P999, long Requests,
    double Seconds);

/// <summary>Runs fio and reads its JSON.</summary>
internal static class FioRun
{
    /// <summary>What fio may take in addition to the time it was given: its start, a last flush, a slow disk.</summary>
    private static readonly TimeSpan Allowance = TimeSpan.FromMinutes(2), UnlimitedTime = TimeSpan.FromMinutes(60);

    /// <summary>The address of a device, as fio's nbd engine wants it.</summary>
    public static string Uri(string socketPath, string export = "") => $"nbd+unix:///{export}?socket={socketPath}";

    /// <summary>fio takes "0.5" for no time at all.</summary>
    public static string Milliseconds(double seconds) => $"{(long)(seconds * 1000)}ms";

    public static FioResult Run(FioJob job, string uri, double seconds, CancellationToken stop) =>
        Run([.. job.Arguments(uri, seconds)], job.IsUnlimited ? UnlimitedTime : TimeSpan.FromSeconds(seconds) + Allowance, stop);

    /// <summary>Runs fio with a command line, or with a job file whose jobs are one group.</summary>
    public static FioResult Run(string[] arguments, TimeSpan limit, CancellationToken stop) =>
        Parse(Tool.Run("fio", [.. arguments, "--eta=never", "--output-format=json"], limit, stop));

    /// <summary>Reads what fio has printed.</summary>
    public static FioResult Parse(string output)
    {
        // The nbd engine says hello on standard output before the document begins.
        var start = output.IndexOf("\n{", StringComparison.Ordinal);
        if (start < 0 && !output.StartsWith('{'))
            throw new BenchException("fio printed no JSON: " + Tool.OneLine(output));
        using var document = JsonDocument.Parse(output.AsMemory(start + 1));
        return Read(document.RootElement.GetProperty("jobs")[0]);
    }

    private static FioResult Read(JsonElement job)
    {
        if (job.GetProperty("error").GetInt32() is var error and not 0)
            throw new BenchException($"fio's job ended with errno {error}");
        var (iops, bytesPerSecond, requests, milliseconds) = (0.0, 0.0, 0L, 0L);
        JsonElement? percentiles = null;
        foreach (var direction in new[] { "mixed", "read", "write" })
        {
            if (!job.TryGetProperty(direction, out var figures) || figures.GetProperty("total_ios").GetInt64() == 0)
                continue;
            iops += figures.GetProperty("iops").GetDouble();
            bytesPerSecond += figures.GetProperty("bw_bytes").GetDouble();
            requests += figures.GetProperty("total_ios").GetInt64();
            milliseconds = Math.Max(milliseconds, figures.GetProperty("runtime").GetInt64());
            percentiles = Percentiles(figures.GetProperty("clat_ns"));
        }
        if (requests == 0)
            throw new BenchException("fio did nothing in its time");
        // One flush at the end of a fill is not what the client waited for.
        if (job.TryGetProperty("sync", out var sync) && sync.GetProperty("total_ios").GetInt64() is var flushes && flushes > requests / 2)
        {
            requests += flushes;
            percentiles = Percentiles(sync.GetProperty("lat_ns")) ?? percentiles;
        }
        return new FioResult(iops, bytesPerSecond / 1e6, Microseconds(percentiles, "50"), Microseconds(percentiles, "99"),
            Microseconds(percentiles, "99.9"), requests, milliseconds / 1000.0);
    }

    private static JsonElement? Percentiles(JsonElement latency) =>
        latency.TryGetProperty("percentile", out var percentiles) ? percentiles : null;

    private static double Microseconds(JsonElement? percentiles, string percent) =>
        percentiles is { } all && all.TryGetProperty(double.Parse(percent, CultureInfo.InvariantCulture)
            .ToString("0.000000", CultureInfo.InvariantCulture), out var value) ? value.GetDouble() / 1000 : 0;
}
