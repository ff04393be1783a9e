using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// What a random fill does to a later sequential read that no cache helps: every block is written in random order, the server is
/// restarted, the page cache emptied, and the device read once from its first byte to its last.
/// </summary>
internal sealed partial class UncachedStage : Stage
{
    /// <summary>A quick run fills and reads a part only.</summary>
    private const string QuickSize = "256m", FullSize = "1g";

    public required Row Read { get; init; }

    public required Row Extents { get; init; }

    public required Row Metadata { get; init; }

    public required Row Open { get; init; }

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        var (work, size) = (context.Work, context.Settings.Quick ? QuickSize : FullSize);
        work.Reset(usesRawCopy: subject.Role == Role.Raw);
        subject.MakeOverlay(work, context.Stop);
        var uri = FioRun.Uri(work.Socket);
        FioResult fill;
        context.Progress($"{Read.Title,-61} {subject.Name,-20} filling {size} by 4K random writes ...");
        using (var filler = subject.Start(work))
        {
            filler.Connect(work.Socket, context.Stop).Dispose();
            fill = FioRun.Run(new FioJob("randwrite", "4k", 32) { Size = size, IsUnlimited = true }, uri, 0, context.Stop);
            filler.Stop();
        }
        if (rows.Contains(Extents) && subject.DataFile is { } dataFile)
            context.Record(Extents, subject, new Sample(CountExtents(dataFile(work), context.Stop)));
        if (rows.Contains(Metadata))
            context.Record(Metadata, subject, new Sample(Math.Max(0, AllocatedBytes(work, context.Stop) - FillBytes(context)) / 1048576.0));
        if (rows.Contains(Open))
        {
            File.Delete(work.Socket);
            work.DropCaches();
            context.Record(Open, subject, new Sample(MeasureOpen(context, subject)));
        }
        if (!rows.Contains(Read))
            return;
        // A server that is killed, or nbdkit, may leave its socket; the next one would find it taken.
        File.Delete(work.Socket);
        if (!work.DropCaches())
            context.Note($"{Read.Title}: only root can empty the page cache, so subjects that use it were read from memory");
        using var server = subject.Start(work);
        server.Connect(work.Socket, context.Stop).Dispose();
        var sample = FioStage.Measure(Read, server, () =>
            FioRun.Run(new FioJob("read", "1m", 8) { Size = size, IsUnlimited = true }, uri, 0, context.Stop));
        context.Record(Read, subject, sample with { More = new() { ["fillSeconds"] = fill.Seconds } });
        server.Stop();
    }

    private static long FillBytes(StageContext context) => context.Settings.Quick ? 256L << 20 : 1L << 30;

    /// <summary>Of everything that the overlay consists of.</summary>
    private static long AllocatedBytes(Workspace work, CancellationToken stop) =>
        new[] { work.Overlay, work.OverlayMap, work.OverlayData }.Where(File.Exists)
            .Sum(path =>
                long.Parse(Tool.Run("du", ["--block-size=1", path], TimeSpan.FromMinutes(1), stop).Split('\t')[0],
                CultureInfo.InvariantCulture));

    private static double MeasureOpen(StageContext context, Subject subject)
    {
        var start = Stopwatch.GetTimestamp();
        using var server = subject.Start(context.Work);
        using (var probe = server.Connect(context.Work.Socket, context.Stop))
            probe.Read(Workspace.DeviceBytes / 8, new byte[4096]);
        var elapsed = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        server.Stop();
        return elapsed;
    }

    /// <summary>In how many pieces the file lies on its file system.</summary>
    private static double CountExtents(string path, CancellationToken stop)
    {
        var output = Tool.Run(FindFilefrag(), [path], TimeSpan.FromMinutes(10), stop);
        return ExtentCount().Match(output) is { Success: true } match
            ? double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)
            : throw new BenchException("filefrag said: " + Tool.OneLine(output));
    }

    // Not everybody has the directories of the administrator's programs in the path.
    private static string FindFilefrag() => File.Exists("/usr/sbin/filefrag") ? "/usr/sbin/filefrag" : "filefrag";

    [GeneratedRegex(@": (\d+) extents? found")]
    private static partial Regex ExtentCount();
}
