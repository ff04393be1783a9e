using System.Diagnostics;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// What large devices cost: memory, and the time until they answer. Their origin is zero:SIZE, so only what is written takes space.
/// </summary>
internal sealed class MemoryStage : Stage
{
    /// <summary>1 % of the chunks of 1 TiB, and the space that they take, with what the file system needs to find them.</summary>
    private const string OnePercentOfChunks = "2684354";
    private const long OnePercentBytes = 12L << 30;

    private const int OpenRepetitions = 5;

    public required Row Fresh { get; init; }

    public required Row OnePercent { get; init; }

    public required Row OpenOnePercent { get; init; }

    public required Row OpenLarge { get; init; }

    public override bool RunsOnce => true;

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        if (rows.Contains(Fresh))
            context.Guard([Fresh], subject, () => MeasureFresh(context, subject));
        if (rows.Contains(OpenLarge))
            context.Guard([OpenLarge], subject, () => MeasureOpen(context, OpenLarge, subject, "8T"));
        if (rows.Contains(OnePercent) || rows.Contains(OpenOnePercent))
            context.Guard([OnePercent, OpenOnePercent], subject, () => MeasureOnePercent(context, subject));
    }

    private void MeasureFresh(StageContext context, Subject subject)
    {
        Create(context, "1T");
        using var server = subject.Start(context.Work);
        ReadOnce(context, server);
        context.Record(Fresh, subject, Memory(server));
        server.Stop();
    }

    private void MeasureOnePercent(StageContext context, Subject subject)
    {
        var work = context.Work;
        if (context.Settings.Quick || work.FreeBytes < OnePercentBytes)
        {
            var why = context.Settings.Quick
                ? "left out of a quick run"
                : $"needs {OnePercentBytes >> 30} GiB in {work.Directory}, and {work.FreeBytes >> 30} GiB are free";
            context.Skip(OnePercent, why);
            context.Skip(OpenOnePercent, why);
            return;
        }
        Create(context, "1T");
        context.Progress($"{OnePercent.Title,-61} {subject.Name,-20} writing {OnePercentOfChunks} chunks ...");
        using (var server = subject.Start(work))
        {
            ReadOnce(context, server);
            // fio would need memory of its own to remember a terabyte of blocks, so a few are written twice.
            FioRun.Run(["--name=sparse", "--ioengine=nbd", "--uri=" + FioRun.Uri(work.Socket), "--rw=randwrite", "--bs=4k", "--iodepth=32",
                "--size=1t", "--number_ios=" + OnePercentOfChunks,
                "--norandommap", "--random_generator=tausworthe64", "--end_fsync=1"], TimeSpan.FromMinutes(60), context.Stop);
            context.Record(OnePercent, subject, Memory(server));
            server.Stop();
        }
        MeasureOpens(context, OpenOnePercent, subject);
    }

    private static void MeasureOpen(StageContext context, Row row, Subject subject, string size)
    {
        Create(context, size);
        MeasureOpens(context, row, subject);
    }

    /// <summary>From the start of the server's process to its first answer.</summary>
    private static void MeasureOpens(StageContext context, Row row, Subject subject)
    {
        for (var i = 0; i < OpenRepetitions; i++)
        {
            var start = Stopwatch.GetTimestamp();
            using var server = subject.Start(context.Work);
            ReadOnce(context, server);
            var elapsed = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            context.Record(row, subject, new Sample(elapsed) { ServerPeakKiB = server.PeakKiB });
            server.Stop();
        }
    }

    private static void Create(StageContext context, string size)
    {
        context.Work.Reset(usesRawCopy: false);
        Tool.Run(context.Lincow, ["create", context.Work.Overlay, "--origin", "zero:" + size, "--quiet", "--force"], context.Stop);
    }

    private static void ReadOnce(StageContext context, ServerProcess server)
    {
        using var probe = server.Connect(context.Work.Socket, context.Stop);
        probe.Read(0, new byte[4096]);
    }

    private static Sample Memory(ServerProcess server) =>
        new(server.ResidentKiB / 1024.0) { ServerPeakKiB = server.PeakKiB, More = new() { ["peakMiB"] = server.PeakKiB / 1024.0 } };
}
