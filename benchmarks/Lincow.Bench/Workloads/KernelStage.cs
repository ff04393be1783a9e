using System.Globalization;
using Lincow.Bench.Running;
using Lincow.Bench.Subjects;

namespace Lincow.Bench.Workloads;

/// <summary>
/// Each subject starts twice in a guest: it is filled in the first life, opened and read in the second. Between them the guest's disks
/// are dropped from the host's page cache. All blocks of all disks are allocated before, so what the host's file system does is the same
/// for all.
/// </summary>
internal sealed class KernelStage : Stage
{
    private const int OriginBytes = 64 << 20, StoreBytes = 96 << 20, MetadataBytes = 16 << 20;
    private const int StoreSeed = 20_250_102;

    public required KernelRows Kernel { get; init; }

    public static KernelStage Of(KernelRows kernel) => new() { Rows = kernel.All, Kernel = kernel, IsSlow = true };

    protected override void RunSubject(StageContext context, IReadOnlyList<Row> rows, Subject subject)
    {
        var share = context.Work["uml"];
        Directory.CreateDirectory(share);
        try
        {
            var disks = MakeDisks(context.Work);
            var filled = Live(context, subject, "fill", share, disks);
            var read = Live(context, subject, "read", share, disks);
            foreach (var row in rows)
            {
                if (Sample(row, share, filled, read) is { } sample)
                    context.Record(row, subject, sample);
            }
        }
        finally
        {
            Directory.Delete(share, recursive: true);
        }
    }

    private Sample? Sample(Row row, string share, Dictionary<string, double> filled, Dictionary<string, double> read) =>
        row == Kernel.Fill ? Fio(share, "fill")
        : row == Kernel.FlushFresh ? Fio(share, "flush-fresh")
        : row == Kernel.Flush ? Fio(share, "flush-allocated")
        : row == Kernel.Read ? Fio(share, "read") with
        {
            Value = FioRun.Parse(File.ReadAllText(Path.Combine(share,
            "read.json"))).MegabytesPerSecond
        }
        : row == Kernel.Open ? new Sample(read["open"] / 1000)
        : filled["metadata"] > 0 ? new Sample(filled["metadata"] / 1048576) : null;

    private static Sample Fio(string share, string name)
    {
        var result = FioRun.Parse(File.ReadAllText(Path.Combine(share, name + ".json")));
        return new Sample(result.Iops)
        {
            Iops = result.Iops,
            MegabytesPerSecond = result.MegabytesPerSecond,
            P50 = result.P50,
            P99 = result.P99,
            P999 = result.P999,
            Requests = result.Requests
        };
    }

    private static string[] MakeDisks(Workspace work)
    {
        var (origin, store, metadata) = (work["uml/origin.img"], work["uml/store.img"], work["uml/metadata.img"]);
        var content = new byte[StoreBytes];
        using (var file = File.OpenRead(work.Origin))
            file.ReadExactly(content, 0, OriginBytes);
        File.WriteAllBytes(origin, content[..OriginBytes]);
        // What was on the disk before is nothing that anybody would take for a store.
        new Random(StoreSeed).NextBytes(content);
        content.AsSpan(0, MetadataBytes).Clear();
        File.WriteAllBytes(store, content);
        File.WriteAllBytes(metadata, new byte[MetadataBytes]);
        return [origin, store, metadata];
    }

    /// <summary>The lines NAME VALUE that the guest printed.</summary>
    private Dictionary<string, double> Live(StageContext context, Subject subject, string phase, string share, string[] disks)
    {
        var seconds = Math.Max(1, (int)Math.Round(context.Settings.Seconds));
        var job = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Kernel", "job"));
        File.WriteAllText(Path.Combine(share, "job"),
            $"SUBJECT={subject.GuestName} PHASE={phase} DISK={Kernel.Disk} LINCOW='{context.Lincow}' SECONDS_EACH={seconds}\n{job}");
        foreach (var disk in disks)
        {
            Tool.Run("sync", [disk], Kernel.Limit, context.Stop);
            // Of this file alone: the guest's own programs stay in memory.
            Tool.Run("dd", ["if=" + disk, "iflag=nocache", "count=0", "status=none"], context.Stop);
        }
        var output = Tool.Run("env", [$"GUEST_SECONDS={Kernel.Limit.TotalSeconds:0}", Kernel.Program(), share, .. disks],
            Kernel.Limit + TimeSpan.FromSeconds(30), context.Stop);
        return output.Split('\n').Select(line => line.Split(' '))
            .Where(words => words.Length == 2 && double.TryParse(words[1], CultureInfo.InvariantCulture, out _))
            .ToDictionary(words => words[0], words => double.Parse(words[1], CultureInfo.InvariantCulture));
    }
}
