using System.Text;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// Sixty-four devices served by one process, against sixty-four clients on one device: the same clients, requests and bytes.
/// </summary>
internal sealed class DevicesStage : Stage
{
    private const int Devices = 64;

    public required Row Many { get; init; }

    public required Row One { get; init; }

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        foreach (var row in rows)
            context.Guard([row], subject, () => Measure(context, row, subject));
    }

    private void Measure(StageContext context, Row row, Subject subject)
    {
        var work = context.Work;
        work.Reset(usesRawCopy: false);
        var isMany = row == Many;
        List<string> overlays = [];
        for (var i = 0; i < (isMany ? Devices : 1); i++)
        {
            overlays.Add(work[$"d{i}.cow"]);
            Tool.Run(context.Lincow, ["create", overlays[i], "--origin", work.Origin, "--quiet", "--force"], context.Stop);
        }
        using var server = ServerProcess.Start([context.Lincow, "serve", .. overlays, "--nbd", "unix:" + work.Socket],
            subject.Environment(work));
        server.Connect(work.Socket, context.Stop, "d0").Dispose();
        Run(context, isMany, "rw=write\nbs=1m\niodepth=1\nend_fsync=1\n");
        work.Sync();
        context.Record(row, subject, FioStage.Measure(row, server, () =>
            Run(context, isMany, $"rw=randread\nbs=4k\niodepth=4\ntime_based\nruntime={FioRun.Milliseconds(context.Settings.Seconds)}\n")));
        server.Stop();
    }

    /// <summary>Sixty-four jobs of 16 MiB each: the first of each device, or one after the other on the only device.</summary>
    private static FioResult Run(StageContext context, bool isMany, string what)
    {
        var file = new StringBuilder("[global]\nioengine=nbd\nsize=16m\ngroup_reporting\n").Append(what);
        for (var i = 0; i < Devices; i++)
            file.Append(isMany ? $"[d{i}]\nuri={FioRun.Uri(context.Work.Socket, $"d{i}")}\n"
                : $"[d{i}]\nuri={FioRun.Uri(context.Work.Socket)}\noffset={i * 16}m\n");
        var path = context.Work["devices.fio"];
        File.WriteAllText(path, file.ToString());
        return FioRun.Run([path], TimeSpan.FromMinutes(5), context.Stop);
    }
}
